"""Rotary position embedding (RoPE, arXiv 2104.09864).

Channels i and i + C / 2 of a head of width C form a pair. At position p it is
rotated by the angle p f_i, with f_i = theta^(-2 i / C) radians per token. The
frequencies f are computed in float64 when a model is built, and are float32
constants of its graph. A checkpoint may lower some of them, by the rule of one
of the classes below, whose fields are named as in config.json.
"""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from entrojax.arguments import require_at_least
from entrojax.types import Array


@dataclasses.dataclass(frozen=True)
class Llama3Scaling:
  """The stretched rotation of Llama 3.1.

  It divides frequencies by `factor` if their wave is longer than
  original_max_position_embeddings / low_freq_factor tokens. It keeps them if
  their wave is shorter than original_max_position_embeddings /
  high_freq_factor. Between the two it interpolates linearly in the number of
  turns within the original length (arXiv 2407.21783).
  """

  factor: float
  low_freq_factor: float
  high_freq_factor: float
  original_max_position_embeddings: int  # tokens
  rope_type: ClassVar[str] = "llama3"
  attention_factor: ClassVar[float] = 1.0

  def __post_init__(self):
    require_at_least("factor", self.factor, 1)
    if not 0 < self.low_freq_factor < self.high_freq_factor:
      raise ValueError(
        f"low_freq_factor = {self.low_freq_factor} must lie between 0 and "
        f"high_freq_factor = {self.high_freq_factor}"
      )
    require_at_least(
      "original_max_position_embeddings",
      self.original_max_position_embeddings,
      1,
    )

  def stretch(self, plain: np.ndarray, theta: float) -> np.ndarray:
    """Return the lowered frequencies f64[C / 2] of the plain ones."""
    del theta
    turns = self.original_max_position_embeddings * plain / (2 * np.pi)
    low, high = self.low_freq_factor, self.high_freq_factor
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return kept * plain + (1 - kept) * plain / self.factor


@dataclasses.dataclass(frozen=True)
class LinearScaling:
  """Positions divided by a factor (arXiv 2306.15595)."""

  factor: float
  rope_type: ClassVar[str] = "linear"
  attention_factor: ClassVar[float] = 1.0

  def __post_init__(self):
    require_at_least("factor", self.factor, 1)

  def stretch(self, plain: np.ndarray, theta: float) -> np.ndarray:
    """Return the lowered frequencies f64[C / 2] of the plain ones."""
    del theta
    return plain / self.factor


@dataclasses.dataclass(frozen=True)
class YarnScaling:
  """YaRN (arXiv 2309.00071), as Qwen2.5 and Qwen3 use it for long texts.

  Pairs that turn more than beta_fast times within the original length keep
  their frequency, pairs that turn less than beta_slow times have it divided by
  `factor`, and a line in the number of the pair leads from one to the other.
  Queries and keys are both multiplied by attention_factor.
  """

  factor: float
  original_max_position_embeddings: int  # tokens
  attention_factor: float
  beta_fast: float = 32.0
  beta_slow: float = 1.0
  rope_type: ClassVar[str] = "yarn"

  def __post_init__(self):
    require_at_least("factor", self.factor, 1)
    require_at_least(
      "original_max_position_embeddings",
      self.original_max_position_embeddings,
      1,
    )
    if not 0 < self.beta_slow < self.beta_fast:
      raise ValueError(
        f"beta_slow = {self.beta_slow} must lie between 0 and beta_fast = "
        f"{self.beta_fast}"
      )

  @staticmethod
  def default_attention_factor(factor: float) -> float:
    """Return 0.1 ln(factor) + 1, equation 22 of the paper."""
    return 0.1 * math.log(factor) + 1 if factor > 1 else 1.0

  def stretch(self, plain: np.ndarray, theta: float) -> np.ndarray:
    """Return the lowered frequencies f64[C / 2] of the plain ones."""
    head_dim = 2 * len(plain)

    def pair_with(turns: float) -> float:
      """Return the number of the pair that turns so often, not rounded."""
      length = self.original_max_position_embeddings / (2 * np.pi * turns)
      return head_dim * math.log(length) / (2 * math.log(theta))

    first = max(math.floor(pair_with(self.beta_fast)), 0)
    last = min(math.ceil(pair_with(self.beta_slow)), head_dim - 1)
    pairs = np.arange(len(plain))
    lowered = np.clip((pairs - first) / max(last - first, 1e-3), 0, 1)
    return (1 - lowered) * plain + lowered * plain / self.factor


Scaling = Llama3Scaling | LinearScaling | YarnScaling


def frequencies(
  head_dim: int, theta: float, scaling: Scaling | None = None
) -> np.ndarray:
  """Compute the frequency of each pair of channels, in radians per token.

  Args:
    head_dim: C, the width of a head.
    theta: the base of the frequencies.
    scaling: how the checkpoint stretches them; None: not at all.

  Returns:
    f32[C / 2].
  """
  plain = np.float64(theta) ** (-np.arange(0, head_dim, 2) / head_dim)
  if scaling is not None:
    plain = scaling.stretch(plain, theta)
  return plain.astype(np.float32)


def rotations(
  positions: Array, radians: Array, factor: float = 1.0
) -> tuple[Array, Array]:
  """Compute the rotation of each token, as cosines and sines.

  Args:
    positions: i32[B, L]; padding, -1, is rotated as position 0.
    radians: f32[C / 2], from `frequencies`.
    factor: multiplies queries and keys; see `YarnScaling`.

  Returns:
    (cosines f32[B, L, C / 2], sines f32[B, L, C / 2]).
  """
  angles = jnp.maximum(positions, 0)[..., None] * radians[None, None]
  if factor == 1.0:
    return jnp.cos(angles), jnp.sin(angles)
  return factor * jnp.cos(angles), factor * jnp.sin(angles)


def rotate(x_BLHC: Array, rotation: tuple[Array, Array]) -> Array:
  """Rotate the pairs of channels of every head of f[B, L, H, C]."""
  cos, sin = (r[:, :, None].astype(x_BLHC.dtype) for r in rotation)
  first, second = jnp.split(x_BLHC, 2, axis=-1)
  return jnp.concatenate(
    [first * cos - second * sin, second * cos + first * sin], axis=-1
  )


def rotate_by_product(x_BHLC: Array, rotation: tuple[Array, Array]) -> Array:
  """Rotate as `rotate` does, with heads before tokens.

  The other channel of each pair comes from a product with a matrix that has one
  1 or -1 in each column, which is exact. On a TPU this is faster than moving
  half a head to other lanes.

  Args:
    x_BHLC: f[B, H, L, C].
    rotation: from `rotations`.
  """
  half, dtype = x_BHLC.shape[-1] // 2, x_BHLC.dtype
  one = np.eye(half)
  other = np.block([[0 * one, one], [-one, 0 * one]])
  other_BHLC = jnp.matmul(
    x_BHLC, jnp.asarray(other, dtype), precision=jax.lax.Precision.HIGHEST
  )
  cos, sin = (
    jnp.concatenate([r, r], axis=-1)[:, None].astype(dtype) for r in rotation
  )
  return x_BHLC * cos + other_BHLC * sin
