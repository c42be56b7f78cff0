"""Which tokens of a mini-batch a method touches: k best, k drawn, a quantile.

Scores and masks are f32[B, T]; a selection is f32[B, T], 1 = selected, and a
constant. The number k may be an array: ranks need no static k, and ties go to
the lower index.
"""

import chex
import jax
import jax.numpy as jnp

from entrojax.types import Array

# float32 rounds fraction * count by less: 0.2 * 15 is 3, not 3.0000002
_ROUNDING = 3e-7


def floor_share(fraction: float, count: Array) -> Array:
  """Returns max(1, floor(fraction * count)), and 0 for a fraction of 0."""
  k = jnp.floor(fraction * count * (1 + _ROUNDING))
  return jnp.maximum(k, 1.0) if fraction > 0 else jnp.zeros_like(k)


def ceil_share(fraction: float, count: Array) -> Array:
  """Returns ceil(fraction * count), at most count."""
  k = jnp.ceil(fraction * count * (1 - _ROUNDING))
  return jnp.minimum(k, count)


def highest(scores: Array, candidates: Array, k: Array) -> Array:
  """Selects the min(k, number of candidates) candidates of highest score."""
  chex.assert_equal_shape([scores, candidates])
  scores = jnp.where(candidates > 0, jax.lax.stop_gradient(scores), -jnp.inf)
  order = jnp.argsort(-scores.ravel(), stable=True)
  rank = jnp.argsort(order, stable=True).reshape(scores.shape)
  return ((rank < k) & (candidates > 0)).astype(jnp.float32)


def random_subset(key: Array, candidates: Array, k: Array) -> Array:
  """Selects min(k, number of candidates) candidates, all sets as likely.

  Args:
    key: consumed.
    candidates: f32[B, T], 1 = may be selected.
    k: f32[].
  """
  return highest(jax.random.uniform(key, candidates.shape), candidates, k)


def above_quantile(scores: Array, mask: Array, share: float) -> Array:
  """Selects the tokens whose score is at least the quantile of 1 - share.

  The quantile is interpolated linearly; ties with it are all selected.
  """
  chex.assert_equal_shape([scores, mask])
  scores = jax.lax.stop_gradient(scores)
  ordered = jnp.sort(jnp.where(mask > 0, scores, jnp.inf).ravel())
  last = jnp.maximum(jnp.sum(mask) - 1, 0)
  place = (1 - share) * last
  nearest = jnp.round(place)
  place = jnp.where(
    jnp.abs(place - nearest) <= _ROUNDING * last, nearest, place
  )
  below = ordered[jnp.floor(place).astype(jnp.int32)]
  above = ordered[jnp.ceil(place).astype(jnp.int32)]
  part = place - jnp.floor(place)
  # one place: no difference to take, which may be inf - inf
  between = jnp.where(part > 0, above - below, 0.0)
  return ((scores >= below + part * between) & (mask > 0)).astype(jnp.float32)
