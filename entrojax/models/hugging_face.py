"""Model folders in Hugging Face's format: config.json, safetensors."""

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


def digest(folder: Path) -> str:
  """Returns the SHA-256 of a folder's weights and config.json: which model."""
  whole = hashlib.sha256()
  for path in sorted(Path(folder).glob("*.safetensors")):
    with path.open("rb") as file:
      whole.update(hashlib.file_digest(file, "sha256").digest())
  whole.update((Path(folder) / "config.json").read_bytes())
  return whole.hexdigest()


def load(folder: Path, **options: Any) -> tuple[DecoderConfig, Params]:
  """Returns the config and the parameters of a model folder."""
  config = read_config(folder)
  return config, load_params(folder, config, **options)


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
