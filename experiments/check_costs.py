"""Measure what digests and checks for bad numbers cost, in CPU time.

    python -m experiments.check_costs [--repeats=15]

For the shapes of the demo:

  update  with and without the check that skips unsound steps: its CPU time and
          XLA's counts of operations and temporaries. An update without it takes
          every step.
  step    the same for a whole rollout step, with its sampling
  alone   the checks of all optimizer steps of a rollout batch in a graph of
          their own, as a part of a whole rollout step with its sampling. This
          is an upper bound, because an update computes the norms that the
          checks read for its metrics, too.
  save    a checkpoint with and without the digests of its arrays
  digests the same, with the digests timed by themselves

With and without are timed in turn (A B A B ...), and the ratio is the median
over the pairs, with its 95 % interval by bootstrap. CPU time hardly depends on
what else the machine does.
"""

from collections.abc import Callable, Iterator
import contextlib
import functools
from pathlib import Path
import statistics
import tempfile
import time
from typing import Any
from unittest import mock

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np

from configs import grpo
from entrojax.assembly.run import Run, build
from entrojax.system import checkpoint
from entrojax.system.checkpoint import Checkpoints
from entrojax.system.command_line import command
from entrojax.system.digests import digests
from entrojax.types import Array, Batch, Metrics, Params, TrainState
from entrojax.update import train_step
from entrojax.update.soundness import is_sound, split_marks, step_soundness
from experiments.costs import compile_update, graph_costs, random_batch

FLAGS = flags.FlagValues()
_REPEATS = flags.DEFINE_integer(
  "repeats", 15, "timed pairs, of which the median is taken", flag_values=FLAGS
)

_LOOPS = 20  # repetitions of what is too short to be timed once

Timed = Callable[[], float]  # does a thing once; returns its CPU seconds


@command(FLAGS)
def main() -> None:
  """Measure and print the table."""
  config = grpo.get_config("demo")
  config.mesh = (1, 1, 1)
  config.evaluation.split = "validation[:1]"
  run = build(config)
  batch = random_batch(run)
  print(f"{'':<8}{'with':>10}{'without':>10}{'ratio':>9}{'interval':>17}")
  own = compile_update(run, batch)
  with _without_checks():
    bare_run = build(config)
    # the graph of the first run must not serve the second one
    jax.clear_caches()
    bare = compile_update(bare_run, batch)
  pairs = _pairs(
    _timed_update(run, batch, own), _timed_update(bare_run, batch, bare)
  )
  print(_line("update", pairs))
  flops, memory = (
    a / b for a, b in zip(graph_costs(own), graph_costs(bare), strict=True)
  )
  print(f"        operations {flops:.4f}, temporaries {memory:.4f} by XLA")
  rollout = statistics.median(_timed_rollouts(run))
  print(_line("step", [(a + rollout, b + rollout) for a, b in pairs]))
  update = statistics.median(time for _, time in pairs)
  rest = rollout + update
  print(_line("alone", [(rest + time, rest) for time in _checks_alone(run)]))
  state = build(config).state
  saves = _saves(state)
  print(_line("save", saves))
  rest = statistics.median(time for _, time in saves)
  print(_line("digests", [(rest + t, rest) for t in _digests_alone(state)]))


def _line(name: str, pairs: list[tuple[float, float]]) -> str:
  """Format the medians of timed pairs, in ms, and of their ratio."""
  ratios = [a / b for a, b in pairs]
  own, other = (
    1e3 * statistics.median(pair[i] for pair in pairs) for i in (0, 1)
  )
  low, high = _interval(ratios)
  return (
    f"{name:<8}{own:>10.1f}{other:>10.1f}{statistics.median(ratios):>9.4f}"
    f"{low:>9.4f}{high:>8.4f}"
  )


def _interval(values: list[float]) -> tuple[float, float]:
  """Return the 95 % interval of a median by bootstrap."""
  draws = np.random.default_rng(0).choice(values, (2000, len(values)))
  low, high = np.quantile(np.median(draws, axis=1), (0.025, 0.975))
  return float(low), float(high)


