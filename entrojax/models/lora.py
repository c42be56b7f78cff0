"""LoRA: train a low-rank term beside the frozen weights of some projections.

    y = x W + (alpha / rank) (x A) B,    A [in, rank], B [rank, out]

(arXiv 2106.09685). A is random at the start and B is 0, so that training starts
at the base model itself. An adapter is the tree of all A and B, so gradients,
optimizer state and checkpoints are of its size. A reference model shares the
base and has an adapter of its own: the first one, with B = 0, or a later one in
the later stages of a curriculum. Sampler and trainer both compute y by this
formula; only `merge`, for export, adds the term to the weights.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from entrojax.arguments import require_at_least, require_in
from entrojax.types import Model, Params

PROJECTIONS = (
  "q_proj",
  "k_proj",
  "v_proj",
  "o_proj",
  "gate_proj",
  "up_proj",
  "down_proj",
)
_FACTORS = ("lora_a", "lora_b")  # names of A and B among the parameters


@dataclasses.dataclass(frozen=True)
class Lora:
  """The shape and the scale of an adapter."""

  rank: int
  alpha: float  # the term is multiplied by alpha / rank
  projections: tuple[str, ...]  # which of PROJECTIONS to adapt, in every layer

  def __post_init__(self):
    require_at_least("lora.rank", self.rank, 1)
    require_in("lora.alpha", self.alpha, "(0, inf)")
    unknown = [name for name in self.projections if name not in PROJECTIONS]
    if unknown or not self.projections:
      raise ValueError(
        f"lora.projections = {self.projections} must be some of {PROJECTIONS}"
      )

  @property
  def scale(self) -> float:
    return self.alpha / self.rank


class LowRank(nnx.Linear):
  """A linear layer plus its low-rank term."""

  def __init__(self, inputs: int, outputs: int, *, lora: Lora, **options: Any):
    super().__init__(inputs, outputs, **options)
    draw, rngs = jax.nn.initializers.lecun_normal(), options["rngs"]
    self.scale = lora.scale
    self.lora_a = nnx.Param(draw(rngs.params(), (inputs, lora.rank)))
    self.lora_b = nnx.Param(jnp.zeros((lora.rank, outputs)))

  def __call__(self, x_ND):
    base = super().__call__(x_ND)
    a, b = (
      leaf.get_value().astype(base.dtype) for leaf in (self.lora_a, self.lora_b)
    )
    return base + self.scale * ((x_ND.astype(base.dtype) @ a) @ b)


def split(params: Params) -> tuple[dict[str, Any], dict[str, Any]]:
  """Split parameters into (base, adapter); the adapter is all A and B."""
  base: dict[str, Any] = {}
  adapter: dict[str, Any] = {}
  for name, value in params.items():
    if isinstance(value, Mapping):
      inner_base, inner_adapter = split(value)
      base |= {name: inner_base} if inner_base else {}
      adapter |= {name: inner_adapter} if inner_adapter else {}
    else:
      (adapter if name in _FACTORS else base)[name] = value
  return base, adapter


def join(base: Params, adapter: Params) -> dict[str, Any]:
  """Join a base and its adapter into one tree; the inverse of `split`."""
  joined = dict(base)
  for name, value in adapter.items():
    inner = base.get(name)
    joined[name] = join(inner, value) if isinstance(inner, Mapping) else value
  return joined


def on_base(model: Model, base: Params) -> Model:
  """Build the model whose only parameters are an adapter of `base`."""

  def apply(params, tokens, positions, cache=None, *, in_place=False):
    return model.apply(
      join(base, params), tokens, positions, cache, in_place=in_place
    )

  return model._replace(
    init=lambda key: split(model.init(key))[1],
    apply=apply,
    apply_branches=lambda params, *tokens: model.apply_branches(
      join(base, params), *tokens
    ),
    unembedding=lambda params: model.unembedding(base),
    for_decoding=lambda params: params,  # an adapter has no whole layers
  )


def merge(base: Params, adapter: Params, lora: Lora) -> dict[str, Any]:
  """Add an adapter to its base: W + (alpha / rank) A B.

  Args:
    base: parameters of a decoder without an adapter.
    adapter: the A and B of some of its projections.
    lora: gives the scale of the adapter.

  Returns:
    Parameters of a decoder without an adapter, on the host. Merged weights are
    float32.
  """
  merged = dict(base)
  for name, value in adapter.items():
    if "lora_a" in value:
      a, b = (np.asarray(value[part], np.float32) for part in _FACTORS)
      kernel = np.asarray(base[name]["kernel"], np.float32)
      merged[name] = {**base[name], "kernel": kernel + lora.scale * (a @ b)}
    else:
      merged[name] = merge(base[name], value, lora)
  return merged
