"""Checkpoints: orbax step directories, written in the background.

A checkpoint holds everything that a run needs to go on bit for bit as if it
had not stopped: parameters, optimizer state with the controller's inside, the
root key, the position in the data and the counters. The reference model is not
in it where it is the base model of the config; that of a later stage of a
curriculum is.
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
    """Opens the folder, which is made if absent.

    Args:
      folder: of the checkpoints; of several processes all see the same one.
      keep: how many of the newest to keep, at least 1.
      alone: whether this process opens it without the others.
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
    """Returns the newest committed step; None: there is none."""
    return self._manager.latest_step()

  def save(
    self,
    step: int,
    state: TrainState,
    key: Array,
    host: Mapping[str, Any],
    ref_params: Params | None = None,
  ) -> Path:
    """Starts writing a checkpoint and returns where it will be.

    Args:
      step: rollout steps done.
      state: on the device; copied before this returns, so it may be donated.
      key: the root key of the run.
      host: what JSON can hold: data position, counters.
      ref_params: the reference's; None: it is not to be saved.
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
    """Returns the newest checkpoint, placed as `state` is placed.

    Args:
      state: as a fresh run makes it; gives shapes, dtypes and placement.
      key: likewise.
      ref_params: likewise; None: the checkpoint has no reference.

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
    """Returns the newest checkpoint's step and parameters, on one device.

    Args:
      params: their tree of shapes and dtypes.

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
    """Returns when everything that was saved is on disk."""
    self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits, and closes."""
    self._manager.close()


def _processes(*, alone: bool) -> ocp.options.MultiprocessingOptions:
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
  tree = {
    "params": state.params,
    "opt_state": state.opt_state,
    "step": state.step,
    "key": key,
  }
  return tree if ref_params is None else {**tree, "ref_params": ref_params}
