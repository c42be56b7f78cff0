"""Weights of a model folder to parameters, on the host or on a mesh.

They lie in model.safetensors or in the shards that its index lists. A tensor
is read, checked and placed before the next one is read, so the host holds one
of them besides what is placed. Only safetensors: nothing is executed.
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
from entrojax.models.tensor_names import (
  INDEX,
  WEIGHTS,
  is_transposed,
  path_name,
  tensor_names,
)
from entrojax.types import Array, Params

_DTYPES = ("F32", "BF16", "F16")
# in some files, and never part of the model: tied, or computed
_SPARE = re.compile(r"lm_head\.weight|.*\.rotary_emb\.inv_freq")


class _Slot(NamedTuple):
  """Where a tensor of the file goes."""

  leaf: int  # number of our leaf
  layer: int | None  # its row of the leaf; None: the tensor is the leaf
  shape: tuple[int, ...]  # ours


def load_params(
  folder: Path,
  config: DecoderConfig,
  *,
  dtype: Any = jnp.float32,
  shardings: Any = None,
) -> Params:
  """Returns the parameters in a folder.

  Args:
    folder: holds model.safetensors, or its shards and their index.
    config: the sizes.
    dtype: of the parameters, whatever the file's.
    shardings: the tree of NamedShardings of the parameters; each tensor goes
      straight to its devices. None: numpy arrays on the host.

  Raises:
    ValueError: a file or a tensor is missing, has another shape, or a file is
      broken; the message names file and tensor.
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
  for path, names in _files(Path(folder), slots):
    with _opened(path) as tensors:
      _check_names(path, set(tensors.keys()), names, slots)
      for name in names:
        slot = slots[name]
        stores[slot.leaf].write(
          slot.layer, _read_tensor(path, tensors, name, slot.shape)
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
    self.leaf: Any = None  # made when its first tensor comes
    self._shape, self._dtype, self._sharding = shape, dtype, sharding

  def write(self, layer: int | None, array: np.ndarray) -> None:
    if layer is None:
      self.leaf = self._placed(array, self._sharding)
      return
    if self.leaf is None:
      self.leaf = jnp.zeros(self._shape, self._dtype, device=self._sharding)
    row = PartitionSpec(*self._sharding.spec[1:])
    placed = self._placed(array, NamedSharding(self._sharding.mesh, row))
    self.leaf = _write_row(self._sharding)(self.leaf, placed, layer)

  def _placed(self, array: np.ndarray, sharding: NamedSharding) -> Array:
    """Puts on each device its part alone."""
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
  """Yields each file of weights with the names of its tensors that we need."""
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
def _opened(path: Path):
  """Opens a safetensors file; what is wrong with it is said with its name."""
  try:
    with safetensors.safe_open(path, framework="numpy") as tensors:
      yield tensors
  except FileNotFoundError:
    raise ValueError(f"{path}: no such file") from None
  except (safetensors.SafetensorError, OSError) as error:
    raise ValueError(f"{path}: not a whole safetensors file: {error}") from None


def _check_names(
  path: Path, held: set[str], wanted: list[str], slots: Mapping[str, _Slot]
) -> None:
  """Raises ValueError if a tensor is missing, or one would be ignored."""
  for name in wanted:
    if name not in held:
      raise ValueError(f"{path}: tensor {name!r} is missing")
  for name in sorted(held):
    if name not in slots and not _SPARE.fullmatch(name):
      raise ValueError(
        f"{path}: tensor {name!r} has no place in the model of config.json"
      )


def _read_tensor(
  path: Path, tensors: Any, name: str, shape: tuple[int, ...]
) -> np.ndarray:
  """Returns a tensor in our orientation; data are read once shapes agree."""
  header = tensors.get_slice(name)
  found, dtype = tuple(header.get_shape()), header.get_dtype()
  expected = shape[::-1] if is_transposed(name) else shape
  if found != expected:
    raise ValueError(
      f"{path}: tensor {name!r} has shape {found}, config.json asks for "
      f"{expected}"
    )
  if dtype not in _DTYPES:
    raise ValueError(
      f"{path}: tensor {name!r} is {dtype}, only {', '.join(_DTYPES)} are read"
    )
  array = tensors.get_tensor(name)
  return array.T if is_transposed(name) else array
