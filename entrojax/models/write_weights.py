"""Write parameters to model.safetensors, or to several files and their index.

Tensors get Hugging Face's names. The weights are split if they are larger than
max_shard_bytes, 4 GiB by default. The tensors of one file are copied from the
devices, written and dropped before the next file begins, so the host never
holds more than one file. Weights that the folder already has are deleted first,
and so is an adapter, which would otherwise be added to the new weights.
"""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors.numpy

from entrojax.models.tensor_names import (
  INDEX,
  WEIGHTS,
  is_transposed,
  path_name,
  tensor_names,
)
from entrojax.system.model_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from entrojax.types import Array, Params


def save_params(
  folder: Path,
  params: Params,
  *,
  dtype: Any = None,
  max_shard_bytes: int = 4 * 2**30,
) -> None:
  """Write the weights under Hugging Face's names.

  Args:
    folder: created if missing. Weights and an adapter that are already there
      are replaced.
    params: parameters of a decoder. Devices of this process hold all of them.
    dtype: type of the tensors on disk; None: the type of the parameters.
    max_shard_bytes: a file may be larger than this only if a single tensor is.
      If all tensors fit, there is one file, model.safetensors, and no index.
  """
  folder = Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  others = (folder / name for name in (INDEX, ADAPTER_CONFIG, ADAPTER_WEIGHTS))
  for stale in (*others, *folder.glob("model*.safetensors")):
    stale.unlink(missing_ok=True)
  entries = [
    (name, leaf, layer)
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]
    for name, layer in tensor_names(path_name(path), leaf.shape)
  ]
  shards = _split(entries, dtype, max_shard_bytes)
  names = (
    [WEIGHTS]
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
    file_of_tensor = {
      name: file
      for file, shard in zip(names, shards, strict=True)
      for name, *_ in shard
    }
    total = sum(_num_bytes(leaf, layer, dtype) for _, leaf, layer in entries)
    index = {"metadata": {"total_size": total}, "weight_map": file_of_tensor}
    (folder / INDEX).write_text(
      json.dumps(index, indent=2, sort_keys=True) + "\n"
    )


def _split(entries: list[Any], dtype: Any, limit: int) -> list[list[Any]]:
  """Cut (name, leaf, layer) entries into shards of at most `limit` bytes."""
  shards: list[list[Any]] = [[]]
  size = 0
  for name, leaf, layer in entries:
    num_bytes = _num_bytes(leaf, layer, dtype)
    if shards[-1] and size + num_bytes > limit:
      shards.append([])
      size = 0
    shards[-1].append((name, leaf, layer))
    size += num_bytes
  return shards


def _num_bytes(leaf: Array, layer: int | None, dtype: Any) -> int:
  size = leaf.size if layer is None else leaf.size // leaf.shape[0]
  return size * np.dtype(leaf.dtype if dtype is None else dtype).itemsize


def _on_disk(
  name: str, leaf: Array, layer: int | None, dtype: Any
) -> np.ndarray:
  array = np.asarray(leaf if layer is None else leaf[layer])
  array = array.T if is_transposed(name) else array
  return np.ascontiguousarray(array, dtype)
