"""What an update of each method costs, as a ratio to plain GRPO's.

Both are timed in turn in one process, on the same batch and with the same
number of updates: A B A B ...; the ratio is the median of the pairs'. Beside it
stand the ratios of what XLA counts in the compiled graph, which no noise moves:
floating-point operations and bytes of temporaries.
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


def cost_table(methods: Mapping[str, Method], repeats: int) -> None:
  """Prints a line a method.

  Args:
    methods: by config name.
    repeats: timed pairs.
  """
  baseline = _built(BASELINE, {})
  batch = random_batch(baseline)
  compiled = compiled_update(baseline, batch)
  update, counted = timed_update(baseline, batch, compiled), counts(compiled)
  print(
    f"{'update':<22}{'ms':>8}{'x grpo':>9}{'pairs from to':>15}{'FLOPs':>8}"
    f"{'memory':>8}"
  )
  print(f"{BASELINE:<22}{1e3 * _median(update, repeats):8.1f}")
  for name, method in methods.items():
    run = _built(name, method.overrides)
    compiled = compiled_update(run, batch)
    other = timed_update(run, batch, compiled)
    pairs = [(other(), update()) for _ in range(repeats)]
    ratios = [a / b for a, b in pairs]
    flops, memory = (
      a / b for a, b in zip(counts(compiled), counted, strict=True)
    )
    extra = "  has the reference's forward pass" if run.ref_params else ""
    print(
      f"{name:<22}{1e3 * statistics.median(a for a, _ in pairs):8.1f}"
      f"{statistics.median(ratios):9.3f}{min(ratios):9.2f}{max(ratios):6.2f}"
      f"{flops:8.3f}{memory:8.3f}{extra}",
      flush=True,
    )


def random_batch(run: Run) -> Batch:
  """Returns a rollout of the base with random advantages of 1 and -1."""
  prompts, _ = next(run.data.stream)
  rollout = run.functions.generate(
    jax.tree.map(jnp.copy, run.state.params), prompts, jax.random.key(0)
  )
  num_rows = rollout.tokens.shape[0]
  signs = jnp.asarray(np.random.default_rng(0).choice([-1.0, 1.0], num_rows))
  return make_batch(rollout, Responses(rewards=signs, advantages=signs))


def compiled_update(run: Run, batch: Batch) -> jax.stages.Compiled:
  """Compiles the update of a run for its own batches."""
  lowered = run.functions.update.lower(  # type: ignore[attr-defined]
    run.state, run.ref_params, batch, jax.random.key(1)
  )
  return lowered.compile()


def counts(compiled: jax.stages.Compiled) -> tuple[float, float]:
  """Returns what XLA counts: FLOPs and bytes of temporaries."""
  memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
  assert memory is not None
  assert cost is not None
  return cost["flops"], memory.temp_size_in_bytes


def timed_update(
  run: Run, batch: Batch, compiled: jax.stages.Compiled
) -> Callable[[], float]:
  """Makes a call that updates the run's state and returns the seconds taken.

  One update has been done already.
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


def _built(name: str, overrides: Mapping) -> Run:
  config = method_config(name)
  config.update_from_flattened_dict(dict(overrides))
  config.training = method_config(BASELINE).training
  config.evaluation.split = "validation[:1]"
  return build(config)


def _median(update: Callable[[], float], repeats: int) -> float:
  return statistics.median(update() for _ in range(repeats))
