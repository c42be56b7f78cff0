"""Rotary position embedding (RoPE, arXiv 2104.09864).

Channels i and i + C / 2 of a head of width C form a pair. At position p it is
rotated by the angle p f_i, with f_i = theta^(-2 i / C) radians per token. The
frequencies f are computed in float64 when a model is built, and are float32
constants of its graph. A checkpoint may lower some of them: `Llama3Scaling` is
the only rule for this that is supported.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from entrojax.arguments import require_at_least
from entrojax.types import Array


@dataclasses.dataclass(frozen=True)
class Llama3Scaling:
  """The stretched rotation of Llama 3.1; field names as in config.json.

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


def frequencies(
  head_dim: int, theta: float, scaling: Llama3Scaling | None = None
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
    turns = scaling.original_max_position_embeddings * plain / (2 * np.pi)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    kept = np.clip((turns - low) / (high - low), 0, 1)
    plain = kept * plain + (1 - kept) * plain / scaling.factor
  return plain.astype(np.float32)


def rotations(positions: Array, radians: Array) -> tuple[Array, Array]:
  """Compute the rotation of each token, as cosines and sines.

  Args:
    positions: i32[B, L]; padding, -1, is rotated as position 0.
    radians: f32[C / 2], from `frequencies`.

  Returns:
    (cosines f32[B, L, C / 2], sines f32[B, L, C / 2]).
  """
  angles = jnp.maximum(positions, 0)[..., None] * radians[None, None]
  return jnp.cos(angles), jnp.sin(angles)


def rotate(x_BLHC: Array, rotation: tuple[Array, Array]) -> Array:
  """Rotate the pairs of channels of every head of f[B, L, H, C]."""
  cos, sin = (r[:, :, None].astype(x_BLHC.dtype) for r in rotation)
  first, second = jnp.split(x_BLHC, 2, axis=-1)
  return jnp.concatenate(
    [first * cos - second * sin, second * cos + first * sin], axis=-1
  )
