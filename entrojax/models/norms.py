"""RMSNorm (arXiv 1910.07467), as layers have it."""

from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp

from entrojax.models.sizes import DecoderConfig
from entrojax.types import Array


class CentredNorm(nnx.Module):
  """RMSNorm whose scale is stored as its distance from 1, in float32."""

  def __init__(self, width: int, epsilon: float, dtype: Any):
    self.epsilon, self.dtype = epsilon, dtype
    self.scale = nnx.Param(jnp.zeros(width))

  def __call__(self, x):
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    square = jnp.mean(wide * wide, axis=-1, keepdims=True)
    scale = 1 + self.scale.get_value().astype(wide.dtype)
    normed = wide * jax.lax.rsqrt(square + self.epsilon)
    return (normed * jnp.expand_dims(scale, range(x.ndim - 1))).astype(
      self.dtype
    )


def make_norm(width: int, config: DecoderConfig, dtype: Any, rngs: nnx.Rngs):
  """Makes the norm that a decoder of these sizes has."""
  if config.gemma3:
    return CentredNorm(width, config.rms_norm_eps, dtype)
  return nnx.RMSNorm(width, epsilon=config.rms_norm_eps, dtype=dtype, rngs=rngs)


def no_norm(width: int, config: DecoderConfig, dtype: Any, rngs: nnx.Rngs):
  """Makes what stands where others have a norm."""
  del width, config, dtype, rngs
  return _unchanged


def _unchanged(x: Array) -> Array:
  return x
