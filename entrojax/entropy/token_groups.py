"""Sort the tokens of a batch into groups, to say where a change comes from.

    by_sign      sign of the advantage x probability at or above the median or
                 below it; tokens of advantage 0 are a group of their own
    by_verdict   tokens of right and of wrong responses
    by_entropy   fifths of the tokens' entropy, the lowest first
    by_position  fifths of the response, the first first

Shapes: f32[B, T], rows of response tokens.
"""

from collections.abc import Mapping
import functools

import jax.numpy as jnp

from entrojax.types import Array

# split -> the names of its groups, in the order of the logged lists
SPLITS: Mapping[str, tuple[str, ...]] = {
  "by_sign": (
    "positive_probable",
    "positive_rare",
    "negative_probable",
    "negative_rare",
    "no_advantage",
  ),
  "by_verdict": ("right", "wrong"),
  "by_entropy": tuple(f"fifth_{i}" for i in range(1, 6)),
  "by_position": tuple(f"fifth_{i}" for i in range(1, 6)),
}


def token_groups(
  log_probs: Array,
  entropy: Array,
  advantages: Array,
  right: Array,
  mask: Array,
) -> dict[str, list[Array]]:
  """Compute the groups of each split, in the order of SPLITS.

  Args:
    log_probs: f32[B, T], nats.
    entropy: f32[B, T], nats.
    advantages: f32[B, T].
    right: f32[B], 1 = a right response.
    mask: f32[B, T], 1 = counted.

  Returns:
    split -> masks f32[B, T]. Every counted token is in exactly one group of
    each split.
  """
  (median,) = _edges(log_probs, mask, 2)
  probable = log_probs >= median
  signs = [advantages > 0, advantages < 0]
  by_sign = [sign & p for sign in signs for p in (probable, ~probable)]
  is_right = jnp.broadcast_to(right[:, None] > 0, mask.shape)
  fifth, part = entropy_fifth(entropy, mask), position_fifth(mask)
  groups: dict[str, list[Array]] = {
    "by_sign": [*by_sign, advantages == 0],
    "by_verdict": [is_right, ~is_right],
    "by_entropy": [fifth == i for i in range(5)],
    "by_position": [part == i for i in range(5)],
  }
  return {
    split: [mask * group for group in members]
    for split, members in groups.items()
  }


def entropy_fifth(entropy: Array, mask: Array) -> Array:
  """Compute the fifth of the batch's tokens, i32[B, T], from 0 = lowest."""
  edges = _edges(entropy, mask, 5)
  above = [(entropy >= edge).astype(jnp.int32) for edge in edges]
  return functools.reduce(jnp.add, above)


def position_fifth(mask: Array) -> Array:
  """Compute the fifth of its response, i32[B, T], from 0 = the start.

  Args:
    mask: f32[B, T], 1 = counted; the tokens of a response begin at column 0.
  """
  lengths = jnp.sum(mask, axis=1, keepdims=True)
  at = jnp.broadcast_to(jnp.arange(mask.shape[1])[None], mask.shape)
  return 5 * at // jnp.maximum(lengths, 1).astype(jnp.int32)


def _edges(values: Array, mask: Array, num_parts: int) -> list[Array]:
  """Return the values that begin the second to the last of equal parts.

  Equal values are in the same part, so parts may differ in size.
  """
  ordered = jnp.sort(jnp.where(mask > 0, values, jnp.inf), axis=None)
  count = jnp.sum(mask).astype(jnp.int32)
  return [ordered[-(-count * i // num_parts)] for i in range(1, num_parts)]
