"""Save and restore the state of a run, one orbax directory per checkpoint.

A checkpoint holds what changes during a run: the trained parameters (with LoRA
only the adapter's), the optimizer's state (which includes the controller's),
the root key, the position in the data and the counters. With the same config,
base model and data, a run resumes from it bit for bit as if it had not stopped.
The parameters of the reference model are saved only in a later stage of a
curriculum. Otherwise the reference is the base model that the config names.

Checkpoints are written in the background. The newest ones are kept, and the one
of the best evaluation if there is one.

Every checkpoint has a record with a digest of each array, and it is compared
when the checkpoint is read (checkpoint_record.py, digests.py). If the newest
checkpoint is damaged, the newest intact one is restored, and the damaged ones
are renamed to `12.damaged`.
"""

from collections.abc import Callable, Mapping
import logging
from pathlib import Path
import shutil
import sys
import time
import traceback
import types
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp

from entrojax.system import hosts
from entrojax.system.checkpoint_record import (
  Best,
  DamagedError,
  Record,
  decode,
  encode,
)
from entrojax.system.digests import digests, first_difference, forms
from entrojax.types import Array, Params, TrainState

_PROBE = "probe"
_UNFINISHED = "*.orbax-checkpoint-tmp"  # the names that orbax gives them
_SECONDS = 5  # to remove them
_LONGEST = 300  # characters of a foreign error message that are shown


class SaveError(Exception):
  """A checkpoint could not be written; the message says why."""


class Restored(NamedTuple):
  """A checkpoint that was read and found intact."""

  state: TrainState
  key: jax.Array
  host: dict[str, Any]
  ref_params: Params | None
  rollout_step: int


