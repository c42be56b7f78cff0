"""Read a checkpoint and compare it with its record.

The arrays of a checkpoint must have the forms and the digests that its record
(checkpoint_record.py) has noted. If they have not, the checkpoint is damaged.
"""

from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from entrojax.system import hosts
from entrojax.system.checkpoint_record import DamagedError, Record, decode
from entrojax.system.digests import first_difference, forms
from entrojax.system.orbax_manager import one_line, open_manager


class CheckpointReader:
  """Reads the checkpoints of one folder."""

  def __init__(self, folder: Path, *, alone: bool):
    """Open the folder.

    Args:
      folder: the folder of the checkpoints, which exists.
      alone: whether this process reads without the others.
    """
    self._folder, self._alone = folder, alone
    # A process that cannot read must not leave the others at a barrier.
    self._manager = open_manager(folder, create=False, alone=True)

  def close(self) -> None:
    """Close the folder."""
    self._manager.close()

  def read_record(self, step: int) -> Record:
    """Read the record of a checkpoint.

    Raises:
      DamagedError: it is not as it was saved.
      ValueError: its format is unknown.
    """
    try:
      raw = self._manager.restore(
        step, args=ocp.args.Composite(host=ocp.args.JsonRestore())
      )["host"]
    except Exception as error:
      raise DamagedError(
        f"its record cannot be read: {one_line(error)}"
      ) from error
    try:
      return decode(raw)
    except ValueError as error:
      raise ValueError(f"{self._folder / str(step)}: {error}") from error

  def read(
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
    with self._damaged_together():
      record = self.read_record(step)
      if record.leaves is not None:
        self._check_forms(step, record, target, part=part)
    with self._damaged_together():
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
      return self._manager.restore(
        step, args=ocp.args.Composite(state=arguments)
      )["state"]
    except Exception as error:
      raise DamagedError(one_line(error)) from error

  def _check_forms(
    self, step: int, record: Record, target: Any, *, part: bool
  ) -> None:
    """Raise ValueError if a checkpoint holds other arrays than the target."""
    saved = {n: (x.dtype, x.shape) for n, x in (record.leaves or {}).items()}
    current = forms(target)
    names = current.keys() if part else current.keys() | saved.keys()
    for name in sorted(names):
      old, new = saved.get(name), current.get(name)
      if old == new:
        continue
      texts = [f"{x[0]}{x[1]}" if x else "no such array" for x in (old, new)]
      raise ValueError(
        f"{self._folder / str(step)} belongs to another model or optimizer: "
        f"{name} is {texts[0]} there and {texts[1]} here"
      )

  def _damaged_together(self):
    """Let a DamagedError in one process be one in every process."""
    return hosts.together(DamagedError, alone=self._alone)
