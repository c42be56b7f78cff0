"""Run the train loop: rollout steps, evaluations, checkpoints and logs.

A fresh run is evaluated before its first step. Every run is evaluated after its
last step, and every evaluation.every rollout steps if that is not 0. A
checkpoint is saved at the end, every checkpoint.every rollout steps if that is
not 0, and when the run is interrupted, after the step that is running.

The metrics of a step are written while the next step's update runs. They are
written at once if an evaluation, a checkpoint or an interruption follows. With
several processes, only the first one writes logs.
"""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import functools
from pathlib import Path
import sys
from types import ModuleType
from typing import Any

import jax
from ml_collections import ConfigDict as Config
import numpy as np

from entrojax.assembly.check_settings import check
from entrojax.assembly.evaluation_sets import EvaluationSet
from entrojax.assembly.offline import find_rollouts
from entrojax.assembly.own_methods import (
  TaskArgument,
  make_own_task,
  own_methods,
  record_names,
)
from entrojax.assembly.run import Run, build_checked
from entrojax.evaluate import (
  EVALUATION_KEY,
  Evaluation,
  evaluate_policy,
  right_answers,
  summarize,
)
from entrojax.reporting.inert_controls import ControlEffects
from entrojax.reporting.live_law import LiveLaw
from entrojax.reporting.progress import Progress
from entrojax.reporting.writer import open_writer
from entrojax.rollout_step import (
  Position,
  StepRecord,
  fold_in,
  start_step,
  step_metrics,
  wait_for_update,
)
from entrojax.schedules import Scheduled
from entrojax.system import hosts
from entrojax.system.checkpoint import Checkpoints
from entrojax.system.interrupt import Interruption
from entrojax.system.profiling import Profile, check_profile
from entrojax.system.provenance import default_settings, write_provenance
from entrojax.system.sharding import replicated
from entrojax.system.workdir import (
  EVALUATIONS_FILE,
  ROLLOUTS_FILE,
  SAMPLES_FILE,
  append_rows,
  check_processes,
  hold_workdir,
  trim_rows,
  write_config,
)
from entrojax.types import AdvantageRule, Controller, Objective

PROFILE_FOLDER = "profile"
_MISMATCH = "rollout/log_prob_diff_max"

# writes metrics by name, at a position of the run
Write = Callable[[Mapping[str, Any], Position], None]


def train(
  config: Config,
  workdir: Path,
  *,
  resume: bool = True,
  profile: tuple[int, int] | None = None,
  command: Sequence[str] | None = None,
  task: TaskArgument | None = None,
  objective: Objective | Mapping[str, Objective] | None = None,
  advantage: AdvantageRule | Mapping[str, AdvantageRule] | None = None,
  controller: Controller | Scheduled[Controller] | None = None,
) -> Path | None:
  """Train as a config says, in a run directory.

  The last four arguments take the place of what the config names; None: the
  config's. The run's config.json then has the names of these functions, and a
  run is not resumed with functions of other names.

  Args:
    config: the settings of the run; not changed.
    workdir: the run directory, created if it does not exist.
    resume: whether to resume from the newest checkpoint of the directory; if
      false, a directory that holds a run is refused.
    profile: (first, last) rollout step, counted from 1, to record in an XProf
      trace in the directory's folder `profile`; None: record no trace.
    command: the command line to record in provenance.json; None: this
      process's own.
    task: a Task, or a reward function and its problems, such as (reward,
      "problems.jsonl"); tasks/own.py describes both.
    objective: the whole chain: one objective, or its members by name, in order.
    advantage: one rule, or rules by name, in order.
    controller: the controller of the entropy. Like the other functions, it may
      change over the run; see schedules.py.

  Returns:
    The checkpoint, if the run was interrupted; None if it is complete.

  Raises:
    ValueError: a setting, a file or the directory cannot be used.
  """
  workdir = Path(workdir)
  with hosts.together():
    own = own_methods(objective, advantage, controller)
    own_task = None if task is None else make_own_task(task)
    config = record_names(config, own, own_task)
  built_task = own_task and own_task.task
  settings = config.to_dict()
  with contextlib.ExitStack() as stack:
    check_processes(config=settings, workdir=str(workdir))
    with hosts.together():
      check(config, own)
      check_profile(profile, config.num_rollout_steps)
      if hosts.is_first():
        stack.enter_context(hold_workdir(workdir))
      report = functools.partial(print, flush=True)
      rollouts = find_rollouts(
        config, workdir / ROLLOUTS_FILE, report, built_task
      )
    run = build_checked(config, rollouts, own, built_task)
    interruption = stack.enter_context(Interruption())
    checkpoints = Checkpoints(
      workdir / "checkpoints", keep=run.settings.checkpoint.keep
    )
    stack.enter_context(contextlib.closing(checkpoints))
    fresh = checkpoints.latest() is None
    with hosts.together():
      if hosts.is_first():
        write_config(workdir, settings, saved=not fresh, resume=resume)
        write_provenance(
          workdir,
          settings,
          default_settings("configs.default"),
          run.mesh.devices,
          fresh=fresh,
          command=command,
        )
    position = _first_position(run, checkpoints)
    write: Write = lambda metrics, at: None
    with hosts.together():
      if hosts.is_first():
        write = _open_reports(run, workdir, settings, position, stack, fresh)
    trace = stack.enter_context(
      Profile(workdir / PROFILE_FOLDER, profile if hosts.is_first() else None)
    )

    def save(at: Position) -> Path:
      return _save(run, checkpoints, at)

    def evaluate(at: Position) -> None:
      metrics, files = _evaluate(run, at)
      if hosts.is_first():
        for name, rows in files.items():
          append_rows(workdir, name, rows)
      write(metrics, at)

    if fresh:
      evaluate(position)
    return _loop(run, position, write, evaluate, save, interruption, trace)