class Checkpoints:
  """The checkpoints of one run; step numbers are rollout steps.

  Attributes:
    best: the best evaluation, whose checkpoint is kept beside the newest ones;
      None without one. `restore` sets it to what was saved.
  """

  def __init__(self, folder: Path, *, keep: int, alone: bool = False):
    """Open the folder, which is created if missing unless `alone`.

    Args:
      folder: the folder of the checkpoints. Several processes must all see the
        same one.
      keep: the number of newest checkpoints to keep, at least 1.
      alone: whether this process opens the folder without the others.

    Raises:
      ValueError: the folder cannot be opened.
    """
    if keep < 1:
      raise ValueError(f"checkpoint.keep must be at least 1, got {keep}")
    if folder.exists() and not folder.is_dir():
      raise ValueError(f"{folder} cannot hold checkpoints: it is a file")
    self.best: Best | None = None
    self._folder = folder.absolute()
    self._alone = alone
    self._best_before: Best | None = None
    _silence_orbax()
    policies = ocp.checkpoint_managers.preservation_policy
    try:
      self._manager = _open(
        self._folder,
        create=not alone,
        alone=alone,
        preservation_policy=policies.AnyPreservationPolicy(
          [policies.LatestN(keep), _KeepBest(self)]
        ),
      )
      # A process that cannot read must not leave the others at a barrier.
      self._reader = _open(self._folder, create=False, alone=True)
    except Exception as error:
      raise ValueError(
        f"{self._folder} cannot hold checkpoints: {_one_line(error)}"
      ) from error

  def latest(self) -> int | None:
    """Return the step of the newest checkpoint, intact or not; None: none."""
    return self._manager.latest_step()

  def settings(self) -> dict[str, Any] | None:
    """Return the settings that the newest readable checkpoint recorded."""
    for step in self._steps():
      try:
        return self._read_record(step).settings
      except DamagedError:
        continue
    return None

  def save(
    self,
    step: int,
    state: TrainState,
    key: Array,
    host: Mapping[str, Any],
    ref_params: Params | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    best: Best | None = None,
  ) -> Path:
    """Start writing a checkpoint in the background; return its folder.

    A step that was saved already is not written again.

    Args:
      step: the number of rollout steps taken.
      state: the state on the device. It is copied before this returns, so it
        may be donated.
      key: the root key of the run.
      host: the data position and the counters, as JSON can hold them.
      ref_params: the parameters of the reference; None: they are not saved.
      settings: the settings of the run, which a resumed run must have.
      best: the best evaluation of the run if it belongs to this step; None: the
        best one stays.

    Raises:
      SaveError: this checkpoint or the one before could not be written.
    """
    self.wait()
    if step == self.latest():
      return self._folder / str(step)
    before, self.best = self.best, best or self.best
    tree = _tree(state, key, ref_params)
    record = Record(
      dict(host),
      None if settings is None else dict(settings),
      self.best,
      digests(tree),
    )
    try:
      self._manager.save(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardSave(tree),
          host=ocp.args.JsonSave(encode(record)),
        ),
      )
    except Exception as error:
      self._recover(before)
      raise SaveError(_one_line(error)) from error
    self._best_before = before
    return self._folder / str(step)

  def check(self) -> None:
    """Raise SaveError if a save in the background has failed."""
    if not self._manager.is_saving_in_progress():
      self.wait()

  def wait(self) -> None:
    """Wait until everything that was saved is on disk.

    Raises:
      SaveError: a checkpoint could not be written.
    """
    try:
      self._manager.wait_until_finished()
    except Exception as error:
      self._recover(self._best_before)
      raise SaveError(_one_line(error)) from error

  def close(self) -> None:
    """Wait until everything is on disk, and close the folder."""
    try:
      self._manager.close()
    except Exception as error:
      raise ValueError(
        f"{self._folder}: the last checkpoint could not be written: "
        f"{_one_line(error)}"
      ) from error
    finally:
      self._reader.close()

  def probe(self, state: TrainState, key: Array, *, read_back: bool) -> None:
    """Save a state and remove it again, to find out whether it can be saved.

    Args:
      state: the state of the run.
      key: the root key of the run.
      read_back: whether to restore the state in between, for which the devices
        hold it twice.

    Raises:
      ValueError: one of this is impossible, as on a full disk.
    """
    folder = self._folder / _PROBE
    try:
      if hosts.is_first():
        shutil.rmtree(folder, ignore_errors=True)
      trial = Checkpoints(folder, keep=1)
      try:
        trial.save(0, state, key, {})
        trial.wait()
        if read_back:
          trial.restore(state, key)
      finally:
        trial.close()
    except (SaveError, ValueError, OSError) as error:
      raise ValueError(
        f"{self._folder}: a checkpoint cannot be saved and read here, so the "
        f"run does not start: {error}"
      ) from error
    finally:
      if hosts.is_first():
        shutil.rmtree(folder, ignore_errors=True)

  def restore(
    self,
    state: TrainState,
    key: Array,
    reference: Callable[[int], Params | None] = lambda step: None,
    *,
    report: Callable[[str], None] = lambda line: None,
  ) -> Restored:
    """Restore the newest intact checkpoint, placed on devices as `state` is.

    Newer checkpoints that are damaged are renamed, which is reported.

    Args:
      state: the state of a fresh run, for shapes, dtypes and placement.
      key: the root key of a fresh run, for its dtype and placement.
      reference: returns, for the rollout step of a checkpoint, the reference of
        a fresh run, for shapes, dtypes and placement; None: that checkpoint
        holds no reference.
      report: takes the line.

    Raises:
      ValueError: no checkpoint is intact, or one holds other arrays or has
        another format.
    """
    damages: dict[int, str] = {}
    for step in self._steps():
      target = jax.tree.map(
        ocp.utils.to_shape_dtype_struct, _tree(state, key, reference(step))
      )
      try:
        record, tree = self._restore_step(step, target)
      except DamagedError as error:
        damages[step] = str(error)
        continue
      if damages:
        report(self._set_aside(damages, step))
      self.best = record.best
      state = TrainState(
        params=tree["params"], opt_state=tree["opt_state"], step=tree["step"]
      )
      return Restored(
        state, tree["key"], record.host, tree.get("ref_params"), step
      )
    raise ValueError(self._no_intact(damages))

  def restore_params(
    self, params: Params, step: int | None = None
  ) -> tuple[int, Params]:
    """Restore the parameters of a checkpoint to one device.

    Args:
      params: the tree of shapes and dtypes of the parameters.
      step: the number of rollout steps of the checkpoint; None: the newest.

    Returns:
      The number of rollout steps taken, and the parameters.

    Raises:
      ValueError: there is no such checkpoint, it is damaged, or it has other
        parameters.
    """
    steps = self._steps()
    if not steps:
      raise ValueError(f"{self._folder} holds no checkpoint")
    step = steps[0] if step is None else step
    if step not in steps:
      raise ValueError(
        f"{self._folder} holds no checkpoint {step}, only {sorted(steps)}"
      )
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    target = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), params
    )
    try:
      return step, self._restore_step(step, {"params": target}, part=True)[1][
        "params"
      ]
    except DamagedError as error:
      others = sorted(set(steps) - {step})
      hint = f"; the run also holds the checkpoints {others}" if others else ""
      raise ValueError(
        f"{self._folder / str(step)} is damaged: {error}{hint}"
      ) from error

  def read_best(self) -> int | None:
    """Return the step of the best evaluation that the newest one recorded."""
    steps = self._steps()
    try:
      record = self._read_record(steps[0]) if steps else None
    except DamagedError as error:
      raise ValueError(
        f"{self._folder / str(steps[0])} is damaged: {error}"
      ) from error
    return record.best.step if record and record.best else None

  def _steps(self) -> list[int]:
    """Return the steps of all checkpoints, the newest first."""
    return sorted(self._manager.all_steps(), reverse=True)

  def _read_record(self, step: int) -> Record:
    """Read the record of a checkpoint.

    Raises:
      DamagedError: it is not as it was saved.
      ValueError: its format is unknown.
    """
    try:
      raw = self._reader.restore(
        step, args=ocp.args.Composite(host=ocp.args.JsonRestore())
      )["host"]
    except Exception as error:
      raise DamagedError(
        f"its record cannot be read: {_one_line(error)}"
      ) from error
    try:
      return decode(raw)
    except ValueError as error:
      raise ValueError(f"{self._folder / str(step)}: {error}") from error

  def _restore_step(
    self, step: int, target: Any, *, part: bool = False
  ) -> tuple[Record, Any]:
    """Read the record and the arrays of a checkpoint, and compare them.

    Args:
      step: the checkpoint.
      target: the tree of shapes, dtypes and shardings.
      part: whether the target is only a part of the checkpoint.

    Raises:
      DamagedError: the checkpoint is not as it was saved. Every process raises
        it if one does, unless this object was opened alone.
      ValueError: the checkpoint holds other arrays than the target.
    """
    with self._together():
      record = self._read_record(step)
      if record.leaves is not None:
        self._check_forms(step, record, target, part=part)
    with self._together():
      tree = self._read_arrays(step, target, part=part)
    if record.leaves is not None:
      difference = first_difference(record.leaves, tree, partial=part)
      if difference:
        raise DamagedError(difference)
    return record, tree

  def _read_arrays(self, step: int, target: Any, *, part: bool) -> Any:
    """Read arrays; raise DamagedError if orbax cannot."""
    arguments = ocp.args.StandardRestore(target)
    if part:
      arguments = ocp.args.PyTreeRestore(
        target,
        restore_args=ocp.checkpoint_utils.construct_restore_args(target),
        partial_restore=True,
      )
    try:
      return self._reader.restore(
        step, args=ocp.args.Composite(state=arguments)
      )["state"]
    except Exception as error:
      raise DamagedError(_one_line(error)) from error

  def _check_forms(
    self, step: int, record: Record, target: Any, *, part: bool
  ) -> None:
    """Raise ValueError if a checkpoint holds other arrays than the target."""
    saved = {n: (x.dtype, x.shape) for n, x in (record.leaves or {}).items()}
    wanted = forms(target)
    names = wanted.keys() if part else wanted.keys() | saved.keys()
    for name in sorted(names):
      old, new = saved.get(name), wanted.get(name)
      if old == new:
        continue
      texts = [f"{x[0]}{x[1]}" if x else "no such array" for x in (old, new)]
      raise ValueError(
        f"{self._folder / str(step)} belongs to another model or optimizer: "
        f"{name} is {texts[0]} there and {texts[1]} here"
      )

  def _recover(self, best: Best | None) -> None:
    """Forget a save that failed, and remove what it has left on the disk."""
    self.best = best
    deadline = time.monotonic() + _SECONDS
    while hosts.is_first() and (parts := list(self._folder.glob(_UNFINISHED))):
      for part in parts:
        shutil.rmtree(part, ignore_errors=True)
      if time.monotonic() > deadline:
        break
      time.sleep(0.1)  # orbax may still write into them
    self._manager.reload()

  def _together(self):
    """Let a DamagedError in one process be one in every process."""
    return hosts.together(DamagedError, alone=self._alone)

  def _set_aside(self, damages: Mapping[int, str], intact: int) -> str:
    """Rename damaged checkpoints; return the line that reports it."""
    hosts.any_of(False)  # all processes have read
    if hosts.is_first():
      for step in damages:
        path = self._folder / str(step)
        aside, number = path.with_name(f"{step}.damaged"), 1
        while aside.exists():
          number += 1
          aside = path.with_name(f"{step}.damaged_{number}")
        path.rename(aside)
    hosts.any_of(False)  # it is renamed
    self._manager.reload()
    return (
      f"{_list_damages(self._folder, damages)}. Resuming from rollout step "
      f"{intact}; what is damaged is kept as *.damaged"
    )

  def _no_intact(self, damages: Mapping[int, str]) -> str:
    if not damages:
      return f"{self._folder} holds no checkpoint"
    return (
      f"{_list_damages(self._folder, damages)}. No checkpoint is intact: "
      "restore one from a backup, or move the folder away to start over"
    )


