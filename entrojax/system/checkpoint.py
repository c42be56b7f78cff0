"""Save and restore the state of a run, one orbax directory per checkpoint.

A checkpoint holds what changes during a run: the trained parameters (with LoRA
only the adapter's), the optimizer's state (which includes the controller's),
the root key, the position in the data and the counters. With the same config,
base model and data, a run resumes from it bit for bit as if it had not stopped.
The parameters of the reference model are saved only in a later stage of a
curriculum. Otherwise the reference is the base model that the config names.

Checkpoints are written in the background. The newest ones are kept, and the one
of the best evaluation if there is one. If an alarm may take the run back, one
from before the alarm's window is kept as well.

Every checkpoint has a record with a digest of each array, and it is compared
when the checkpoint is read (checkpoint_reader.py, digests.py). If the newest
checkpoint is damaged, the newest intact one is restored, and the damaged ones
are renamed to `12.damaged`.
"""

from collections.abc import Callable, Iterable, Mapping
import json
from pathlib import Path
import shutil
import time
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp

from entrojax.system import hosts
from entrojax.system.checkpoint_reader import CheckpointReader
from entrojax.system.checkpoint_record import (
  Best,
  DamagedError,
  Record,
  encode,
)
from entrojax.system.digests import digests
from entrojax.system.orbax_manager import (
  KeepOlder,
  KeepStep,
  one_line,
  open_manager,
  silence_orbax,
)
from entrojax.system.workdir import replace_text
from entrojax.types import Array, Params, TrainState

_PROBE = "probe"
_RECORD = "host/metadata"  # where orbax writes the record of a checkpoint
_UNFINISHED = "*.orbax-checkpoint-tmp"  # the names that orbax gives them
_SECONDS = 5  # to remove them


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

  def __init__(
    self,
    folder: Path,
    *,
    keep: int,
    keep_age: int | None = None,
    alone: bool = False,
  ):
    """Open the folder, which is created if missing unless `alone`.

    Args:
      folder: the folder of the checkpoints. Several processes must all see the
        same one.
      keep: the number of newest checkpoints to keep, at least 1.
      keep_age: also keep the newest checkpoint that is at least this many steps
        older than the newest of all, and the one that will take its place.
        None: none is kept for its age.
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
    self._best_before: Best | None = None
    silence_orbax()
    policies = ocp.checkpoint_managers.preservation_policy
    kept = [policies.LatestN(keep), KeepStep(self._best_step)]
    if keep_age is not None:
      kept.append(KeepOlder(keep_age))
    try:
      self._manager = open_manager(
        self._folder,
        create=not alone,
        alone=alone,
        preservation_policy=policies.AnyPreservationPolicy(kept),
      )
      self._reader = CheckpointReader(self._folder, alone=alone)
    except Exception as error:
      raise ValueError(
        f"{self._folder} cannot hold checkpoints: {one_line(error)}"
      ) from error

  def latest(self) -> int | None:
    """Return the step of the newest checkpoint, intact or not; None: none."""
    return self._manager.latest_step()

  def settings(self) -> dict[str, Any] | None:
    """Return the settings that the newest readable checkpoint recorded."""
    for step in self._steps():
      try:
        return self._reader.read_record(step).settings
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

    A step that was saved already is not written again. Only its record is
    rewritten if an evaluation has found since then that the step is the best.

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
      if best is not None and best != self.best:
        self._record_best(step, best)
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
      raise SaveError(one_line(error)) from error
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
      raise SaveError(one_line(error)) from error

  def close(self) -> None:
    """Wait until everything is on disk, and close the folder."""
    try:
      self._manager.close()
    except Exception as error:
      raise ValueError(
        f"{self._folder}: the last checkpoint could not be written: "
        f"{one_line(error)}"
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
      state: the state of a fresh run, for shapes, dtypes and placement. It may
        be the result of `release`.
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
        record, tree = self._reader.read(step, target)
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
      return step, self._reader.read(step, {"params": target}, part=True)[1][
        "params"
      ]
    except DamagedError as error:
      others = sorted(set(steps) - {step})
      hint = f"; the run also holds the checkpoints {others}" if others else ""
      raise ValueError(
        f"{self._folder / str(step)} is damaged: {error}{hint}"
      ) from error

  def roll_back(self, before: int) -> int | None:
    """Rename the checkpoints after an earlier one to `12.rolled_back`.

    Args:
      before: the last rollout step that the earlier checkpoint may have.

    Returns:
      The step of the newest checkpoint up to there; None: there is none, and
      nothing is renamed.
    """
    steps = self._steps()
    earlier = [step for step in steps if step <= before]
    if not earlier:
      return None
    self._rename([step for step in steps if step > earlier[0]], "rolled_back")
    return earlier[0]

  def read_best(self) -> int | None:
    """Return the step of the best evaluation that the newest one recorded."""
    steps = self._steps()
    try:
      record = self._reader.read_record(steps[0]) if steps else None
    except DamagedError as error:
      raise ValueError(
        f"{self._folder / str(steps[0])} is damaged: {error}"
      ) from error
    return record.best.step if record and record.best else None

  def _steps(self) -> list[int]:
    """Return the steps of all checkpoints, the newest first."""
    return sorted(self._manager.all_steps(), reverse=True)

  def _best_step(self) -> int | None:
    """Return the step of the best evaluation, whose checkpoint is kept."""
    return self.best.step if self.best else None

  def _record_best(self, step: int, best: Best) -> None:
    """Rewrite the record of a checkpoint on disk with a new best evaluation.

    Raises:
      SaveError: the record could not be read or written.
    """
    try:
      with hosts.together(DamagedError):
        record = self._reader.read_record(step)
        if hosts.is_first():
          text = json.dumps(encode(record._replace(best=best)))
          replace_text(self._folder / str(step) / _RECORD, text)
    except (DamagedError, ValueError, OSError) as error:
      raise SaveError(one_line(error)) from error
    self.best = best

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

  def _rename(self, steps: Iterable[int], ending: str) -> None:
    """Append an ending to the names of checkpoints, so that none is read."""
    hosts.any_of(False)  # all processes have read
    if hosts.is_first():
      for step in steps:
        path = self._folder / str(step)
        aside, number = path.with_name(f"{step}.{ending}"), 1
        while aside.exists():
          number += 1
          aside = path.with_name(f"{step}.{ending}_{number}")
        path.rename(aside)
    hosts.any_of(False)  # it is renamed
    self._manager.reload()

  def _set_aside(self, damages: Mapping[int, str], intact: int) -> str:
    """Rename damaged checkpoints; return the line that reports it."""
    self._rename(damages, "damaged")
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


def release(tree: Any) -> Any:
  """Free the arrays of a tree on their devices.

  Args:
    tree: arrays that nothing else uses.

  Returns:
    The tree of their shapes, dtypes and placement, for `Checkpoints.restore`.
  """
  target = jax.tree.map(ocp.utils.to_shape_dtype_struct, tree)
  for leaf in jax.tree.leaves(tree):
    leaf.delete()
  return target


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