def _loop(
  run: Run,
  position: Position,
  write: Write,
  evaluate: Callable[[Position], None],
  save: Callable[[Position], Path],
  interruption: Interruption,
  trace: Profile,
) -> Path | None:
  """Run until the last step or an interruption; see `train`."""
  settings, last = run.settings, run.settings.num_rollout_steps
  pending: StepRecord | None = None

  def due(every: int) -> bool:
    return bool(every) and position.rollout_step % every == 0

  def stopped() -> bool:
    return hosts.any_of(interruption.received is not None)

  def write_step(record: StepRecord) -> None:
    write(step_metrics(run, record), record.position)

  while position.rollout_step < last and not stopped():
    with trace.step(position.rollout_step + 1):
      position, record = start_step(run, position)
      if pending is not None:
        write_step(pending)  # while the update runs
      pending = wait_for_update(record)
    ends = position.rollout_step == last
    evaluates = ends or due(settings.evaluation.every)
    saves = due(settings.checkpoint.every)
    if evaluates or saves or stopped():
      # a checkpoint must not be ahead of the lines written before it
      write_step(pending)
      pending = None
    if evaluates:
      evaluate(position)
    if saves:
      save(position)
  if pending is not None:
    write_step(pending)
  path = save(position)
  return path if position.rollout_step < last else None


def _open_reports(
  run: Run,
  workdir: Path,
  settings: Mapping[str, Any],
  start: Position,
  stack: contextlib.ExitStack,
  fresh: bool,
) -> Write:
  """Open the logs and the progress display; return the function that writes.

  Args:
    run: the run.
    workdir: the run directory.
    settings: the resolved config, nested, for W&B.
    start: where the run starts or resumes.
    stack: closes the logs and the display when the run ends.
    fresh: whether the run starts rather than resumes.
  """
  log = run.settings.log
  writer = stack.enter_context(
    open_writer(
      workdir,
      resumed_rollout_step=-1 if fresh else start.rollout_step,
      wandb_project=log.wandb_project,
      config=settings,
    )
  )
  progress = stack.enter_context(
    Progress(
      run.settings.num_rollout_steps,
      first_rollout_step=start.rollout_step,
      every=log.every,
    )
  )
  effects = ControlEffects(log.controls)
  for name in (EVALUATIONS_FILE, SAMPLES_FILE):
    trim_rows(workdir, name, None if fresh else start.rollout_step)
  if run.recorded is not None:
    progress.note(run.recorded.summary())
  law = LiveLaw(workdir)

  def write(metrics: Mapping[str, Any], at: Position) -> None:
    is_step = "actor/loss" in metrics  # rather than an evaluation
    if is_step:
      metrics = {**metrics, **law.metrics(metrics)}
    writer.write(
      metrics, step=at.step, rollout_step=at.rollout_step, tokens=at.tokens
    )
    progress.update(at.rollout_step, metrics)
    if at.rollout_step == start.rollout_step + 1 and _MISMATCH in metrics:
      progress.note(
        "sampler and trainer differ by at most "
        f"{metrics[_MISMATCH]:.1e} nats per token"
      )
    # a step without tokens has no entropy, and then no control has an effect
    if np.isfinite(metrics.get("actor/entropy", np.nan)):
      for note in effects.notes(metrics):
        progress.note(note)

  return write


