"""Take the CPU seconds of the parts of a step at a point.

CPU seconds of all threads depend less on other work of the machine than
wall-clock time does. Each is the median of several turns after one that
compiles.
"""

from collections.abc import Callable
from pathlib import Path
import statistics
import tempfile
import time
from typing import Any

import jax
import jax.numpy as jnp

from entrojax.assembly.run import Run, build
from entrojax.loop.rollout_step import verify_rollout
from entrojax.rollouts.evaluation import evaluate_policy, summarize
from entrojax.types import Problem
from experiments.costs import compile_update, random_batch
from experiments.peers import our_step
from experiments.scaling.points import Point


def time_parts(point: Point, repeats: int) -> dict[str, float]:
  """Run the parts of a step and return their CPU seconds.

  Args:
    point: the sizes; one device has all of the work.
    repeats: timed turns.
  """
  workload = point.workload
  with tempfile.TemporaryDirectory() as folder:
    our_step.write_model(Path(folder), workload.sizes)
    config = point.config(folder)
    run = our_step.with_problems(build(config), workload, config)
  params = jax.tree.map(jnp.copy, run.state.params)
  prompts, problems = next(run.data.stream)
  rollout = run.functions.generate(params, prompts, jax.random.key(0))
  on_host = jax.device_get(rollout)

  def sample() -> Any:
    return run.functions.generate(params, prompts, jax.random.key(1))

  return {
    "rollout_seconds": _cpu_seconds(sample, repeats),
    "update_seconds": _cpu_seconds(_update(run), repeats),
    "evaluation_seconds": _cpu_seconds(
      lambda: _evaluate(run, params, list(problems)), repeats
    ),
    "verdicts_seconds": _cpu_seconds(
      lambda: verify_rollout(run.data, on_host, problems, 0), repeats
    ),
  }


def _update(run: Run) -> Callable[[], Any]:
  """Build a function that makes an update."""
  batch = random_batch(run)
  compiled, state = compile_update(run, batch), run.state

  def update() -> Any:
    nonlocal state
    state, metrics = compiled(state, run.ref_params, batch, jax.random.key(1))
    return state, metrics

  return update


def _evaluate(run: Run, params: Any, problems: list[Problem]) -> Any:
  """Evaluate a policy on the problems of a rollout batch."""
  (num_samples,) = run.functions.evaluate
  evaluation = evaluate_policy(
    run.functions.evaluate[num_samples],
    params,
    problems,
    run.data.task.verify,
    run.data.tokenizer,
    jax.random.key(2),
    prompt_length=run.settings.evaluation.prompt_length,
    prompts_per_batch=len(problems),
  )
  return summarize(evaluation, "problems")


def _cpu_seconds(function: Callable[[], Any], repeats: int) -> float:
  """Return the median CPU seconds of a function, of all threads."""
  jax.block_until_ready(function())
  seconds = []
  for _ in range(repeats):
    start = time.process_time()
    jax.block_until_ready(function())
    seconds.append(time.process_time() - start)
  return statistics.median(seconds)
