"""Read the weights of a model folder, onto the host or straight onto a mesh.

Weights are in model.safetensors or, if there is no such file, in the shards
that the index lists. Each tensor is read, checked and placed before the next
one is read. So the host holds one tensor at a time, besides the leaves that
stay on it. A tensor that is missing, has another shape than config.json says,
or has no place in the model is an error. Only safetensors files are read: they
hold no code. The term of an adapter in the folder is added; see peft.py.
"""

from collections.abc import Iterator, Mapping
import contextlib
import functools
from pathlib import Path
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np
import safetensors

from entrojax.models.config_json import read_json
from entrojax.models.decoder import DecoderConfig, decoder
from entrojax.models.peft import read_adapter
from entrojax.models.tensor_names import (
  INDEX,
  WEIGHTS,
  is_transposed,
  path_name,
  tensor_names,
)
from entrojax.system.model_files import base_folder
from entrojax.types import Array, Params

_DTYPES = ("F32", "BF16", "F16")
# Some files hold these tensors, which are tied to others or computed.
_SPARE = re.compile(r"lm_head\.weight|.*\.rotary_emb\.inv_freq")


class _Slot(NamedTuple):
  """Where a tensor of the file belongs among our parameters."""

  leaf: int  # number of the leaf
  layer: int | None  # row of a stacked leaf; None: the tensor is the whole leaf
  shape: tuple[int, ...]  # shape of the leaf or of its row


def load_params(
  folder: Path,
  config: DecoderConfig,
  *,
  dtype: Any = jnp.float32,
  shardings: Any = None,
) -> Params:
  """Load the parameters of a model folder.

  Args:
    folder: holds model.safetensors, or shards and their index.
    config: the sizes.
    dtype: type of the returned parameters, whatever the type on disk.
    shardings: a tree of NamedShardings, one for each leaf of the parameters.
      Each tensor then goes straight to its devices. None: the parameters are
      numpy arrays on the host.

  Raises:
    ValueError: a file or a tensor is missing, a tensor has another shape than
      config.json says, or a file is broken. The message names file and tensor.
  """
  shapes = jax.eval_shape(decoder(config).init, jax.random.key(0))
  leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
  if shardings is None:
    stores: list[Any] = [_HostLeaf(leaf.shape, dtype) for _, leaf in leaves]
  else:
    stores = [
      _MeshLeaf(leaf.shape, dtype, sharding)
      for (_, leaf), sharding in zip(
        leaves, jax.tree.leaves(shardings), strict=True
      )
    ]
  slots = {
    name: _Slot(i, layer, leaf.shape if layer is None else leaf.shape[1:])
    for i, (path, leaf) in enumerate(leaves)
    for name, layer in tensor_names(path_name(path), leaf.shape)
  }
  adapter = read_adapter(folder)
  for name in adapter.factors if adapter else ():
    if name not in slots:
      raise ValueError(
        f"{adapter.path}: the base has no tensor {name!r}"  # type: ignore
      )
  add = adapter.add_to if adapter else lambda name, array: array
  for path, names in _files(base_folder(folder), slots):
    with _open(path) as tensors:
      _check_names(path, set(tensors.keys()), names, slots)
      for name in names:
        slot = slots[name]
        # no name for the array: it is released before the next one is read
        stores[slot.leaf].write(
          slot.layer, add(name, _read_tensor(path, tensors, name, slot.shape))
        )
  return jax.tree.unflatten(structure, [store.leaf for store in stores])


class _HostLeaf:
  """A leaf as a numpy array, filled tensor by tensor."""

  def __init__(self, shape: tuple[int, ...], dtype: Any):
    self.leaf = np.empty(shape, dtype)

  def write(self, layer: int | None, array: np.ndarray) -> None:
    self.leaf[... if layer is None else layer] = array


