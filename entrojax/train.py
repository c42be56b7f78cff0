"""Run the train loop: rollout steps, evaluations, checkpoints and logs.

A fresh run is evaluated before its first step. Every run is evaluated after its
last step, and every evaluation.every rollout steps if that is not 0. A
checkpoint is saved at the end, as often as the section `checkpoint` says, and
when the run is interrupted, after the step that is running. An interruption
also stops an evaluation. The checkpoint then records that it is owed, and the
resumed run begins with it.

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
from entrojax.instruments.kept_batches import write_batch
from entrojax.reporting.alarms import Alarms
from entrojax.reporting.inert_controls import ControlEffects
from entrojax.reporting.live_law import LiveLaw
from entrojax.reporting.progress import Progress
from entrojax.reporting.run_logs import METRICS_FILE, read_lines
from entrojax.reporting.writer import open_writer
from entrojax.rollout_step import (
  Position,
  StepRecord,
  fold_in,
  start_step,
  step_metrics,
  wait_for_update,
)
from entrojax.rollouts.sampler import Generate
from entrojax.schedules import Scheduled
from entrojax.system import hosts
from entrojax.system.checkpoint import Checkpoints
from entrojax.system.checkpoint_record import Best
from entrojax.system.interrupt import Interruption
from entrojax.system.profiling import Profile, check_profile
from entrojax.system.provenance import default_settings, write_provenance
from entrojax.system.saves import Saves
from entrojax.system.sharding import replicated
from entrojax.system.workdir import (
  EVALUATIONS_FILE,
  ROLLOUTS_FILE,
  SAMPLES_FILE,
  append_rows,
  begin_or_resume,
  check_processes,
  hold_workdir,
  trim_rows,
)
from entrojax.types import (
  AdvantageRule,
  Array,
  Controller,
  Objective,
  Params,
  Prompts,
  Rollout,
)

PROFILE_FOLDER = "profile"
_MISMATCH = "rollout/log_prob_diff_max"

# writes metrics by name, at a position of the run
Write = Callable[[Mapping[str, Any], Position], None]


class _InterruptedEvaluation(Exception):
  """A signal has stopped an evaluation."""


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
    defaults = default_settings("configs.default")
    with hosts.together():
      if hosts.is_first():
        begin_or_resume(
          workdir,
          settings,
          fresh=fresh,
          resume=resume,
          recorded=checkpoints.settings(),
          defaults=defaults,
        )
        write_provenance(
          workdir,
          settings,
          defaults,
          run.mesh.devices,
          fresh=fresh,
          command=command,
        )
    note = report if hosts.is_first() else lambda line: None
    position, owed = _first_position(run, checkpoints, note)
    owed = fresh or (owed and not _is_evaluated(workdir, position))
    if position.rollout_step < run.settings.num_rollout_steps:
      checkpoints.probe(position.state, position.key, read_back=fresh)
    write: Write = lambda metrics, at: None
    with hosts.together():
      if hosts.is_first():
        write = _open_reports(
          run,
          workdir,
          settings,
          position,
          stack,
          fresh,
          stop=interruption.request,
          owed=owed,
        )
    trace = stack.enter_context(
      Profile(workdir / PROFILE_FOLDER, profile if hosts.is_first() else None)
    )

    saves = Saves(
      checkpoints,
      every=run.settings.checkpoint.every,
      minutes=run.settings.checkpoint.minutes,
      keep_best=run.settings.checkpoint.keep_best,
      report=note,
    )

    def stopped() -> bool:
      return hosts.any_of(interruption.received is not None)

    def save(at: Position, owed: bool, best: Best | None) -> Path:
      return _save(run, checkpoints, at, settings, owed=owed, best=best)

    def evaluate(at: Position) -> bool:
      try:
        metrics, files = _evaluate(run, at, stopped)
      except _InterruptedEvaluation:
        return False
      if hosts.is_first():
        for name, rows in files.items():
          append_rows(workdir, name, rows)
      write(metrics, at)
      saves.rate(at.rollout_step, metrics)
      return True

    def keep(record: StepRecord) -> None:
      if record.kept is not None and hosts.is_first():
        write_batch(workdir, record.kept)

    return _loop(
      run, position, write, evaluate, save, keep, saves, stopped, trace, owed
    )


def _loop(
  run: Run,
  position: Position,
  write: Write,
  evaluate: Callable[[Position], bool],
  save: Callable[[Position, bool, Best | None], Path],
  keep: Callable[[StepRecord], None],
  saves: Saves,
  stopped: Callable[[], bool],
  trace: Profile,
  owed: bool,
) -> Path | None:
  """Run until the last step or an interruption; see `train`.

  Args:
    run: the run.
    position: where it starts or resumes.
    write: writes the metrics of a step.
    evaluate: evaluates the policy, and returns False if it was interrupted.
    save: starts to write a checkpoint; takes the position, whether an
      evaluation is owed there, and the best evaluation if it is this one.
    keep: writes the batch of a step, if the step has kept it.
    saves: when to save.
    stopped: returns whether a process has received a signal.
    trace: the profile.
    owed: whether an evaluation is owed before the first step.
  """
  every, last = run.settings.evaluation.every, run.settings.num_rollout_steps
  pending: StepRecord | None = None
  if owed:
    owed = not evaluate(position)

  def write_here(best: Best | None) -> Path:
    return save(position, owed, best)

  def write_step(record: StepRecord) -> None:
    write(step_metrics(run, record), record.position)

  while position.rollout_step < last and not stopped():
    with trace.step(position.rollout_step + 1):
      position, record = start_step(run, position)
      keep(record)
      if pending is not None:
        write_step(pending)  # while the update runs
      pending = wait_for_update(record)
    number = position.rollout_step
    evaluates = number == last or bool(every and number % every == 0)
    is_due = saves.due(number)
    if evaluates or is_due or stopped():
      # a checkpoint must not be ahead of the lines written before it
      write_step(pending)
      pending = None
    if evaluates:
      owed = not evaluate(position)
      is_due = is_due or saves.due(number)  # it may be the best so far
    if is_due:
      saves.save(write_here)
  if pending is not None:
    write_step(pending)
  path = saves.finish(write_here)
  return path if position.rollout_step < last or owed else None


def _open_reports(
  run: Run,
  workdir: Path,
  settings: Mapping[str, Any],
  start: Position,
  stack: contextlib.ExitStack,
  fresh: bool,
  *,
  stop: Callable[[str], None],
  owed: bool,
) -> Write:
  """Open the logs and the progress display; return the function that writes.

  Args:
    run: the run.
    workdir: the run directory.
    settings: the resolved config, nested.
    start: where the run starts or resumes.
    stack: closes the logs and the display when the run ends.
    fresh: whether the run starts rather than resumes.
    stop: ends the run after its current step; takes the reason.
    owed: whether it begins with an evaluation, whose rows are then removed.
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
    trim_rows(workdir, name, start.rollout_step - owed)
  if run.recorded is not None:
    progress.note(run.recorded.summary())
  law = LiveLaw(workdir, settings)
  alarms = Alarms(workdir, run.settings.alarms)

  def write(metrics: Mapping[str, Any], at: Position) -> None:
    if _is_step(metrics):
      metrics = {**metrics, **law.metrics(metrics), **alarms.metrics(metrics)}
    else:
      law.add(metrics)
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
    for note in law.notes() + alarms.notes():
      progress.note(note)
    if alarms.stop:
      stop("alarm")

  return write


