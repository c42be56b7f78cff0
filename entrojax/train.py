"""The train loop: rollout steps, evaluations, checkpoints, and what is written.

The numbers of a step are written while the next update runs.
"""

from collections.abc import Callable, Mapping
import contextlib
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict as Config
import numpy as np

from entrojax.assembly.check_settings import check
from entrojax.assembly.run import Run, build
from entrojax.collect import collect_with_progress as report
from entrojax.evaluate import EVALUATION_KEY, evaluate_policy, summarize
from entrojax.reporting.inert_controls import Effects
from entrojax.reporting.live_law import LiveLaw
from entrojax.reporting.progress import Progress
from entrojax.reporting.writer import open_writer
from entrojax.rollout_step import (
  Standing,
  StepRecord,
  finished,
  numbers_of,
  start_step,
)
from entrojax.system import hosts
from entrojax.system.checkpoint import Checkpoints
from entrojax.system.interrupt import Interruption
from entrojax.system.sharding import replicated
from entrojax.system.workdir import (
  ROLLOUTS_FILE,
  append_samples,
  check_processes,
  hold_workdir,
  trim_samples,
  write_config,
)

_MISMATCH = "rollout/log_prob_diff_max"

# writes metrics by name
Write = Callable[[Mapping[str, Any], Standing], None]


def train(config: Config, workdir: Path, *, resume: bool = True) -> Path | None:
  """Runs a config in a work directory.

  Args:
    config: the run's settings.
    workdir: the run directory, made if absent.
    resume: go on from the directory's newest checkpoint if it has one; if
      false, a directory that holds a run is refused.

  Returns:
    The checkpoint, if the run was interrupted; None if it is complete.

  Raises:
    ValueError: a setting, a file or the directory cannot be used.
  """
  with contextlib.ExitStack() as stack:
    check_processes(config=config.to_dict(), workdir=str(workdir))
    with hosts.together():
      if hosts.is_first():
        stack.enter_context(hold_workdir(workdir))
      rollouts = _rollouts(config, workdir)
    run = build(config, rollouts)
    interruption = stack.enter_context(Interruption())
    checkpoints = Checkpoints(
      workdir / "checkpoints", keep=config.checkpoint.keep
    )
    stack.enter_context(contextlib.closing(checkpoints))
    fresh = checkpoints.latest() is None
    with hosts.together():
      if hosts.is_first():
        write_config(workdir, config.to_dict(), saved=not fresh, resume=resume)
    standing = _standing(config, run, checkpoints)
    write: Write = lambda metrics, at: None
    with hosts.together():
      if hosts.is_first():
        write = _writer(config, workdir, run, standing, stack, fresh=fresh)

    def save(at: Standing) -> Path:
      stream = run.data.stages.stream(at.rollout_step)
      return checkpoints.save(
        at.rollout_step,
        at.state,
        at.key,
        {"data": stream.state(), "step": at.step, "tokens": at.tokens},
        at.ref_params if _has_own_reference(run, at.rollout_step) else None,
      )

    def evaluate(at: Standing) -> None:
      numbers, samples = _evaluate(config, run, at)
      if hosts.is_first():
        append_samples(workdir, samples)
      write(numbers, at)

    if fresh:
      evaluate(standing)
    return _loop(config, run, standing, write, evaluate, save, interruption)


def _writer(
  config: Config,
  workdir: Path,
  run: Run,
  standing: Standing,
  stack: contextlib.ExitStack,
  *,
  fresh: bool,
) -> Write:
  """Opens what a run reports to, and returns what writes there.

  Args:
    config: of the run.
    workdir: its directory.
    run: the run.
    standing: where it begins or goes on.
    stack: closes what is opened.
    fresh: whether it begins.
  """
  writer = stack.enter_context(
    open_writer(
      workdir,
      resumed_rollout_step=-1 if fresh else standing.rollout_step,
      wandb_project=config.log.wandb_project or None,
      config=config.to_dict(),
    )
  )
  progress = stack.enter_context(
    Progress(
      config.num_rollout_steps,
      first_rollout_step=standing.rollout_step,
      every=config.log.every,
    )
  )
  effects = Effects((*config.advantage, *config.objective, "projection"))
  trim_samples(workdir, None if fresh else standing.rollout_step)
  if run.recorded is not None:
    progress.note(run.recorded.summary())
  law = LiveLaw(workdir)

  def write(metrics: Mapping[str, Any], at: Standing) -> None:
    if "actor/loss" in metrics:  # of a rollout step, not of an evaluation
      metrics = {**metrics, **law.metrics(metrics)}
    writer.write(
      metrics, step=at.step, rollout_step=at.rollout_step, tokens=at.tokens
    )
    progress.update(at.rollout_step, metrics)
    if at.rollout_step == standing.rollout_step + 1 and _MISMATCH in metrics:
      progress.note(
        "sampler and trainer differ by at most "
        f"{metrics[_MISMATCH]:.1e} nats a token"
      )
    # of a rollout step that had tokens, not of an evaluation
    if np.isfinite(metrics.get("actor/entropy", np.nan)):
      for note in effects.notes(metrics):
        progress.note(note)

  return write