class _MeshLeaf:
  """A leaf on its devices, filled tensor by tensor in place."""

  def __init__(
    self, shape: tuple[int, ...], dtype: Any, sharding: NamedSharding
  ):
    self.leaf: Any = None  # allocated for the first tensor
    self._shape, self._dtype, self._sharding = shape, dtype, sharding

  def write(self, layer: int | None, array: np.ndarray) -> None:
    if layer is None:
      self.leaf = self._place(array, self._sharding)
      return
    if self.leaf is None:
      self.leaf = jnp.zeros(self._shape, self._dtype, device=self._sharding)
    row = PartitionSpec(*self._sharding.spec[1:])
    placed = self._place(array, NamedSharding(self._sharding.mesh, row))
    self.leaf = _write_row(self._sharding)(self.leaf, placed, layer)

  def _place(self, array: np.ndarray, sharding: NamedSharding) -> Array:
    """Copy to each device its own part of a host array, and no more."""
    return jax.make_array_from_callback(
      array.shape,
      sharding,
      lambda index: np.ascontiguousarray(array[index], self._dtype),
    )


@functools.cache
def _write_row(sharding: NamedSharding):
  return jax.jit(
    lambda leaf, row, at: leaf.at[at].set(row),
    donate_argnums=0,
    out_shardings=sharding,
  )


def _files(
  folder: Path, slots: Mapping[str, _Slot]
) -> Iterator[tuple[Path, list[str]]]:
  """Yield each file of weights with the names of the tensors to read."""
  if (folder / WEIGHTS).exists() or not (folder / INDEX).exists():
    yield folder / WEIGHTS, list(slots)
    return
  path = folder / INDEX
  places = read_json(path).get("weight_map")
  if not isinstance(places, dict):
    raise ValueError(f"{path}: lacks the object weight_map")
  for name, shard in places.items():
    if not isinstance(shard, str) or Path(shard).name != shard:
      raise ValueError(
        f"{path}: tensor {name!r} is in {shard!r}, not a file of the folder"
      )
  missing = [name for name in slots if name not in places]
  if missing:
    raise ValueError(f"{path}: tensor {missing[0]!r} is missing")
  for shard in sorted(set(places.values())):
    yield folder / shard, [name for name in slots if places[name] == shard]


@contextlib.contextmanager
def _open(path: Path):
  """Open a safetensors file; raise ValueError with its name if it is broken."""
  try:
    with safetensors.safe_open(path, framework="numpy") as tensors:
      yield tensors
  except FileNotFoundError:
    raise ValueError(f"{path}: no such file") from None
  except (safetensors.SafetensorError, OSError) as error:
    raise ValueError(f"{path}: not a whole safetensors file: {error}") from None


def _check_names(
  path: Path, stored: set[str], needed: list[str], slots: Mapping[str, _Slot]
) -> None:
  """Raise ValueError if a tensor is missing, or if one would be ignored."""
  for name in needed:
    if name not in stored:
      raise ValueError(f"{path}: tensor {name!r} is missing")
  for name in sorted(stored):
    if name not in slots and not _SPARE.fullmatch(name):
      raise ValueError(
        f"{path}: tensor {name!r} has no place in the model of config.json"
      )


def _read_tensor(
  path: Path, tensors: Any, name: str, shape: tuple[int, ...]
) -> np.ndarray:
  """Read a tensor in our orientation; its header is checked before its data."""
  header = tensors.get_slice(name)
  stored_shape, dtype = tuple(header.get_shape()), header.get_dtype()
  expected = shape[::-1] if is_transposed(name) else shape
  if stored_shape != expected:
    raise ValueError(
      f"{path}: tensor {name!r} has shape {stored_shape}, config.json asks for "
      f"{expected}"
    )
  if dtype not in _DTYPES:
    raise ValueError(
      f"{path}: tensor {name!r} is {dtype}, only {', '.join(_DTYPES)} are read"
    )
  array = tensors.get_tensor(name)
  return array.T if is_transposed(name) else array
