"""Map the leaves of our parameters to the tensors of a safetensors file.

    layers/mlp/up_proj/kernel   <->   model.layers.0.mlp.up_proj.weight, ...

On disk, names and shapes are Hugging Face's: each layer has tensors of its own,
and the weight of a projection is [out, in]. In our parameters the layers are
stacked, and a projection is [depth, in, out]. This file only gives the names,
and says which tensors to transpose. read_weights.py and write_weights.py copy
the arrays.
"""

from collections.abc import Iterator
from typing import Any

import jax

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


def path_name(path: Any) -> str:
  """Format the path of a leaf, as in "layers/mlp/up_proj/kernel"."""
  return jax.tree_util.keystr(path, simple=True, separator="/")


def tensor_names(
  path: str, shape: tuple[int, ...]
) -> Iterator[tuple[str, int | None]]:
  """List the tensors that a leaf of our parameters is made of.

  Args:
    path: the leaf's name, from `path_name`.
    shape: the leaf's shape.

  Yields:
    (name on disk, layer); layer is None for a leaf outside the layers.
  """
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
  """Return True for the weight of a projection, stored as [out, in]."""
  return name.endswith("_proj.weight")
