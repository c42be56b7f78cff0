"""Surrogate losses of single tokens, and the ratio they share.

Plain arrays in, losses to minimise out; all f32[B, T] unless said. Gradients
flow through log_probs (and the ratio made of them) alone.
"""

import jax.numpy as jnp

from entrojax.types import Array

_MAX_LOG_RATIO = 20.0  # exp(20) is finite in float32 with room for sums


def probability_ratio(log_probs: Array, old_log_probs: Array) -> Array:
  """Returns r = pi / pi_old, its logarithm clipped to +-20."""
  log_ratio = log_probs - old_log_probs
  return jnp.exp(jnp.clip(log_ratio, -_MAX_LOG_RATIO, _MAX_LOG_RATIO))


def reinforce_loss(log_probs: Array, advantages: Array) -> Array:
  """Returns -A log pi (Williams, 1992)."""
  return -advantages * log_probs


def unclipped_loss(ratio: Array, advantages: Array) -> Array:
  """Returns -A r, PPO's surrogate before clipping."""
  return -advantages * ratio


def clipped_loss(
  ratio: Array, advantages: Array, *, clip_low: float, clip_high: float
) -> Array:
  """Returns -A clip(r, 1 - clip_low, 1 + clip_high).

  PPO (arXiv 1707.06347, eq. 7) with DAPO's decoupled range (Clip-Higher,
  arXiv 2503.14476, eq. 10).
  """
  return -advantages * jnp.clip(ratio, 1.0 - clip_low, 1.0 + clip_high)
