"""Keep rollout batches of a run in files, to replay them later.

The rollout steps in `log.keep_batches` are kept, each as batches/<step>.npz in
the run directory, with steps counted from 1. A file holds what the step's
update starts from, as arrays with a path for a name:

    rollout_step            i64[], the number of the step
    params/...              the parameters before the update
    mu/..., nu/...          Adam's moments before it
    num_steps               i32[], the optimizer steps that were taken before it
    step                    i32[], those and the skipped ones, for schedules
    rollout/<field>         the fields of the Rollout
    responses/<field>       the fields of the Responses, before advantage rules
    responses/parts/<name>  f32[Q, G], a part of the rewards
    step_ok                 f32[B, T], if steps were judged
    entropy_offset          f32[B], nats, if dynamic sampling set one; see Batch
    key                     the data of the update's key

A file is a few times as large as the parameters. Arrays of bfloat16, such as
the first moment of optimizer.mu_dtype = "bfloat16", are in it as their bytes,
as numpy's format does not know this type.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from entrojax.system import hosts
from entrojax.system.workdir import BATCHES_FOLDER
from entrojax.types import Array, Params, Responses, Rollout, TrainState

_PARTS = "responses/parts/"  # before the name of a part, which may have a slash


class KeptBatch(NamedTuple):
  """What an update starts from, on the host."""

  rollout_step: int  # counted from 1
  params: Params
  mu: Params  # Adam's first moment
  nu: Params  # Adam's second moment
  num_steps: np.ndarray  # i32[], optimizer steps taken before the update
  rollout: Rollout
  responses: Responses  # before the advantage rules
  step_ok: Array | None  # f32[B, T], 1 = a token of a step judged right
  entropy_offset: Array | None  # f32[B], nats; see Batch
  key: np.ndarray  # the data of the update's key
  # i32[], optimizer steps before the update, with those that were skipped
  step: np.ndarray


def copy_batch(
  rollout_step: int,
  state: TrainState,
  rollout: Rollout,
  responses: Responses,
  step_ok: Array | None,
  entropy_offset: Array | None,
  key: Array,
) -> KeptBatch:
  """Copy what an update starts from to the host."""
  adam = optax.tree_utils.tree_get(state.opt_state, "ScaleByAdamState")
  params, mu, nu, count, rollout, step_ok, offset, key_data, step = hosts.whole(
    (
      state.params,
      adam.mu,
      adam.nu,
      adam.count,
      rollout,
      step_ok,
      entropy_offset,
      jax.random.key_data(key),
      state.step,
    )
  )
  return KeptBatch(
    rollout_step,
    params,
    mu,
    nu,
    count,
    rollout,
    responses,
    step_ok,
    offset,
    key_data,
    step,
  )


def batch_path(workdir: Path, rollout_step: int) -> Path:
  """Return the file of a rollout step."""
  return workdir / BATCHES_FOLDER / f"{rollout_step}.npz"


def write_batch(workdir: Path, batch: KeptBatch) -> None:
  """Write a batch to its file."""
  path = batch_path(workdir, batch.rollout_step)
  path.parent.mkdir(exist_ok=True)
  fields = batch._asdict() | {
    "rollout": _set_fields(batch.rollout),
    "responses": _set_fields(batch.responses),
  }
  unfinished = path.with_suffix(".tmp")
  with unfinished.open("wb") as file:
    np.savez_compressed(file, **_flatten(fields))  # type: ignore[arg-type]
  unfinished.replace(path)


def read_batch(workdir: Path, rollout_step: int) -> KeptBatch:
  """Read a batch from its file.

  Raises:
    ValueError: there is no such file, or it is damaged; the message names it
      and the batches that there are.
  """
  path = batch_path(workdir, rollout_step)
  if not path.exists():
    kept = sorted(int(p.stem) for p in path.parent.glob("*.npz"))
    has = f"it has {kept}" if kept else "it has none: set log.keep_batches"
    raise ValueError(
      f"{workdir} has no batch of rollout step {rollout_step}; {has}"
    )
  try:
    with np.load(path) as file:
      leaves = {name: _with_type(file[name]) for name in file.files}
    names = [name for name in leaves if name.startswith(_PARTS)]
    parts = {name.removeprefix(_PARTS): leaves.pop(name) for name in names}
    fields = _unflatten(leaves)
    fields["rollout_step"] = int(fields["rollout_step"])
    fields["rollout"] = Rollout(**fields["rollout"])
    fields["responses"] = Responses(**fields["responses"], parts=parts)
    fields.setdefault("step", fields["num_steps"])  # of an older file
    return KeptBatch(**{"step_ok": None, "entropy_offset": None, **fields})
  except Exception as error:  # numpy raises many kinds for a damaged file
    raise ValueError(f"{path} cannot be read: {error}") from error


def _set_fields(record: Rollout | Responses) -> dict[str, Any]:
  """Return the fields that hold arrays; only advantage rules add metrics."""
  return {
    name: value for name, value in vars(record).items() if name != "metrics"
  }


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """Return the arrays of nested mappings by their paths, such as params/w."""
  leaves: dict[str, Any] = {}
  for name, value in tree.items():
    if isinstance(value, Mapping):
      leaves |= _flatten(value, f"{prefix}{name}/")
    elif value is not None:
      leaves[prefix + name] = np.asarray(value)
  return leaves


def _with_type(array: np.ndarray) -> np.ndarray:
  """Return an array of a file with its type: two plain bytes are a bfloat16."""
  is_plain = array.dtype == np.dtype("V2")
  return array.view(jnp.bfloat16) if is_plain else array


def _unflatten(leaves: Mapping[str, Any]) -> dict[str, Any]:
  """Return nested dictionaries from arrays by their paths."""
  tree: dict[str, Any] = {}
  for path, value in leaves.items():
    *parents, name = path.split("/")
    inner = tree
    for parent in parents:
      inner = inner.setdefault(parent, {})
    inner[name] = value
  return tree
