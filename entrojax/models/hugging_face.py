"""Model folders in Hugging Face's format: config.json, safetensors.

Names and shapes on disk are Hugging Face's: a linear weight is [out, in] and
each layer has its own; ours is [in, out] with all layers stacked. Weights lie
in model.safetensors or in the shards that model.safetensors.index.json lists.
A tensor is read, checked and placed before the next one is read, so the host
holds one of them besides what is placed. Only safetensors: nothing is executed.
"""

from collections.abc import Iterator, Mapping
import contextlib
import functools
import json
from pathlib import Path
import re
import shutil
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np
import safetensors
import safetensors.numpy

from entrojax.models.config_json import read_config, read_json, write_config
from entrojax.models.decoder import DecoderConfig, decoder
from entrojax.types import Array, Params

__all__ = [
  "export_folder",
  "load",
  "load_params",
  "read_config",
  "save_params",
  "write_config",
  "write_folder",
]

_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_DTYPES = ("F32", "BF16", "F16")
# in some files, and never part of the model: tied, or computed
_SPARE = re.compile(r"lm_head\.weight|.*\.rotary_emb\.inv_freq")
# all that a folder may hold besides weights and what we write
_COMPANIONS = (
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "chat_template.jinja",
  "LICENSE",
)


class _Slot(NamedTuple):
  """Where a tensor of the file goes."""

  leaf: int  # number of our leaf
  layer: int | None  # its row of the leaf; None: the tensor is the leaf
  shape: tuple[int, ...]  # ours


def load(folder: Path, **options: Any) -> tuple[DecoderConfig, Params]:
  """Returns the config and the parameters of a model folder."""
  config = read_config(folder)
  return config, load_params(folder, config, **options)


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
    for name, layer in _tensor_names(_path_name(path), leaf.shape)
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
  if (folder / _WEIGHTS).exists() or not (folder / _INDEX).exists():
    yield folder / _WEIGHTS, list(slots)
    return
  path = folder / _INDEX
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
  expected = shape[::-1] if _is_transposed(name) else shape
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
  return array.T if _is_transposed(name) else array


def _path_name(path: Any) -> str:
  return jax.tree_util.keystr(path, simple=True, separator="/")


def _tensor_names(
  path: str, shape: tuple[int, ...]
) -> Iterator[tuple[str, int | None]]:
  """Yields (name on disk, layer) for each tensor of one of our leaves."""
  if path == "lm_head":
    yield "lm_head.weight", None
  elif not path.startswith("layers/"):
    yield f"model.{path.removesuffix('/scale')}.weight", None
  else:
    module, kind = path.removeprefix("layers/").rsplit("/", 1)
    module = module.replace("/", ".")
    kind = "bias" if kind == "bias" else "weight"
    for layer in range(shape[0]):
      yield f"model.layers.{layer}.{module}.{kind}", layer


def _is_transposed(name: str) -> bool:
  """Is the tensor a projection's [out, in]?"""
  return name.endswith("_proj.weight")


def save_params(
  folder: Path,
  params: Params,
  *,
  dtype: Any = None,
  max_shard_bytes: int = 4 * 2**30,
) -> None:
  """Writes the weights under Hugging Face's names.

  One file, model.safetensors, or shards and their index if they are larger
  than a shard may be. The host holds one shard at a time.

  Args:
    folder: made if missing; weights that lie there are replaced.
    params: of a decoder, every part of them on devices of this process.
    dtype: in the files; None: the parameters' own.
    max_shard_bytes: of a file, unless one tensor is larger.
  """
  folder = Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  for stale in (folder / _INDEX, *folder.glob("model*.safetensors")):
    stale.unlink(missing_ok=True)
  entries = [
    (name, leaf, layer)
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]
    for name, layer in _tensor_names(_path_name(path), leaf.shape)
  ]
  shards = _split(entries, dtype, max_shard_bytes)
  names = (
    [_WEIGHTS]
    if len(shards) == 1
    else [
      f"model-{i:05d}-of-{len(shards):05d}.safetensors"
      for i in range(1, len(shards) + 1)
    ]
  )
  for file, shard in zip(names, shards, strict=True):
    safetensors.numpy.save_file(
      {name: _on_disk(name, leaf, at, dtype) for name, leaf, at in shard},
      folder / file,
      {"format": "pt"},
    )
  if len(shards) > 1:
    total = sum(_num_bytes(leaf, layer, dtype) for _, leaf, layer in entries)
    places = {
      name: file
      for file, shard in zip(names, shards, strict=True)
      for name, *_ in shard
    }
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / _INDEX).write_text(
      json.dumps(index, indent=2, sort_keys=True) + "\n"
    )