def _first_position(
  run: Run, checkpoints: Checkpoints, report: Callable[[str], None]
) -> tuple[Position, bool]:
  """Return where the run starts, and whether an evaluation is owed there.

  It is the position of the newest intact checkpoint, if there is one.

  Args:
    run: the run.
    checkpoints: its checkpoints.
    report: takes a line about checkpoints that are damaged.
  """
  root_key = jax.random.key(run.settings.seed)
  key = hosts.place(root_key, replicated(run.mesh))
  if checkpoints.latest() is None:
    return Position(run.state, run.ref_params, key, 0, step=0, tokens=0), False
  state, key, host, ref_params, rollout_step = checkpoints.restore(
    run.state,
    key,
    lambda step: run.ref_params if _has_own_reference(run, step) else None,
    report=report,
  )
  run.data.stages.stream(rollout_step).restore(host["data"])
  position = Position(
    state,
    run.ref_params if ref_params is None else ref_params,
    key,
    rollout_step,
    host["step"],
    host["tokens"],
  )
  return position, host.get("evaluation_owed", False)


def _is_evaluated(workdir: Path, at: Position) -> bool:
  """Return whether metrics.jsonl has the evaluation at a position.

  It is the last file that an evaluation is written to.
  """
  path, is_done = workdir / METRICS_FILE, False
  with hosts.together():
    if hosts.is_first() and path.exists():
      is_done = any(
        row.get("rollout_step") == at.rollout_step and not _is_step(row)
        for _, row in read_lines(path)
      )
  return hosts.any_of(is_done)


def _is_step(metrics: Mapping[str, Any]) -> bool:
  """Return whether metrics belong to a step rather than an evaluation."""
  return "actor/loss" in metrics


def _save(
  run: Run,
  checkpoints: Checkpoints,
  at: Position,
  settings: Mapping[str, Any],
  *,
  owed: bool,
  best: Best | None,
) -> Path:
  """Start writing a checkpoint and return its path."""
  stream = run.data.stages.stream(at.rollout_step)
  host = {
    "data": stream.state(),
    "step": at.step,
    "tokens": at.tokens,
    "evaluation_owed": owed,
  }
  has_own = _has_own_reference(run, at.rollout_step)
  ref_params = at.ref_params if has_own else None
  # orbax copies arrays to the host in its own way
  with jax.transfer_guard("allow"):
    return checkpoints.save(
      at.rollout_step,
      at.state,
      at.key,
      host,
      ref_params,
      settings=settings,
      best=best,
    )


def _has_own_reference(run: Run, rollout_step: int) -> bool:
  """Return whether the reference at this step differs from the base model."""
  is_later_stage = run.data.stages.number(max(rollout_step - 1, 0)) > 0
  return is_later_stage and run.ref_params is not None


def _evaluate(
  run: Run, at: Position, stopped: Callable[[], bool] = lambda: False
) -> tuple[dict[str, float], dict[str, list[dict[str, Any]]]]:
  """Evaluate the policy on each set.

  Args:
    run: the run.
    at: the position at which it is evaluated.
    stopped: returns whether to give up, before each batch of prompts.

  Returns:
    The metrics by name; and the rows to append to files, by file: the number of
    right answers to each prompt of each set, and some of the samples.

  Raises:
    _InterruptedEvaluation: `stopped` returned True.
  """
  settings = run.settings.evaluation
  metrics: dict[str, float] = {}
  right: list[dict[str, Any]] = []
  samples: list[dict[str, Any]] = []
  for part in run.evaluation_sets:
    evaluation = evaluate_policy(
      _until(stopped, run.functions.evaluate[part.num_samples]),
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


def _until(stopped: Callable[[], bool], generate: Generate) -> Generate:
  """Wrap `generate` to raise an error if the run is to end."""

  def run(params: Params, prompts: Prompts, key: Array) -> Rollout:
    if stopped():
      raise _InterruptedEvaluation
    return generate(params, prompts, key)

  return run


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