class _KeepBest:
  """The orbax policy that keeps the checkpoint of the best evaluation."""

  def __init__(self, checkpoints: Checkpoints):
    self._checkpoints = checkpoints

  def should_preserve(self, checkpoints, *, context):
    del context
    best = self._checkpoints.best
    return [best is not None and x.step == best.step for x in checkpoints]


def _open(
  folder: Path, *, create: bool, alone: bool, preservation_policy: Any = None
) -> ocp.CheckpointManager:
  """Open orbax's manager of a folder."""
  return ocp.CheckpointManager(
    folder,
    options=ocp.CheckpointManagerOptions(
      preservation_policy=preservation_policy,
      enable_async_checkpointing=True,
      create=create,
      multiprocessing_options=_processes(alone=alone),
    ),
    item_names=("state", "host"),
  )


def _processes(*, alone: bool) -> ocp.options.MultiprocessingOptions:
  """Choose the processes that orbax synchronises: all, or only this one."""
  if not alone:
    return ocp.options.MultiprocessingOptions()
  here = jax.process_index()
  return ocp.options.MultiprocessingOptions(
    primary_host=here,
    active_processes={here},
    barrier_sync_key_prefix="alone",
  )


def _tree(
  state: TrainState, key: Array, ref_params: Params | None
) -> dict[str, Any]:
  """Build the tree of arrays of a checkpoint."""
  tree = {
    "params": state.params,
    "opt_state": state.opt_state,
    "step": state.step,
    "key": key,
  }
  return tree if ref_params is None else {**tree, "ref_params": ref_params}


