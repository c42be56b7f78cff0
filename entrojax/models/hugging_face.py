"""Model folders in Hugging Face's format: config.json, model.safetensors.

Names and shapes on disk are Hugging Face's: a linear weight is [out, in] and
each layer has its own; ours is [in, out] with all layers stacked. A tensor is
read, checked and placed one at a time. Only safetensors: nothing is executed.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from entrojax.models.decoder import DecoderConfig, decoder
from entrojax.types import Params

_ARCHITECTURE = "Qwen3ForCausalLM"
_WEIGHTS = "model.safetensors"
_ONLY = {  # what the decoder computes; anything else would load and be wrong
  "hidden_act": "silu",
  "attention_bias": False,
  "use_sliding_window": False,
  "rope_scaling": None,
}


def read_config(folder: Path) -> DecoderConfig:
  """Returns the decoder's sizes from `folder`/config.json.

  Raises:
    ValueError: the file is missing, is not JSON, lacks a key or describes
      another architecture; the message names the file and the key.
  """
  path = Path(folder) / "config.json"
  try:
    raw = json.loads(path.read_text())
  except FileNotFoundError:
    raise ValueError(f"{path}: no such file; is this a model folder?") from None
  except json.JSONDecodeError as error:
    raise ValueError(f"{path}: not JSON: {error}") from None
  if not isinstance(raw, dict):
    raise ValueError(f"{path}: not a JSON object")
  architectures = raw.get("architectures")
  if architectures != [_ARCHITECTURE]:
    raise ValueError(
      f"{path}: architectures is {architectures}; only [{_ARCHITECTURE!r}] can "
      "be read"
    )
  for key, value in _ONLY.items():
    if raw.get(key, value) not in (value, None):
      raise ValueError(
        f"{path}: {key} is {raw[key]!r}; only {value!r} can be read"
      )
  # transformers 5 keeps the base of the rotation in a section of its own
  rope = raw.get("rope_parameters") or {}
  if rope.get("rope_type", "default") != "default":
    raise ValueError(f"{path}: rope_type is {rope['rope_type']!r}, not default")
  merged = {"rope_theta": rope.get("rope_theta", 10_000.0), **raw}
  fields = [f.name for f in dataclasses.fields(DecoderConfig)]
  missing = [name for name in fields if name not in merged]
  if missing:
    raise ValueError(f"{path}: lacks {', '.join(missing)}")
  for field in dataclasses.fields(DecoderConfig):
    value = merged[field.name]
    kinds = (int, float) if field.type is float else (field.type,)
    if type(value) not in kinds:
      raise ValueError(f"{path}: {field.name} is {value!r}, not a {kinds[-1]}")
  return DecoderConfig(**{name: merged[name] for name in fields})


def write_config(
  folder: Path, config: DecoderConfig, *, eos_token_id: int, pad_token_id: int
) -> None:
  """Writes `folder`/config.json."""
  raw = {
    "architectures": [_ARCHITECTURE],
    "model_type": "qwen3",
    "hidden_act": "silu",
    "attention_bias": False,
    "max_position_embeddings": 4096,
    "torch_dtype": "float32",
    "eos_token_id": eos_token_id,
    "pad_token_id": pad_token_id,
    **dataclasses.asdict(config),
  }
  path = Path(folder) / "config.json"
  path.write_text(json.dumps(raw, indent=2, sort_keys=True) + "\n")


def load_params(
  folder: Path, config: DecoderConfig, *, dtype: Any = jnp.float32
) -> Params:
  """Returns the parameters in `folder`/model.safetensors, on the host.

  Raises:
    ValueError: a tensor is missing, has another shape or the file is broken;
      the message names file and tensor.
  """
  path = Path(folder) / _WEIGHTS
  shapes = jax.eval_shape(decoder(config).init, jax.random.key(0))
  leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
  try:
    with safetensors.safe_open(path, framework="numpy") as tensors:
      names = set(tensors.keys())
      loaded = [
        _read_leaf(path, tensors, names, _path_name(where), leaf.shape)
        for where, leaf in leaves
      ]
  except FileNotFoundError:
    raise ValueError(f"{path}: no such file") from None
  except safetensors.SafetensorError as error:
    raise ValueError(f"{path}: not a whole safetensors file: {error}") from None
  return jax.tree.unflatten(structure, [x.astype(dtype) for x in loaded])


def save_params(folder: Path, params: Params) -> None:
  """Writes `folder`/model.safetensors under Hugging Face's names."""
  tensors: dict[str, np.ndarray] = {}
  for where, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
    array = np.asarray(leaf)
    for name, index in _tensor_names(_path_name(where), array.shape):
      tensors[name] = np.ascontiguousarray(_transposed(name, array[index]))
  folder = Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  safetensors.numpy.save_file(tensors, folder / _WEIGHTS, {"format": "pt"})


def _path_name(path: Any) -> str:
  return jax.tree_util.keystr(path, simple=True, separator="/")


def _tensor_names(
  path: str, shape: tuple[int, ...]
) -> Iterator[tuple[str, Any]]:
  """Yields (name on disk, index into our leaf) for each tensor of a leaf."""
  if path == "lm_head":
    yield "lm_head.weight", ...
  elif not path.startswith("layers/"):
    yield f"model.{path.removesuffix('/scale')}.weight", ...
  else:
    module = path.removeprefix("layers/").rsplit("/", 1)[0].replace("/", ".")
    for layer in range(shape[0]):
      yield f"model.layers.{layer}.{module}.weight", layer


def _transposed(name: str, array: np.ndarray) -> np.ndarray:
  """Turns a projection's [in, out] into [out, in], or back."""
  return array.T if "_proj." in name else array


def _read_leaf(
  path: Path,
  tensors: Any,
  names: set[str],
  leaf_path: str,
  shape: tuple[int, ...],
) -> np.ndarray:
  """Returns one of our leaves, gathered from its tensors on disk."""
  leaf = np.empty(shape, np.float32)
  for name, index in _tensor_names(leaf_path, shape):
    if name not in names:
      raise ValueError(f"{path}: tensor {name!r} is missing")
    array = _transposed(name, tensors.get_tensor(name))
    wanted = leaf[index].shape
    if array.shape != wanted:
      raise ValueError(
        f"{path}: tensor {name!r} has shape "
        f"{tuple(tensors.get_slice(name).get_shape())}, config.json asks for "
        f"{_transposed(name, np.empty(wanted)).shape}"
      )
    leaf[index] = array.astype(np.float32)
  return leaf


def load(folder: Path, **options: Any) -> tuple[DecoderConfig, Params]:
  """Returns the config and the parameters of a model folder."""
  config = read_config(folder)
  return config, load_params(folder, config, **options)


def write_folder(
  folder: Path,
  config: DecoderConfig,
  params: Params,
  special_ids: Mapping[str, int],
) -> None:
  """Writes config.json and model.safetensors; the tokenizer is the caller's.

  Args:
    folder: made if missing.
    config: the sizes.
    params: of a decoder of those sizes.
    special_ids: eos_token_id and pad_token_id.
  """
  save_params(folder, params)
  write_config(folder, config, **special_ids)
