"""Save and restore the state of a run, one orbax directory per checkpoint.

A checkpoint holds what changes during a run: the trained parameters (with LoRA
only the adapter's), the optimizer's state (which includes the controller's),
the root key, the position in the data and the counters. With the same config,
base model and data, a run resumes from it bit for bit as if it had not stopped.
The parameters of the reference model are saved only in a later stage of a
curriculum. Otherwise the reference is the base model that the config names.

Checkpoints are written in the background, and only the newest ones are kept.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from entrojax.types import Array, Params, TrainState


class Checkpoints:
  """The checkpoints of one run; step numbers are rollout steps."""

  def __init__(self, folder: Path, *, keep: int, alone: bool = False):
    """Open the folder, which is created if missing unless `alone`.

    Args:
      folder: the folder of the checkpoints. Several processes must all see the
        same one.
      keep: the number of newest checkpoints to keep, at least 1.
      alone: whether this process opens the folder without the others.
    """
    if keep < 1:
      raise ValueError(f"checkpoint.keep must be at least 1, got {keep}")
    self._folder = folder.absolute()
    self._manager = ocp.CheckpointManager(
      self._folder,
      options=ocp.CheckpointManagerOptions(
        max_to_keep=keep,
        enable_async_checkpointing=True,
        create=not alone,
        multiprocessing_options=_processes(alone=alone),
      ),
      item_names=("state", "host"),
    )

  def latest(self) -> int | None:
    """Return the step of the newest complete checkpoint, None without one."""
    return self._manager.latest_step()

  def save(
    self,
    step: int,
    state: TrainState,
    key: Array,
    host: Mapping[str, Any],
    ref_params: Params | None = None,
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
    """
    if step != self.latest():
      self._manager.save(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardSave(_tree(state, key, ref_params)),
          host=ocp.args.JsonSave(dict(host)),
        ),
      )
    return self._folder / str(step)

  def restore(
    self, state: TrainState, key: Array, ref_params: Params | None = None
  ) -> tuple[TrainState, jax.Array, dict[str, Any], Params | None]:
    """Restore the newest checkpoint, placed on devices as `state` is.

    Args:
      state: the state of a fresh run, for shapes, dtypes and placement.
      key: the root key of a fresh run, for its dtype and placement.
      ref_params: the reference of a fresh run, for shapes, dtypes and
        placement; None: the checkpoint holds no reference.

    Returns:
      (state, key, host, ref_params), as they were saved.

    Raises:
      ValueError: the checkpoint lacks a tensor or has one of another shape.
    """
    step = self.latest()
    target = jax.tree.map(
      ocp.utils.to_shape_dtype_struct, _tree(state, key, ref_params)
    )
    try:
      restored = self._manager.restore(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardRestore(target), host=ocp.args.JsonRestore()
        ),
      )
    except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
      raise ValueError(
        f"{self._folder / str(step)}: cannot resume from this checkpoint: "
        f"{error}"
      ) from error
    tree = restored["state"]
    state = TrainState(
      params=tree["params"], opt_state=tree["opt_state"], step=tree["step"]
    )
    host = dict(restored["host"])
    return state, tree["key"], host, tree.get("ref_params")

  def restore_params(self, params: Params) -> tuple[int, Params]:
    """Restore the parameters of the newest checkpoint to one device.

    Args:
      params: the tree of shapes and dtypes of the parameters.

    Returns:
      The number of rollout steps taken, and the parameters.

    Raises:
      ValueError: there is no checkpoint, or it has other parameters.
    """
    step = self.latest()
    if step is None:
      raise ValueError(f"{self._folder} holds no checkpoint")
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    target = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), params
    )
    try:
      restored = self._manager.restore(
        step,
        args=ocp.args.Composite(
          state=ocp.args.PyTreeRestore(
            {"params": target},
            restore_args=ocp.checkpoint_utils.construct_restore_args(
              {"params": target}
            ),
            partial_restore=True,
          )
        ),
      )
    except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
      raise ValueError(
        f"{self._folder / str(step)}: cannot read these parameters: {error}"
      ) from error
    return step, restored["state"]["params"]

  def wait(self) -> None:
    """Wait until everything that was saved is on disk."""
    self._manager.wait_until_finished()

  def close(self) -> None:
    """Wait until everything is on disk, and close the folder."""
    self._manager.close()


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
