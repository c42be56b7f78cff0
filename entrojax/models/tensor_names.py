"""Which tensors of a file make one of our leaves.

Names and shapes on disk are Hugging Face's: a linear weight is [out, in] and
each layer has its own; ours is [in, out] with all layers stacked.
"""

from collections.abc import Iterator
from typing import Any

import jax

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


def path_name(path: Any) -> str:
  return jax.tree_util.keystr(path, simple=True, separator="/")


def tensor_names(
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


def is_transposed(name: str) -> bool:
  """Is the tensor a projection's [out, in]?"""
  return name.endswith("_proj.weight")
