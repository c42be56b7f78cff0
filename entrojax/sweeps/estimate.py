"""Estimate how long a unit will take, from a few timed steps.

Runs on the same task with a model and batches of the same sizes take about
equally long, whatever their methods. One of them is therefore timed for all.
"""

from collections.abc import Hashable, Sequence
import math
import time
from typing import NamedTuple

import jax
from ml_collections import ConfigDict as Config
from ml_collections import FrozenConfigDict

from entrojax.assembly.graphs import graph_settings
from entrojax.assembly.run import Run, build_checked
from entrojax.loop.rollout_step import Position, start_step, wait_for_update
from entrojax.rollouts.evaluation import evaluate_policy
from entrojax.system import hosts
from entrojax.system.sharding import replicated

NUM_STEPS = 3  # timed rollout steps; the first, which compiles, is not one
# the sections that a run's time depends on most
_SECTIONS = (
  *("model", "lora", "task", "prompt", "mesh", "rollout", "training"),
  *("dynamic_sampling", "offline", "evaluation"),
)


class Timing(NamedTuple):
  """Seconds of the parts of a run."""

  start: float  # loading and compiling
  step: float  # one rollout step
  evaluation: float  # one evaluation


def cost_kind(config: Config) -> Hashable:
  """Return a value that is equal for runs that take about equally long."""
  return FrozenConfigDict({name: config[name] for name in _SECTIONS})


def time_run(config: Config) -> Timing | None:
  """Time a few rollout steps and a part of an evaluation; write nothing.

  Args:
    config: checked.

  Returns:
    The seconds; None for an offline run, whose rollouts are not sampled yet.
  """
  if config.offline.enabled:
    return None
  started = time.perf_counter()
  run = build_checked(config)
  key = hosts.place(jax.random.key(config.seed), replicated(run.mesh))
  position = Position(run.state, run.ref_params, key, 0, step=0, tokens=0)
  times = []
  for _ in range(1 + NUM_STEPS):
    position, record = start_step(run, position)
    times.append(wait_for_update(record).host["timing_s/step"])
  _time_evaluation(run, position)  # compiles
  batches = _time_evaluation(run, position)
  rows = run.settings.evaluation.prompts_per_batch
  evaluation = sum(
    math.ceil(len(part.problems) / rows) * seconds
    for part, seconds in zip(run.evaluation_sets, batches, strict=True)
  )
  step = sum(times[1:]) / NUM_STEPS
  total = time.perf_counter() - started
  return Timing(
    start=max(0.0, total - NUM_STEPS * step - sum(batches)),
    step=step,
    evaluation=evaluation,
  )


def time_units(units: Sequence[tuple[Config, int]]) -> list[float | None]:
  """Return the seconds that units still need; None: they cannot be estimated.

  Args:
    units: the config of each unit, and the rollout steps that it has done.
  """
  timings: dict[Hashable, Timing | None] = {}
  compiled: set[Hashable] = set()
  seconds: list[float | None] = []
  for config, steps_done in units:
    kind = cost_kind(config)
    if kind not in timings:
      timings[kind] = time_run(config)
    timing, graphs = timings[kind], graph_settings(config)
    if timing is None:
      seconds.append(None)
      continue
    if graphs in compiled:  # a sweep compiles them once
      timing = timing._replace(start=0.0)
    compiled.add(graphs)
    seconds.append(estimate(timing, config, steps_done))
  return seconds


def estimate(timing: Timing, config: Config, steps_done: int) -> float:
  """Return the seconds that a run still needs.

  Args:
    timing: the times of its parts.
    config: its settings.
    steps_done: the rollout steps that it has done.
  """
  last, every = config.num_rollout_steps, config.evaluation.every
  evaluations = int(steps_done == 0) + 1
  if every:
    # at the last step the difference is -1 if an evaluation belongs to it
    evaluations += max(0, (last - 1) // every - steps_done // every)
  return (
    timing.start
    + (last - steps_done) * timing.step
    + evaluations * timing.evaluation
  )


def _time_evaluation(run: Run, position: Position) -> list[float]:
  """Return the seconds of the first batch of each evaluation set."""
  settings, seconds = run.settings.evaluation, []
  for part in run.evaluation_sets:
    started = time.perf_counter()
    evaluate_policy(
      run.functions.evaluate[part.num_samples],
      position.state.params,
      part.problems[: settings.prompts_per_batch],
      part.task.verify,
      run.data.tokenizer,
      position.key,
      prompt_length=settings.prompt_length,
      prompt_buckets=settings.prompt_buckets,
      prompts_per_batch=settings.prompts_per_batch,
    )
    seconds.append(time.perf_counter() - started)
  return seconds