def _split(entries: list[Any], dtype: Any, limit: int) -> list[list[Any]]:
  """Cuts the list of (name, leaf, layer) where a shard would grow too large."""
  shards: list[list[Any]] = [[]]
  size = 0
  for name, leaf, layer in entries:
    more = _num_bytes(leaf, layer, dtype)
    if shards[-1] and size + more > limit:
      shards.append([])
      size = 0
    shards[-1].append((name, leaf, layer))
    size += more
  return shards


def _num_bytes(leaf: Array, layer: int | None, dtype: Any) -> int:
  size = leaf.size if layer is None else leaf.size // leaf.shape[0]
  return size * np.dtype(leaf.dtype if dtype is None else dtype).itemsize


def _on_disk(
  name: str, leaf: Array, layer: int | None, dtype: Any
) -> np.ndarray:
  array = np.asarray(leaf if layer is None else leaf[layer])
  array = array.T if _is_transposed(name) else array
  return np.ascontiguousarray(array, dtype)


def write_folder(
  folder: Path,
  config: DecoderConfig,
  params: Params,
  special_ids: Mapping[str, Any],
) -> None:
  """Writes config.json and the weights; the tokenizer is the caller's.

  Args:
    folder: made if missing.
    config: the sizes.
    params: of a decoder of those sizes.
    special_ids: eos_token_id and pad_token_id.
  """
  save_params(folder, params)
  dtype = str(params["embed_tokens"].dtype)
  write_config(folder, config, **special_ids, torch_dtype=dtype)


def export_folder(
  folder: Path,
  source: Path,
  params: Params,
  *,
  dtype: Any = None,
  max_shard_bytes: int = 4 * 2**30,
) -> None:
  """Writes a folder that differs from `source` in its weights alone.

  config.json keeps every key but the one that names the weights' type;
  tokenizer, chat template and generation settings are copied.

  Args:
    folder: made if missing; not `source`.
    source: the model folder that the run began with.
    params: trained.
    dtype: of the files; None: the parameters' own.
    max_shard_bytes: of a file of weights.

  Raises:
    ValueError: `folder` is `source`, or the parameters are of another model.
  """
  folder, source = Path(folder), Path(source)
  if folder.resolve() == source.resolve():
    raise ValueError(f"{folder}: would overwrite the model it is made from")
  shapes = jax.eval_shape(decoder(read_config(source)).init, jax.random.key(0))
  if jax.tree.map(jnp.shape, params) != jax.tree.map(jnp.shape, shapes):
    raise ValueError(f"{source}: config.json describes other parameters")
  save_params(folder, params, dtype=dtype, max_shard_bytes=max_shard_bytes)
  for name in _COMPANIONS:
    if (source / name).is_file():
      shutil.copyfile(source / name, folder / name)
  raw = read_json(source / "config.json")
  key = "dtype" if "dtype" in raw else "torch_dtype"
  raw[key] = str(
    np.dtype(params["embed_tokens"].dtype if dtype is None else dtype)
  )
  (folder / "config.json").write_text(json.dumps(raw, indent=2) + "\n")
