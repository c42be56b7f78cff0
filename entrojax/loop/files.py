"""The files of one run: its checkpoints, logs, evaluations and descriptions.

`open_run_files` begins the run directory or resumes what it holds, and returns
the RunFiles through which the train loop writes. Every process has them. With
several processes the first one writes the logs; all of them write checkpoints.
"""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import functools
from pathlib import Path
from typing import Any

import jax

from entrojax.assembly.run import Run
from entrojax.instruments.kept_batches import KeptBatch, write_batch
from entrojax.loop.evaluation import Evaluated
from entrojax.loop.reports import Reports, is_step
from entrojax.loop.rollout_step import Position
from entrojax.loop.selftest import OK, start_checks
from entrojax.reporting.run_logs import METRICS_FILE, read_lines
from entrojax.reporting.token_logs import write_tokens
from entrojax.system import hosts
from entrojax.system.checkpoint import Checkpoints, release
from entrojax.system.checkpoint_record import Best
from entrojax.system.provenance import default_settings, write_provenance
from entrojax.system.roll_backs import RollBack, append_roll_back
from entrojax.system.saves import Saves
from entrojax.system.sharding import replicated
from entrojax.system.workdir import WANDB_ID_FILE, append_rows, begin_or_resume


class RunFiles:
  """Writes the files of a run; every process makes the same calls.

  Attributes:
    workdir: the run directory.
    start: where the run starts or resumes.
    owed: whether an evaluation is owed there, before the first step.
  """

  def __init__(
    self,
    run: Run,
    workdir: Path,
    config: Mapping[str, Any],
    checkpoints: Checkpoints,
    start: Position,
    *,
    owed: bool,
    reports: Reports | None,
  ):
    """Take over files that `open_run_files` has opened.

    Args:
      run: the run.
      workdir: the run directory.
      config: the resolved config, nested.
      checkpoints: the checkpoints of the run.
      start: where it starts or resumes.
      owed: whether an evaluation is owed there.
      reports: the logs and the display; None in all processes but the first.
    """
    self.start, self.owed = start, owed
    self.workdir = workdir
    self._run, self._config = run, config
    self._checkpoints, self._reports = checkpoints, reports
    settings = run.settings.checkpoint
    self._saves = Saves(
      checkpoints,
      every=settings.every,
      minutes=settings.minutes,
      keep_best=settings.keep_best,
      report=print_in_first,
    )

  def write(self, metrics: Mapping[str, Any], at: Position) -> None:
    """Write the metrics of a step or an evaluation, and show them."""
    if self._reports is not None:
      self._reports.write(metrics, at)

  def note(self, line: str) -> None:
    """Show a line, in the first process."""
    if self._reports is not None:
      self._reports.note(line)

  def write_evaluation(self, evaluated: Evaluated, at: Position) -> bool:
    """Write the results of an evaluation.

    If its responses cannot be written, as on a full disk, nothing is written
    but a warning. The evaluation is then owed.

    Returns:
      Whether the results are written.
    """
    failure = ""
    if self._reports is not None:
      try:
        for name, rows in evaluated.rows.items():
          append_rows(self.workdir, name, rows)
        for number, samples in enumerate(evaluated.tokens):
          write_tokens(self.workdir, number, samples)
      except OSError as error:
        failure = str(error)
    if hosts.any_of(bool(failure)):
      self.note(
        f"warning: the evaluation after rollout step {at.rollout_step} could "
        f"not be written ({failure}). The run continues without it"
      )
      return False
    self.write(evaluated.metrics, at)
    self._saves.rate(at.rollout_step, evaluated.metrics)
    return True

  def keep_batch(self, batch: KeptBatch) -> None:
    """Write a rollout batch for entrojax.replay; if that fails, report it."""
    if hosts.is_first():
      try:
        write_batch(self.workdir, batch)
      except OSError as error:
        self.note(
          f"warning: the batch of rollout step {batch.rollout_step} could not "
          f"be kept ({error}). The run continues"
        )

  def save_is_due(self, at: Position) -> bool:
    """Return whether a checkpoint is to be saved here."""
    return self._saves.due(at.rollout_step)

  def save(self, at: Position, *, owed: bool) -> None:
    """Start writing a checkpoint; if that fails, report it and continue.

    Args:
      at: the position of the run.
      owed: whether an evaluation is owed there.
    """
    self._saves.save(functools.partial(self._save, at, owed))

  def finish(self, at: Position, *, owed: bool) -> Path:
    """Save the end of the run and wait until it is on disk.

    Returns:
      The folder of the checkpoint.

    Raises:
      ValueError: it could not be written.
    """
    return self._saves.finish(functools.partial(self._save, at, owed))

  def roll_back(self, at: Position) -> bool:
    """Go back to an earlier checkpoint if an alarm demands it.

    Args:
      at: the position of the run, which is saved.

    Returns:
      Whether the run has to resume, from there and with the changed setting.
    """
    name = self._reports.roll_back if self._reports is not None else ""
    name = hosts.gather_json(name)[0]
    if not name:
      return False
    settings = self._run.settings.alarms
    step = self._checkpoints.roll_back(at.rollout_step - settings.window)
    if step is None:
      self.note(f"alarm {name}: no checkpoint is old enough, so the run ends")
      return False
    key, value = settings.roll_back
    if hosts.is_first():
      append_roll_back(
        self.workdir, RollBack(name, at.rollout_step, step, key, value)
      )
      # W&B would ignore the steps that are taken again
      (self.workdir / WANDB_ID_FILE).unlink(missing_ok=True)
    hosts.any_of(False)  # it is written
    self.note(
      f"alarm {name}: back from rollout step {at.rollout_step} to {step}, with "
      f"{key} = {value!r}. Later checkpoints are kept as *.rolled_back"
    )
    return True

  def _save(self, at: Position, owed: bool, best: Best | None) -> Path:
    """Start writing a checkpoint and return its path."""
    stream = self._run.data.stages.stream(at.rollout_step)
    host = {
      "data": stream.state(),
      "step": at.step,
      "tokens": at.tokens,
      "evaluation_owed": owed,
    }
    has_own = has_own_reference(self._run, at.rollout_step)
    ref_params = at.ref_params if has_own else None
    # orbax copies arrays to the host in its own way
    with jax.transfer_guard("allow"):
      return self._checkpoints.save(
        at.rollout_step,
        at.state,
        at.key,
        host,
        ref_params,
        settings=self._config,
        best=best,
      )


