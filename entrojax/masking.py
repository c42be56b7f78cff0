"""Compute masked sums and means, and metrics from them.

Objectives take their sums and means over tokens with these functions, which are
safe for values at padding. `mean_metric`, `share_metric` and `scalar_metric`
build a Mean, the total and the count of a metric. The totals and counts of
several updates are added up on the device, and `finalize` divides them once, on
the host. A metric that counts tokens is therefore the mean over all tokens of
the updates, and not a mean of their means.

Shapes: values and mask f32[...], mask 1 = counted. A masked-out value may be
anything, NaN and infinities included: it does not change a result, and its
gradient is exactly 0. A mean over no token is 0. A mask may also hold weights
>= 0.
"""

from collections.abc import Mapping
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np

from entrojax.types import Array, Mean


def clean(values: Array, mask: Array) -> Array:
  """Replace masked-out values by 0; their gradient is exactly 0."""
  chex.assert_equal_shape([values, mask])
  return jnp.where(mask > 0, values, 0.0)


def masked_sum(values: Array, mask: Array, axis: int | None = None) -> Array:
  """Compute sum(values * mask)."""
  return jnp.sum(clean(values, mask) * mask, axis=axis)


def divide(total: Array, count: Array) -> Array:
  """Compute total / count; the result is 0 where the count is 0.

  An empty mini-batch has loss 0 and gradient 0: there is nothing to learn from.
  """
  return jnp.where(count > 0, total / jnp.where(count > 0, count, 1.0), 0.0)


def masked_mean(values: Array, mask: Array, axis: int | None = None) -> Array:
  """Compute sum(values * mask) / sum(mask); it is 0 for an empty mask."""
  return divide(masked_sum(values, mask, axis), jnp.sum(mask, axis=axis))


def mean_metric(values: Array, mask: Array) -> Mean:
  """Build a metric from the sum over the masked tokens and their number."""
  return Mean(total=masked_sum(values, mask), count=jnp.sum(mask))


def share_metric(selected: Array, mask: Array) -> Mean:
  """Build the metric of the share of masked tokens that are `selected`."""
  return mean_metric(selected.astype(jnp.float32), mask)


def scalar_metric(value: Array) -> Mean:
  """Build a metric from one number per update; several updates average."""
  return Mean(total=jnp.asarray(value, jnp.float32), count=jnp.float32(1.0))


def finalize(metrics: Mapping[str, Mean]) -> dict[str, float | list[float]]:
  """Divide sums by counts on the host, after a single transfer.

  Args:
    metrics: name -> Mean. The total may be a number or an array f32[K]; the
      count is a number.

  Returns:
    name -> total / count, a float or a list of floats; NaN where the count is
    0.

  Raises:
    ValueError: a metric has another shape. The message names the metric.
  """
  values: dict[str, float | list[float]] = {}
  for name, mean in jax.device_get(dict(metrics)).items():
    if np.ndim(mean.count) or np.ndim(mean.total) > 1:
      raise ValueError(f"{name} is not a number or a list of numbers")
    count = float(mean.count)
    value = np.asarray(mean.total, np.float64) / (count or math.nan)
    values[name] = value.tolist()
  return values
