"""Run the train loop: rollout steps, evaluations, checkpoints and logs.

A fresh run is evaluated before its first step. Every run is evaluated after its
last step, and every evaluation.every rollout steps if that is not 0. A
checkpoint is saved at the end, as often as the section `checkpoint` says, and
when the run is interrupted, after the step that is running. If an alarm takes
the run back to an earlier checkpoint, it resumes from there. An interruption
also stops an evaluation. The checkpoint then records that it is owed, and the
resumed run begins with it. If an error ends the run between two updates, the
steps before it are saved first.

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

from ml_collections import ConfigDict as Config

from entrojax.assembly.check_run import completing
from entrojax.assembly.check_settings import check
from entrojax.assembly.offline import find_rollouts
from entrojax.assembly.own_methods import (
  OwnMethods,
  TaskArgument,
  make_own_task,
  own_methods,
  record_names,
)
from entrojax.assembly.rematerialisation import (
  is_open,
  with_choice_of,
  write_choice,
)
from entrojax.assembly.roll_backs import with_roll_backs
from entrojax.assembly.run import Run, build_checked
from entrojax.loop.evaluation import InterruptedEvaluation, evaluate_run
from entrojax.loop.faults import Faults
from entrojax.loop.files import RunFiles, open_run_files, print_in_first
from entrojax.loop.rollout_step import (
  Position,
  StepRecord,
  start_step,
  step_metrics,
  wait_for_update,
)
from entrojax.schedules import Scheduled
from entrojax.system import hosts
from entrojax.system.interrupt import Interruption
from entrojax.system.profiling import Profile, check_profile, describe_missed
from entrojax.system.roll_backs import read_roll_backs
from entrojax.system.saves import save_after
from entrojax.system.workdir import (
  ROLLOUTS_FILE,
  check_processes,
  hold_workdir,
)
from entrojax.types import AdvantageRule, Controller, Objective, Task

PROFILE_FOLDER = "profile"


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
  passed = (own, own_task and own_task.task)
  again = True
  while again:  # after a roll-back
    path, again = _train_once(
      config, workdir, *passed, resume=resume, profile=profile, command=command
    )
    resume = resume or again
  return path


def _train_once(
  config: Config,
  workdir: Path,
  own: OwnMethods,
  task: Task | None,
  *,
  resume: bool,
  profile: tuple[int, int] | None,
  command: Sequence[str] | None,
) -> tuple[Path | None, bool]:
  """Train until the end, an interruption or a roll-back; see `train`.

  Returns:
    What `train` returns, and whether the run was rolled back and has to resume.
  """
  with hosts.together():
    # without checkpoints the run starts over
    is_begun = (workdir / "checkpoints").is_dir()
    roll_backs = read_roll_backs(workdir) if is_begun else []
    config = with_roll_backs(config, roll_backs)
  settings = config.to_dict()
  with contextlib.ExitStack() as stack:
    check_processes(config=settings, workdir=str(workdir))
    run = _build(config, workdir, own, task, profile, stack)
    interruption = stack.enter_context(Interruption())
    files = open_run_files(
      run,
      workdir,
      settings,
      stack,
      resume=resume,
      command=command,
      stop=interruption.request,
      may_change=[roll_back.setting for roll_back in roll_backs],
    )
    if missed := describe_missed(profile, files.start.rollout_step):
      files.note(missed)
    trace = stack.enter_context(
      Profile(workdir / PROFILE_FOLDER, profile if hosts.is_first() else None)
    )
    with hosts.telling():
      path, rolled_back = _loop(
        run, files, lambda: hosts.any_of(interruption.ends), trace
      )
    is_over = rolled_back and hosts.any_of(interruption.received is not None)
    return path, rolled_back and not is_over


def _build(
  config: Config,
  workdir: Path,
  own: OwnMethods,
  task: Task | None,
  profile: tuple[int, int] | None,
  stack: contextlib.ExitStack,
) -> Run:
  """Check the config, lock the run directory and build the run.

  Args:
    config: the settings of the run.
    workdir: the run directory, which the first process holds until `stack` is
      closed.
    own: functions that take the place of those that the config names.
    task: takes the place of the task that the config names.
    profile: the rollout steps to record; see `train`.
    stack: releases the run directory.
  """
  with hosts.together():
    with completing(config, own=own, task=task):
      check(config, own)
    check_profile(profile, config.num_rollout_steps)
    if hosts.is_first():
      stack.enter_context(hold_workdir(workdir))
    rollouts = find_rollouts(
      config,
      workdir / ROLLOUTS_FILE,
      functools.partial(print, flush=True),
      task,
    )
  print_in_first(
    f"Loading {config.model.path} and the prompts of {config.task.name}."
  )
  run = build_checked(with_choice_of(config, workdir), rollouts, own, task)
  if is_open(config) and run.kept is not None and hosts.is_first():
    write_choice(workdir, run.kept)
  return run


class _Reached:
  """What a run has reached, also when an error ends it.

  Attributes:
    position: after the last rollout step whose update has ended. The next
      update donates its state.
    owed: whether an evaluation is owed there.
    pending: the record of that step while its metrics are not written.
  """

  def __init__(self, position: Position, *, owed: bool):
    self.position, self.owed = position, owed
    self.pending: StepRecord | None = None

  def write_pending(self, run: Run, files: RunFiles) -> None:
    """Write the metrics of the last step if they are not written."""
    record = self.pending
    if record is not None:
      files.write(step_metrics(run, record), record.position)
      self.pending = None


def _loop(
  run: Run, files: RunFiles, stopped: Callable[[], bool], trace: Profile
) -> tuple[Path | None, bool]:
  """Run until the last step or an interruption; see `_train_once`.

  Args:
    run: the run.
    files: its files, which say where it starts or resumes.
    stopped: returns whether a process has received a signal.
    trace: the profile.

  Raises:
    SharedError: one update after another was skipped; the run is saved.
  """
  reached = _Reached(files.start, owed=files.owed)
  faults = Faults(run, files.workdir, files.note)
  try:
    _take_steps(run, files, reached, faults, stopped, trace)
  except Exception as error:
    _save_after(error, run, files, reached)
    raise
  path = files.finish(reached.position, owed=reached.owed)
  if faults.reason:
    raise hosts.SharedError(faults.reason)
  is_cut = reached.position.rollout_step < run.settings.num_rollout_steps
  return (
    path if is_cut or reached.owed else None,
    is_cut and files.roll_back(reached.position),
  )


def _take_steps(
  run: Run,
  files: RunFiles,
  reached: _Reached,
  faults: Faults,
  stopped: Callable[[], bool],
  trace: Profile,
) -> None:
  """Take the steps of `_loop`, and note in `reached` how far it is."""
  every, last = run.settings.evaluation.every, run.settings.num_rollout_steps
  if reached.position.rollout_step < last:
    files.note("Compiling each function at its first call.")
  if reached.owed:
    reached.owed = not _evaluate(run, files, reached.position, stopped)

  while reached.position.rollout_step < last and not (
    stopped() or faults.reason
  ):
    with trace.step(reached.position.rollout_step + 1):
      position, record = start_step(run, reached.position)
      if record.kept is not None:
        files.keep_batch(record.kept)
      reached.write_pending(run, files)  # while the update runs
      reached.pending = faults.check(wait_for_update(record))
      reached.position, reached.owed = position, False
    number = position.rollout_step
    evaluates = number == last or bool(every and number % every == 0)
    saves = files.save_is_due(position)
    if evaluates or saves or stopped():
      # a checkpoint must not be ahead of the lines written before it
      reached.write_pending(run, files)
    if evaluates:
      reached.owed = True  # until it is written
      reached.owed = not _evaluate(run, files, position, stopped)
      saves = saves or files.save_is_due(position)  # it may be the best so far
    if saves:
      files.save(position, owed=reached.owed)
  reached.write_pending(run, files)


def _save_after(
  error: Exception, run: Run, files: RunFiles, reached: _Reached
) -> None:
  """Save what a run has reached before an error ends it, if that is possible.

  Nothing is saved before the first step, so that a run that fails there binds
  nobody to its settings.
  """
  position = reached.position
  if position.rollout_step == files.start.rollout_step:
    return

  def finish() -> Path:
    reached.write_pending(run, files)
    return files.finish(position, owed=reached.owed)

  save_after(error, position.state, finish, files.note)


def _evaluate(
  run: Run, files: RunFiles, at: Position, stopped: Callable[[], bool]
) -> bool:
  """Evaluate the policy; return False if no results were written."""
  sets = ", ".join(
    f"{len(part.problems)} prompts of {part.label} x {part.num_samples} samples"
    for part in run.evaluation_sets
  )
  files.note(f"Evaluating after rollout step {at.rollout_step}: {sets}.")
  try:
    evaluated = evaluate_run(run, at, stopped)
  except InterruptedEvaluation:
    return False
  return files.write_evaluation(evaluated, at)


class _CallableModule(ModuleType):
  """A module that is called like its function `train`.

  A package's attribute of a submodule's name is the submodule, once that is
  imported. So that `entrojax.train(...)` always works, the submodule is
  callable.
  """

  def __call__(self, *args: Any, **kwargs: Any) -> Path | None:
    return train(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