def _list_damages(folder: Path, damages: Mapping[int, str]) -> str:
  texts = [f"{folder / str(step)}: {text}" for step, text in damages.items()]
  return f"damaged: {'; '.join(texts)}"


def _one_line(error: Exception) -> str:
  """Return the first line of an error's message, shortened."""
  if "No space left" in str(error):
    return "no space is left on the disk"
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  text = lines[0] if lines else type(error).__name__
  return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _silence_orbax() -> None:
  """Drop the tracebacks that orbax logs; errors are reported in one line.

  When orbax fails, threads of tensorstore also report to an event loop that
  orbax has closed already, and Python prints errors of the coroutines that
  orbax has abandoned. These errors mean nothing.
  """
  logger = logging.getLogger("absl")
  if _is_not_of_orbax in logger.filters:
    return
  logger.addFilter(_is_not_of_orbax)
  inner = sys.unraisablehook

  def hook(unraisable: Any) -> None:
    is_closed = str(unraisable.exc_value) == "Event loop is closed"
    if not is_closed and not _is_in_orbax(unraisable.exc_traceback):
      inner(unraisable)

  sys.unraisablehook = hook


def _is_in_orbax(trace: types.TracebackType | None) -> bool:
  """Return whether an error passed through a function of orbax."""
  return any(
    "/orbax/" in frame.f_code.co_filename
    for frame, _ in traceback.walk_tb(trace)
  )


def _is_not_of_orbax(record: logging.LogRecord) -> bool:
  """Return whether a record of absl's log is shown."""
  return "/orbax/" not in record.pathname
