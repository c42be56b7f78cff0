"""Reductions over masked tokens: the only place where a mask meets a sum.

Shapes: values and mask f32[...], mask 1 = counted. A masked-out value may be
anything, NaN and infinities included; it never reaches a result or a gradient.
"""

import chex
import jax.numpy as jnp

from entrojax.types import Array, Mean


def clean(values: Array, mask: Array) -> Array:
  """Replaces masked-out values by 0; their gradient is exactly 0."""
  chex.assert_equal_shape([values, mask])
  return jnp.where(mask > 0, values, 0.0)


def masked_sum(values: Array, mask: Array, axis: int | None = None) -> Array:
  """Returns sum(values * mask)."""
  return jnp.sum(clean(values, mask) * mask, axis=axis)


def divide(total: Array, count: Array) -> Array:
  """Returns total / count, and 0 where there is nothing to count.

  An empty mini-batch has loss 0 and gradient 0: nothing to learn from.
  """
  return jnp.where(count > 0, total / jnp.where(count > 0, count, 1.0), 0.0)


def masked_mean(values: Array, mask: Array, axis: int | None = None) -> Array:
  """Returns sum(values * mask) / sum(mask), 0 for an empty mask."""
  return divide(masked_sum(values, mask, axis), jnp.sum(mask, axis=axis))


def mean_metric(values: Array, mask: Array) -> Mean:
  """Returns a metric as the sum over the masked tokens and their count."""
  return Mean(total=masked_sum(values, mask), count=jnp.sum(mask))


def share_metric(selected: Array, mask: Array) -> Mean:
  """Returns the share of masked tokens for which `selected` is true."""
  return mean_metric(selected.astype(jnp.float32), mask)


def scalar_metric(value: Array) -> Mean:
  """Returns one number per update as a metric; updates average."""
  return Mean(total=jnp.asarray(value, jnp.float32), count=jnp.float32(1.0))