def open_run_files(
  run: Run,
  workdir: Path,
  config: Mapping[str, Any],
  stack: contextlib.ExitStack,
  *,
  resume: bool,
  command: Sequence[str] | None,
  stop: Callable[[str], None],
  may_change: Sequence[str] = (),
) -> RunFiles:
  """Begin the run directory, or resume from its newest intact checkpoint.

  Args:
    run: the run.
    workdir: the run directory, which this process holds.
    config: the resolved config, nested.
    stack: closes the files when the run ends.
    resume: whether a directory that holds a run is resumed or refused.
    command: the command line to record; None: this process's own.
    stop: ends the run after its current step; takes the reason.
    may_change: settings that roll-backs of the run have changed.

  Raises:
    ValueError: the directory cannot be used.
  """
  settings = run.settings.checkpoint
  checkpoints = Checkpoints(
    workdir / "checkpoints", keep=settings.keep, keep_age=settings.keep_age
  )
  stack.enter_context(contextlib.closing(checkpoints))
  fresh = checkpoints.latest() is None
  defaults = default_settings("configs.default")
  with hosts.together():
    if hosts.is_first():
      begin_or_resume(
        workdir,
        config,
        fresh=fresh,
        resume=resume,
        recorded=checkpoints.settings(),
        defaults=defaults,
        may_change=may_change,
      )
      write_provenance(
        workdir,
        config,
        defaults,
        run.mesh.devices,
        fresh=fresh,
        command=command,
      )
  start, owed = _first_position(run, checkpoints)
  last = run.settings.num_rollout_steps
  if not fresh:
    print_in_first(
      f"Resuming after rollout step {start.rollout_step} of {last}."
    )
  owed = fresh or (owed and not _is_evaluated(workdir, start))
  if start.rollout_step < last:
    checkpoints.probe(start.state, start.key, read_back=fresh)
  reports = None
  with hosts.together():
    if hosts.is_first():
      reports = Reports(
        run, workdir, config, start, stack, fresh=fresh, owed=owed, stop=stop
      )
  files = RunFiles(
    run, workdir, config, checkpoints, start, owed=owed, reports=reports
  )
  for check in start_checks(run, workdir):
    if check.status != OK:
      files.note(f"{check.status}: {check.name}: {check.text}")
  return files


def print_in_first(line: str) -> None:
  """Print a line in the first process."""
  if hosts.is_first():
    print(line, flush=True)


def has_own_reference(run: Run, rollout_step: int) -> bool:
  """Return whether the reference at this step differs from the base model."""
  is_later_stage = run.data.stages.number(max(rollout_step - 1, 0)) > 0
  return is_later_stage and run.ref_params is not None


def _first_position(
  run: Run, checkpoints: Checkpoints
) -> tuple[Position, bool]:
  """Return where the run starts, and whether an evaluation is owed there.

  It is the position of the newest intact checkpoint, if there is one. Damaged
  ones are reported.
  """
  root_key = jax.random.key(run.settings.seed)
  key = hosts.place(root_key, replicated(run.mesh))
  if checkpoints.latest() is None:
    return Position(run.state, run.ref_params, key, 0, step=0, tokens=0), False
  state, key, host, ref_params, rollout_step = checkpoints.restore(
    release(run.state),  # the run lives on, and the devices hold one state
    key,
    lambda step: run.ref_params if has_own_reference(run, step) else None,
    report=print_in_first,
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
        row.get("rollout_step") == at.rollout_step and not is_step(row)
        for _, row in read_lines(path)
      )
  return hosts.any_of(is_done)
