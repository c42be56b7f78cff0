"""LoRA: a frozen model with a trained low-rank term at some projections.

    y = x W + (alpha / rank) (x A) B,    A [in, rank], B [rank, out]

(arXiv 2106.09685). A begins random and B at 0, so that training begins at the
base itself; the base with its adapter off is also the reference model. An
adapter is a tree of the A and B alone: gradients, optimizer state and
checkpoints are of that size. Sampler and trainer both add the term as above;
only `merge` adds it to the weights, for export.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

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
_OURS = ("lora_a", "lora_b")


@dataclasses.dataclass(frozen=True)
class Lora:
  """What an adapter is made of."""

  rank: int
  alpha: float  # the term's scale is alpha / rank
  projections: tuple[str, ...]  # of PROJECTIONS, in every layer

  def __post_init__(self):
    if self.rank < 1:
      raise ValueError(f"lora.rank must be at least 1, got {self.rank}")
    if not self.alpha > 0:
      raise ValueError(f"lora.alpha must be above 0, got {self.alpha}")
    unknown = [name for name in self.projections if name not in PROJECTIONS]
    if unknown or not self.projections:
      raise ValueError(
        f"lora.projections = {self.projections} must be some of {PROJECTIONS}"
      )

  @property
  def scale(self) -> float:
    return self.alpha / self.rank


class LowRank(nnx.Linear):
  """A linear layer with its low-rank term."""

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
  """Returns (base, adapter): the tree without, and with only, A and B."""
  base: dict[str, Any] = {}
  adapter: dict[str, Any] = {}
  for name, value in params.items():
    if isinstance(value, Mapping):
      inner_base, inner_adapter = split(value)
      base |= {name: inner_base} if inner_base else {}
      adapter |= {name: inner_adapter} if inner_adapter else {}
    else:
      (adapter if name in _OURS else base)[name] = value
  return base, adapter


def join(base: Params, adapter: Params) -> dict[str, Any]:
  """Returns the one tree of a base and its adapter."""
  joined = dict(base)
  for name, value in adapter.items():
    inner = base.get(name)
    joined[name] = join(inner, value) if isinstance(inner, Mapping) else value
  return joined


def on_base(model: Model, base: Params) -> Model:
  """Returns the model whose parameters are an adapter of `base` alone."""

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
    for_decoding=lambda params: params,  # they are no whole layers
  )


def merge(base: Params, adapter: Params, lora: Lora) -> dict[str, Any]:
  """Returns plain parameters, on the host: W + (alpha / rank) A B, float32.

  Args:
    base: of a decoder, all layers stacked.
    adapter: likewise.
    lora: what it was made with.
  """
  merged = dict(base)
  for name, value in adapter.items():
    if "lora_a" in value:
      a, b = (np.asarray(value[part], np.float32) for part in _OURS)
      kernel = np.asarray(base[name]["kernel"], np.float32)
      merged[name] = {**base[name], "kernel": kernel + lora.scale * (a @ b)}
    else:
      merged[name] = merge(base[name], value, lora)
  return merged