def _rollouts(config: Config, workdir: Path) -> Path | None:
  """Returns the file that an offline run trains on, made if it is to be."""
  if not config.offline.enabled:
    return None
  if config.offline.rollouts:
    return Path(config.offline.rollouts)
  if jax.process_count() > 1:
    raise ValueError(
      "offline.rollouts is not set: several processes do not make them, "
      "entrojax.collect does, in one"
    )
  check(config)  # all of it, before anything is sampled
  path = workdir / ROLLOUTS_FILE
  report(config, path)
  return path


def _standing(config: Config, run: Run, checkpoints: Checkpoints) -> Standing:
  """Returns the start, or where the newest checkpoint stands."""
  key = hosts.place(jax.random.key(config.seed), replicated(run.mesh))
  ref_params = run.ref_params
  rollout_step = checkpoints.latest()
  if rollout_step is None:
    return Standing(run.state, ref_params, key, 0, step=0, tokens=0)
  own = _has_own_reference(run, rollout_step)
  state, key, host, saved = checkpoints.restore(
    run.state, key, ref_params if own else None
  )
  run.data.stages.stream(rollout_step).restore(host["data"])
  return Standing(
    state,
    saved if own else ref_params,
    key,
    rollout_step,
    host["step"],
    host["tokens"],
  )


def _has_own_reference(run: Run, rollout_step: int) -> bool:
  """Returns whether a run that stands there has a reference but the base."""
  later = run.data.stages.number(max(rollout_step - 1, 0)) > 0
  return later and run.ref_params is not None


def _loop(
  config: Config,
  run: Run,
  standing: Standing,
  write: Write,
  evaluate: Callable[[Standing], None],
  save: Callable[[Standing], Path],
  interruption: Interruption,
) -> Path | None:
  """Runs until the last step or an interruption; see `train`."""
  last = config.num_rollout_steps
  pending: StepRecord | None = None

  def due(every: int) -> bool:
    return bool(every) and standing.rollout_step % every == 0

  def stopped() -> bool:
    return hosts.any_of(interruption.received is not None)

  while standing.rollout_step < last and not stopped():
    standing, record = start_step(config, run, standing)
    if pending is not None:  # while the update runs
      write(numbers_of(run, pending), pending.standing)
    pending = finished(record)
    ends = standing.rollout_step == last
    evaluates = ends or due(config.evaluation.every)
    saves = due(config.checkpoint.every)
    if evaluates or saves or stopped():
      # a checkpoint must not be ahead of the lines that it continues
      write(numbers_of(run, pending), pending.standing)
      pending = None
    if evaluates:
      evaluate(standing)
    if saves:
      save(standing)
  if pending is not None:
    write(numbers_of(run, pending), pending.standing)
  path = save(standing)
  return path if standing.rollout_step < last else None


def _evaluate(
  config: Config, run: Run, standing: Standing
) -> tuple[dict[str, float], list[dict[str, Any]]]:
  """Evaluates the policy; returns its numbers and some of its samples."""
  settings = config.evaluation
  evaluation = evaluate_policy(
    run.functions.evaluate,
    standing.state.params,
    run.data.held_out,
    run.data.task.verify,
    run.data.tokenizer,
    jax.random.fold_in(standing.key, EVALUATION_KEY),
    prompt_length=config.rollout.prompt_length,
    prompt_buckets=config.rollout.prompt_buckets,
    prompts_per_batch=settings.prompts_per_batch,
  )
  samples = []
  for row in range(min(config.log.samples, len(run.data.held_out))):
    verdict = evaluation.verdicts[row][0]
    samples.append(
      {
        "rollout_step": standing.rollout_step,
        "prompt": run.data.held_out[row].prompt,
        "response": evaluation.texts[row][0],
        "reward": verdict.reward,
        "reason": verdict.reason,
      }
    )
  return summarize(evaluation, run.data.task.name), samples
