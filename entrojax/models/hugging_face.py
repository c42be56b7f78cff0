"""Load, write and export model folders in Hugging Face's format.

A folder holds config.json (config_json.py), weights in safetensors
(read_weights.py, write_weights.py) and usually a tokenizer, which
data/tokenizer.py reads. `load` and `write_folder` leave the tokenizer alone.
`export_folder` writes trained weights beside copies of the other files of the
folder from which training started. `digest` identifies a model by its files.
"""

from collections.abc import Mapping
import hashlib
import json
from pathlib import Path
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from entrojax.models.config_json import read_config, read_json, write_config
from entrojax.models.decoder import DecoderConfig, decoder
from entrojax.models.read_weights import load_params
from entrojax.models.write_weights import save_params
from entrojax.system.model_files import (
  ADAPTER_CONFIG,
  base_folder,
  file_of,
)
from entrojax.types import Params

__all__ = [
  "digest",
  "export_folder",
  "load",
  "load_params",
  "read_config",
  "save_params",
  "write_config",
  "write_folder",
]

# the files that an export copies from its base, if they are there
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


def digest(folder: Path) -> str:
  """Compute the SHA-256 of a folder's weights and config.json.

  Two folders with equal digests hold the same model.
  """
  whole = hashlib.sha256()
  folders = dict.fromkeys((Path(folder), base_folder(folder)))
  for path in [p for f in folders for p in sorted(f.glob("*.safetensors"))]:
    with path.open("rb") as file:
      whole.update(hashlib.file_digest(file, "sha256").digest())
  for name in (ADAPTER_CONFIG, "config.json"):
    path = file_of(folder, name)
    whole.update(path.read_bytes() if path.is_file() else b"")
  return whole.hexdigest()


def load(folder: Path, **options: Any) -> tuple[DecoderConfig, Params]:
  """Load the sizes and the parameters of a model folder.

  Args:
    folder: a model folder.
    **options: options of `load_params`.
  """
  config = read_config(folder)
  return config, load_params(folder, config, **options)


def write_folder(
  folder: Path,
  config: DecoderConfig,
  params: Params,
  special_ids: Mapping[str, Any],
) -> None:
  """Write config.json and the weights; the caller writes the tokenizer.

  Args:
    folder: created if missing.
    config: the sizes.
    params: parameters of a decoder of these sizes.
    special_ids: eos_token_id and pad_token_id of config.json.
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
  """Write a folder that differs from `source` only in its weights.

  In config.json only the key that names the type of the weights changes.
  Tokenizer, chat template and generation settings are copied.

  Args:
    folder: the folder to write, created if missing. It must not be `source`.
      What an earlier export left there and `source` lacks is removed, such as
      the chat template of another model.
    source: the model folder from which training started.
    params: the trained parameters.
    dtype: type of the weights on disk; None: the type of the parameters.
    max_shard_bytes: the size at which weights are split into several files.

  Raises:
    ValueError: `folder` is `source`, or the parameters do not fit its sizes.
  """
  folder, source = Path(folder), Path(source)
  if folder.resolve() == source.resolve():
    raise ValueError(f"{folder}: would overwrite the model it is exported from")
  shapes = jax.eval_shape(decoder(read_config(source)).init, jax.random.key(0))
  if jax.tree.map(jnp.shape, params) != jax.tree.map(jnp.shape, shapes):
    raise ValueError(
      f"{source}: config.json describes other parameters than those to export"
    )
  save_params(folder, params, dtype=dtype, max_shard_bytes=max_shard_bytes)
  for name in _COMPANIONS:
    if (path := file_of(source, name)).is_file():
      shutil.copyfile(path, folder / name)
    elif name != "LICENSE":  # no model reads it, and it may be the user's own
      (folder / name).unlink(missing_ok=True)
  raw = read_json(file_of(source, "config.json"))
  key = "dtype" if "dtype" in raw else "torch_dtype"
  raw[key] = str(
    np.dtype(params["embed_tokens"].dtype if dtype is None else dtype)
  )
  (folder / "config.json").write_text(json.dumps(raw, indent=2) + "\n")
