"""Advantages of responses from the rewards of their group.

Each rule takes rewards f32[Q, G] and returns advantages f32[Q, G]; every token
of a response gets its response's. A group whose rewards are all equal carries
no signal and gets exactly 0: float rounding would otherwise leave a residue
that the division by a tiny deviation blows up.
"""

import chex
import jax.numpy as jnp

from entrojax.types import Array

_EQUAL = 1e-6  # rewards closer than this are equal


def grpo(rewards: Array) -> Array:
  """Returns (R - mean) / (std + 1e-6), std over the group with ddof 1.

  GRPO (DeepSeekMath, arXiv 2402.03300, sec. 4.1.2), as in verl.
  """
  centred = dr_grpo(rewards)
  deviation = jnp.std(rewards, axis=1, ddof=1, keepdims=True)
  return centred / (deviation + 1e-6)


def dr_grpo(rewards: Array) -> Array:
  """Returns R - mean: Dr.GRPO (arXiv 2503.20783, sec. 3.2)."""
  _check_group(rewards)
  centred = rewards - jnp.mean(rewards, axis=1, keepdims=True)
  spread = jnp.max(rewards, axis=1) - jnp.min(rewards, axis=1)
  return jnp.where((spread < _EQUAL)[:, None], 0.0, centred)


def rloo(rewards: Array) -> Array:
  """Returns R minus the mean of the others: RLOO (arXiv 2402.14740, eq. 8).

  Equals G / (G - 1) * (R - mean).
  """
  group_size = rewards.shape[1]
  return dr_grpo(rewards) * (group_size / (group_size - 1))


def _check_group(rewards: Array) -> None:
  chex.assert_rank(rewards, 2)
  if rewards.shape[1] < 2:
    raise ValueError(
      "a group of 1 response has no baseline: group_size must be at least 2"
    )
