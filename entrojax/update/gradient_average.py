"""An exponential average of past gradients of the entropy.

    g = sum_j decay^(j - 1) h_j / sum_j decay^(j - 1),  h_j of j updates ago

projection.py says why the projection needs it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from entrojax.types import Array
from entrojax.update.corrected_step import inner_product


class Average(NamedTuple):
  """An exponential average of h over past updates, g = total / weight."""

  total: Any  # a tree as the parameters, f32, (1 - decay) times the sum above
  weight: Array  # f32[], in [0, 1); 0 = there is no h yet


def empty_average(params: Any) -> Average:
  """Return the average over no update."""
  zeros = jax.tree.map(
    lambda x: jnp.zeros_like(x, jnp.promote_types(x.dtype, jnp.float32)),
    params,
  )
  return Average(zeros, jnp.zeros((), jnp.float32))


def read_average(average: Average) -> Any:
  """Return g, zeros if there is no h yet."""
  scale = 1 / jnp.where(average.weight > 0, average.weight, 1.0)
  return jax.tree.map(lambda total: scale * total, average.total)


def extend_average(
  average: Average,
  gradient: Callable[[], Any],
  decay: float,
  is_due: Array | bool,
) -> Average:
  """Add h to the average if it is due and finite.

  Args:
    average: the average over the updates before.
    gradient: () -> h. It is called where h is due.
    decay: the weight of an h from one h to the next, in [0, 1).
    is_due: bool[], or True if h is due in all updates.
  """

  def add(average: Average) -> Average:
    h = gradient()
    is_finite = jnp.isfinite(inner_product(h, h))
    keep = lambda new, old: jnp.where(is_finite, new, old).astype(old.dtype)
    return Average(
      jax.tree.map(
        lambda total, x: keep(decay * total + (1 - decay) * x, total),
        average.total,
        h,
      ),
      keep(decay * average.weight + (1 - decay), average.weight),
    )

  if is_due is True:
    return add(average)
  return jax.lax.cond(is_due, add, lambda average: average, average)
