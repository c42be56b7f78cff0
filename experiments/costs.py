"""Measure the cost of each method's update, as a ratio to plain GRPO's.

Both updates are timed in turn in one process (A B A B ...), on the same batch
and with the same number of optimizer steps; the ratio is the median over the
pairs. The table also has ratios of two quantities that XLA counts in the
compiled graph, which are free of noise: floating-point operations and bytes of
temporaries.
"""

from collections.abc import Callable, Mapping
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from entrojax.assembly.run import Run, build
from entrojax.types import Batch, Responses
from entrojax.update.train_step import make_batch
from experiments.methods import BASELINE, Method, method_config


def print_costs(methods: Mapping[str, Method], repeats: int) -> None:
  """Print the cost of each method's update.

  Args:
    methods: config name -> method.
    repeats: timed pairs of updates.
  """
  baseline = _build_run(BASELINE, {})
  batch = random_batch(baseline)
  compiled = compile_update(baseline, batch)
  update = timed_update(baseline, batch, compiled)
  grpo_costs = graph_costs(compiled)
  print(
    f"{'update':<22}{'ms':>8}{'x grpo':>9}{'pairs from to':>15}{'FLOPs':>8}"
    f"{'memory':>8}"
  )
  print(f"{BASELINE:<22}{1e3 * _median(update, repeats):8.1f}")
  for name, method in methods.items():
    run = _build_run(name, method.overrides)
    compiled = compile_update(run, batch)
    other = timed_update(run, batch, compiled)
    pairs = [(other(), update()) for _ in range(repeats)]
    ratios = [a / b for a, b in pairs]
    flops, memory = (
      a / b for a, b in zip(graph_costs(compiled), grpo_costs, strict=True)
    )
    extra = "  with the reference's forward pass" if run.ref_params else ""
    print(
      f"{name:<22}{1e3 * statistics.median(a for a, _ in pairs):8.1f}"
      f"{statistics.median(ratios):9.3f}{min(ratios):9.2f}{max(ratios):6.2f}"
      f"{flops:8.3f}{memory:8.3f}{extra}",
      flush=True,
    )


def random_batch(run: Run) -> Batch:
  """Sample a rollout of the base, with random advantages of 1 and -1."""
  prompts, _ = next(run.data.stream)
  rollout = run.functions.generate(
    jax.tree.map(jnp.copy, run.state.params), prompts, jax.random.key(0)
  )
  num_rows = rollout.tokens.shape[0]
  signs = jnp.asarray(np.random.default_rng(0).choice([-1.0, 1.0], num_rows))
  return make_batch(rollout, Responses(rewards=signs, advantages=signs))


def compile_update(run: Run, batch: Batch) -> jax.stages.Compiled:
  """Compile a run's update for batches with the shapes of this one."""
  lowered = run.functions.update.lower(  # type: ignore[attr-defined]
    run.state, run.ref_params, batch, jax.random.key(1)
  )
  return lowered.compile()


def graph_costs(compiled: jax.stages.Compiled) -> tuple[float, float]:
  """Return XLA's count of FLOPs and of bytes of temporaries."""
  memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
  assert memory is not None
  assert cost is not None
  return cost["flops"], memory.temp_size_in_bytes


def timed_update(
  run: Run, batch: Batch, compiled: jax.stages.Compiled
) -> Callable[[], float]:
  """Build a function that makes one update and returns its time in seconds.

  The state goes from one update to the next; a first update is made here, so
  that none of the timed ones compiles.
  """
  state, key = run.state, jax.random.key(1)

  def update() -> float:
    nonlocal state
    start = time.perf_counter()
    state, metrics = compiled(state, run.ref_params, batch, key)
    jax.block_until_ready((state, metrics))
    return time.perf_counter() - start

  update()
  return update


def _build_run(name: str, overrides: Mapping) -> Run:
  """Build a method's run, with as many updates per rollout as GRPO's."""
  config = method_config(name)
  config.update_from_flattened_dict(dict(overrides))
  config.training = method_config(BASELINE).training
  config.evaluation.split = "validation[:1]"
  return build(config)


def _median(update: Callable[[], float], repeats: int) -> float:
  return statistics.median(update() for _ in range(repeats))
