"""Select tokens of a mini-batch: the k highest, k at random, or a quantile.

Scores and masks are f32[B, T]. A selection is f32[B, T], 1 = selected, and a
constant. The number k, f32[], may be computed from the mini-batch, for which
there are `floor_share` and `ceil_share`: tokens are selected by rank, so k need
not be static. If there are fewer than k candidates, all are selected. Of equal
scores, `highest` ranks the one at the lower index higher, and `above_quantile`
selects all or none.
"""

import chex
import jax
import jax.numpy as jnp

from entrojax.arguments import is_traced
from entrojax.types import Array

# Above the float32 rounding of fraction * count: 0.2 * 15 is 3, not 3.0000002.
_ROUNDING = 3e-7
# Of many tokens, the rounding may be more than this, but a whole token is not.
_MOST = 0.1  # tokens


def _slack(share: Array) -> Array:
  """Return by how much a share that should be whole may differ from it."""
  return jnp.minimum(share * _ROUNDING, _MOST)


def floor_share(fraction: float, count: Array) -> Array:
  """Compute max(1, floor(fraction * count)), or 0 if the fraction is 0."""
  share = fraction * count
  k = jnp.floor(share + _slack(share))
  if is_traced(fraction):
    return jnp.where(fraction > 0, jnp.maximum(k, 1.0), 0.0)
  return jnp.maximum(k, 1.0) if fraction > 0 else jnp.zeros_like(k)


def ceil_share(fraction: float, count: Array) -> Array:
  """Compute ceil(fraction * count), at most count."""
  share = fraction * count
  return jnp.minimum(jnp.ceil(share - _slack(share)), count)


def highest(scores: Array, candidates: Array, k: Array) -> Array:
  """Select the min(k, number of candidates) candidates of highest score.

  Args:
    scores: f32[B, T].
    candidates: f32[B, T], 1 = may be selected.
    k: f32[].
  """
  chex.assert_equal_shape([scores, candidates])
  scores = jnp.where(candidates > 0, jax.lax.stop_gradient(scores), -jnp.inf)
  order = jnp.argsort(-scores.ravel(), stable=True)
  rank = jnp.argsort(order, stable=True).reshape(scores.shape)
  return ((rank < k) & (candidates > 0)).astype(jnp.float32)


def random_subset(key: Array, candidates: Array, k: Array) -> Array:
  """Select min(k, number of candidates) candidates, all sets equally likely.

  Args:
    key: consumed.
    candidates: f32[B, T], 1 = may be selected.
    k: f32[].
  """
  return highest(jax.random.uniform(key, candidates.shape), candidates, k)


def above_quantile(scores: Array, mask: Array, share: float) -> Array:
  """Select the tokens whose score is at least the quantile of 1 - share.

  The quantile is interpolated linearly. All scores equal to it are selected.

  Args:
    scores: f32[B, T].
    mask: f32[B, T], 1 = counted.
    share: about this share of the counted tokens is selected, in [0, 1].
  """
  chex.assert_equal_shape([scores, mask])
  scores = jax.lax.stop_gradient(scores)
  ordered = jnp.sort(jnp.where(mask > 0, scores, jnp.inf).ravel())
  last = jnp.maximum(jnp.sum(mask) - 1, 0)
  position = (1 - share) * last
  nearest = jnp.round(position)
  position = jnp.where(
    jnp.abs(position - nearest) <= _ROUNDING * last, nearest, position
  )
  below = ordered[jnp.floor(position).astype(jnp.int32)]
  above = ordered[jnp.ceil(position).astype(jnp.int32)]
  part = position - jnp.floor(position)
  # At a whole position there is nothing to add: above - below may be inf - inf.
  between = jnp.where(part > 0, above - below, 0.0)
  return ((scores >= below + part * between) & (mask > 0)).astype(jnp.float32)
