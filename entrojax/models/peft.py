"""Read and write LoRA adapters in the format of the package PEFT.

    W + scale B A,    A [rank, in], B [out, rank]

with scale = lora_alpha / rank, or lora_alpha / sqrt(rank) with use_rslora. Our
A and B are the transposes (lora.py). A model folder with an adapter is read as
the merged weights. `write_adapter` writes the adapter of a run for other
libraries.
"""

from collections.abc import Mapping
import json
import math
from pathlib import Path
import re
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy

from entrojax.models.lora import PROJECTIONS, Lora
from entrojax.system.model_files import (
  ADAPTER_CONFIG,
  ADAPTER_WEIGHTS,
  read_adapter_config,
)
from entrojax.types import Params

_PREFIX = "base_model.model."
_FACTOR = re.compile(
  re.escape(_PREFIX) + r"(model\.layers\.\d+\.\w+\.(\w+))\.lora_([AB])\.weight"
)
# what these keys of adapter_config.json may be; another value changes weights
# in a way that is not computed here
_ONLY: Mapping[str, tuple[Any, ...]] = {
  "peft_type": ("LORA",),
  "bias": ("none", None),
  "use_dora": (False, None),
  "fan_in_fan_out": (False, None),
  "modules_to_save": (None, []),
  "rank_pattern": (None, {}),
  "alpha_pattern": (None, {}),
  "layer_replication": (None,),
  "target_parameters": (None, []),
}


class Adapter(NamedTuple):
  """An adapter on the host."""

  path: Path  # of its weights
  factors: Mapping[str, tuple[np.ndarray, np.ndarray]]  # tensor -> A, B
  scale: float

  def add_to(self, name: str, weight: np.ndarray) -> np.ndarray:
    """Return a tensor, [in, out] if it has a term, with the adapter's term."""
    if name not in self.factors:
      return weight
    a, b = self.factors[name]
    if (a.shape[1], b.shape[0]) != weight.shape:
      raise ValueError(
        f"{self.path}: the adapter of {name!r} is for a weight of shape "
        f"{(b.shape[0], a.shape[1])}, the base has {weight.shape[::-1]}"
      )
    return np.asarray(weight, np.float32) + self.scale * (b @ a).T


def read_adapter(folder: Path) -> Adapter | None:
  """Read the adapter of a model folder; None if it has none.

  Raises:
    ValueError: a file is missing or malformed, or describes an adapter that is
      not computed here. The message names the file and the key or the tensor.
  """
  folder = Path(folder)
  path, config_path = folder / ADAPTER_WEIGHTS, folder / ADAPTER_CONFIG
  if not path.is_file() and not config_path.is_file():
    return None
  for needed in (path, config_path):
    if not needed.is_file():
      raise ValueError(f"{needed}: no such file, but the folder has an adapter")
  raw = read_adapter_config(folder)
  for key, values in _ONLY.items():
    if raw.get(key, values[0]) not in values:
      raise ValueError(
        f"{config_path}: {key} is {raw[key]!r}; only {values[0]!r} can be read"
      )
  try:
    rank, alpha = int(raw["r"]), float(raw["lora_alpha"])
    if rank < 1:
      raise ValueError(f"r is {rank}")
    tensors = safetensors.numpy.load_file(path)
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(
      f"{config_path}: no rank r and lora_alpha: {error}"
    ) from error
  except safetensors.SafetensorError as error:
    raise ValueError(
      f"{path}: not a whole safetensors file: {error}"
    ) from error
  scale = alpha / (math.sqrt(rank) if raw.get("use_rslora") else rank)
  return Adapter(path, _pairs(path, tensors), scale)


def _pairs(
  path: Path, tensors: Mapping[str, np.ndarray]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Return A and B of each tensor of the base."""
  halves: dict[str, dict[str, np.ndarray]] = {}
  for name, array in tensors.items():
    match = _FACTOR.fullmatch(name)
    if match is None or match[2] not in PROJECTIONS or array.ndim != 2:
      raise ValueError(
        f"{path}: tensor {name!r} of shape {array.shape} is not the A or B of "
        f"one of {', '.join(PROJECTIONS)}"
      )
    halves.setdefault(match[1], {})[match[3]] = np.asarray(array, np.float32)
  for name, pair in halves.items():
    if len(pair) < 2 or pair["A"].shape[0] != pair["B"].shape[1]:
      raise ValueError(f"{path}: {name} has no A and B of the same rank")
  return {f"{n}.weight": (p["A"], p["B"]) for n, p in halves.items()}


def write_adapter(folder: Path, adapter: Params, lora: Lora, base: str) -> None:
  """Write an adapter: adapter_config.json and adapter_model.safetensors.

  Args:
    folder: created if missing.
    adapter: the A and B of some projections, stacked by layer; see lora.py.
    lora: its rank, its scale and its projections.
    base: base_model_name_or_path, the folder of the base.
  """
  folder = Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  tensors: dict[str, np.ndarray] = {}
  for block, modules in adapter["layers"].items():
    for module, leaves in modules.items():
      for half, leaf in (("A", "lora_a"), ("B", "lora_b")):
        for layer, array in enumerate(np.asarray(leaves[leaf], np.float32)):
          name = f"{_PREFIX}model.layers.{layer}.{block}.{module}.lora_{half}"
          tensors[f"{name}.weight"] = np.ascontiguousarray(array.T)
  safetensors.numpy.save_file(
    tensors, folder / ADAPTER_WEIGHTS, {"format": "pt"}
  )
  raw = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": base,
    "r": lora.rank,
    "lora_alpha": lora.alpha,
    "target_modules": sorted(lora.projections),
    "bias": "none",
    "lora_dropout": 0.0,
    "inference_mode": True,
  }
  (folder / ADAPTER_CONFIG).write_text(json.dumps(raw, indent=2) + "\n")