def _pairs(one: Timed, other: Timed) -> list[tuple[float, float]]:
  return [(one(), other()) for _ in range(_REPEATS.value)]


@contextlib.contextmanager
def _without_checks() -> Iterator[None]:
  """Build updates that take every step, sound or not."""
  yes: Callable[..., Array] = lambda *_: jnp.bool_(True)
  with (
    mock.patch.object(train_step, "is_sound", yes),
    mock.patch.object(train_step, "step_soundness", lambda *_: {}),
  ):
    yield


def _timed_update(
  run: Run, batch: Batch, compiled: jax.stages.Compiled
) -> Timed:
  """Build a function that makes the updates of one rollout batch."""
  state, key = jax.tree.map(jnp.copy, run.state), jax.random.key(1)

  def update() -> float:
    nonlocal state
    started = time.process_time()
    state, metrics = compiled(state, run.ref_params, batch, key)
    jax.block_until_ready((state, metrics))
    return time.process_time() - started

  update()
  return update


def _checks_alone(run: Run) -> list[float]:
  """Return the CPU time of the checks of one rollout batch, several times.

  An optimizer step checks its loss and two norms, and marks the tensors that
  are not finite. The host reads the marks once per rollout step.
  """
  params = jax.tree.map(jnp.copy, run.state.params)

  @jax.jit
  def check(losses: Array, grads: Params) -> Metrics:
    def step(_: Any, loss: Any) -> tuple[None, Metrics]:
      # other numbers in each step, so that no norm is computed once for all
      scaled = jax.tree.map(lambda x: loss * x, grads)
      sound = is_sound(loss, scaled, scaled, None)
      return None, step_soundness(loss > 0, sound, scaled)

    _, metrics = jax.lax.scan(step, None, losses)
    return jax.tree.map(lambda x: jnp.sum(x, axis=0), metrics)

  losses = 1 + jnp.arange(run.settings.updates_per_rollout, dtype=float)
  times = []
  for _ in range(1 + _REPEATS.value):
    started = time.process_time()
    for _ in range(_LOOPS):
      split_marks(jax.block_until_ready(check(losses, params)))
    times.append((time.process_time() - started) / _LOOPS)
  return times[1:]  # the first one compiles


def _timed_rollouts(run: Run) -> list[float]:
  """Return the CPU time of sampling a batch, several times."""
  prompts, _ = next(run.data.stream)
  times = []
  for number in range(1 + _REPEATS.value // 3):
    started = time.process_time()
    jax.block_until_ready(
      run.functions.generate(run.state.params, prompts, jax.random.key(number))
    )
    times.append(time.process_time() - started)
  return times[1:]  # the first one compiles


def _digests_alone(state: TrainState) -> list[float]:
  """Return the CPU time of the digests of one checkpoint, several times."""
  times = []
  for _ in range(1 + _REPEATS.value):
    started = time.process_time()
    for _ in range(_LOOPS):
      digests({"params": state.params, "opt_state": state.opt_state})
    times.append((time.process_time() - started) / _LOOPS)
  return times[1:]  # the first one compiles


def _saves(state: TrainState) -> list[tuple[float, float]]:
  """Return the CPU time of pairs of saves, with and without digests."""
  steps = iter(range(10_000))
  key, host = jax.random.key(0), {"data": {}, "step": 0, "tokens": 0}
  kept = digests({})
  with tempfile.TemporaryDirectory() as folder:
    checkpoints = Checkpoints(Path(folder), keep=1)

    def save(digest: Callable) -> float:
      started = time.process_time()
      with mock.patch.object(checkpoint, "digests", digest):
        checkpoints.save(next(steps), state, key, host)
        checkpoints.wait()
      return time.process_time() - started

    with_digests = functools.partial(save, digests)
    without = functools.partial(save, lambda tree: kept)
    with_digests(), without()  # compile
    pairs = _pairs(with_digests, without)
    checkpoints.close()
  return pairs


if __name__ == "__main__":
  main()