def _first_position(run: Run, checkpoints: Checkpoints) -> Position:
  """Return the start of the run, or the position of the newest checkpoint."""
  root_key = jax.random.key(run.settings.seed)
  key = hosts.place(root_key, replicated(run.mesh))
  rollout_step = checkpoints.latest()
  if rollout_step is None:
    return Position(run.state, run.ref_params, key, 0, step=0, tokens=0)
  has_own = _has_own_reference(run, rollout_step)
  state, key, host, ref_params = checkpoints.restore(
    run.state, key, run.ref_params if has_own else None
  )
  run.data.stages.stream(rollout_step).restore(host["data"])
  return Position(
    state,
    ref_params if has_own else run.ref_params,
    key,
    rollout_step,
    host["step"],
    host["tokens"],
  )


def _save(run: Run, checkpoints: Checkpoints, at: Position) -> Path:
  """Start writing a checkpoint and return its path."""
  stream = run.data.stages.stream(at.rollout_step)
  host = {"data": stream.state(), "step": at.step, "tokens": at.tokens}
  has_own = _has_own_reference(run, at.rollout_step)
  ref_params = at.ref_params if has_own else None
  # orbax copies arrays to the host in its own way
  with jax.transfer_guard("allow"):
    return checkpoints.save(at.rollout_step, at.state, at.key, host, ref_params)


def _has_own_reference(run: Run, rollout_step: int) -> bool:
  """Return whether the reference at this step differs from the base model."""
  is_later_stage = run.data.stages.number(max(rollout_step - 1, 0)) > 0
  return is_later_stage and run.ref_params is not None


def _evaluate(
  run: Run, at: Position
) -> tuple[dict[str, float], dict[str, list[dict[str, Any]]]]:
  """Evaluate the policy on each set.

  Returns:
    The metrics by name; and the rows to append to files, by file: the number of
    right answers to each prompt of each set, and some of the samples.
  """
  settings = run.settings.evaluation
  metrics: dict[str, float] = {}
  right: list[dict[str, Any]] = []
  samples: list[dict[str, Any]] = []
  for part in run.evaluation_sets:
    evaluation = evaluate_policy(
      run.functions.evaluate[part.num_samples],
      at.state.params,
      part.problems,
      part.task.verify,
      run.data.tokenizer,
      fold_in(run, at.key, EVALUATION_KEY),
      prompt_length=settings.prompt_length,
      prompt_buckets=settings.prompt_buckets,
      prompts_per_batch=settings.prompts_per_batch,
    )
    metrics |= summarize(evaluation, part.name)
    right.append(
      {
        "rollout_step": at.rollout_step,
        "step": at.step,
        **right_answers(evaluation, part.problems, part.name),
      }
    )
    samples += _first_samples(
      evaluation, part, at.rollout_step, run.settings.log.num_samples
    )
  return metrics, {EVALUATIONS_FILE: right, SAMPLES_FILE: samples}


def _first_samples(
  evaluation: Evaluation, part: EvaluationSet, rollout_step: int, number: int
) -> list[dict[str, Any]]:
  """Return the first sample of each of the first prompts, for samples.jsonl.

  Args:
    evaluation: the result of the evaluation.
    part: the evaluation set.
    rollout_step: the number of rollout steps done so far.
    number: at most this many prompts.
  """
  samples = []
  for row in range(min(number, len(part.problems))):
    verdict = evaluation.verdicts[row][0]
    samples.append(
      {
        "rollout_step": rollout_step,
        "task": part.label,
        "prompt": part.problems[row].prompt,
        "response": evaluation.texts[row][0],
        "reward": verdict.reward,
        "reason": verdict.reason,
      }
    )
  return samples


class _CallableModule(ModuleType):
  """A module that is called like its function `train`.

  A package's attribute of a submodule's name is the submodule, once that is
  imported. So that `entrojax.train(...)` always works, the submodule is
  callable.
  """

  def __call__(self, *args: Any, **kwargs: Any) -> Path | None:
    return train(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
