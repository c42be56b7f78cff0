"""Rotary position embedding: pairs of channels turn with the position.

Channels i and i + C / 2 of a head of width C turn by position * f_i, with
f_i = theta^(-2 i / C) (arXiv 2104.09864). The frequencies are plain numbers,
made once in float64 when a model is built; how a checkpoint stretches them is
known here alone.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from entrojax.types import Array


@dataclasses.dataclass(frozen=True)
class Llama3Scaling:
  """Slows long waves, as Llama 3.1 does; names as in config.json.

  Waves longer than original_max_position_embeddings / low_freq_factor turn
  `factor` times slower, those shorter than original_max_position_embeddings /
  high_freq_factor as ever, and between the two it is interpolated linearly in
  the number of turns within the original length (arXiv 2407.21783).
  """

  factor: float
  low_freq_factor: float
  high_freq_factor: float
  original_max_position_embeddings: int  # tokens

  def __post_init__(self):
    if self.factor < 1:
      raise ValueError(f"factor must be at least 1, got {self.factor}")
    if not 0 < self.low_freq_factor < self.high_freq_factor:
      raise ValueError(
        f"low_freq_factor = {self.low_freq_factor} must lie between 0 and "
        f"high_freq_factor = {self.high_freq_factor}"
      )
    if self.original_max_position_embeddings < 1:
      raise ValueError(
        "original_max_position_embeddings must be at least 1, got "
        f"{self.original_max_position_embeddings}"
      )


def frequencies(
  head_dim: int, theta: float, scaling: Llama3Scaling | None = None
) -> np.ndarray:
  """Returns radians per position, f32[head_dim / 2]."""
  plain = np.float64(theta) ** (-np.arange(0, head_dim, 2) / head_dim)
  if scaling is not None:
    turns = scaling.original_max_position_embeddings * plain / (2 * np.pi)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    kept = np.clip((turns - low) / (high - low), 0, 1)
    plain = kept * plain + (1 - kept) * plain / scaling.factor
  return plain.astype(np.float32)


def rotations(positions: Array, radians: Array) -> tuple[Array, Array]:
  """Returns cosines and sines f32[B, L, C / 2] at positions i32[B, L]."""
  angles = jnp.maximum(positions, 0)[..., None] * radians[None, None]
  return jnp.cos(angles), jnp.sin(angles)


def rotate(x_BLHC: Array, rotation: tuple[Array, Array]) -> Array:
  """Returns the heads, turned."""
  cos, sin = (r[:, :, None].astype(x_BLHC.dtype) for r in rotation)
  first, second = jnp.split(x_BLHC, 2, axis=-1)
  return jnp.concatenate(
    [first * cos - second * sin, second * cos + first * sin], axis=-1
  )
