"""The smallest correction of a step that changes the entropy as wanted.

    step += multiplier D g,  multiplier = (delta - <g, step>) / <g, D g>

projection.py has the letters, and decides which change is wanted.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from entrojax.types import Array

# (state of the inner optimizer after its step, g) -> D g
Precondition = Callable[[Any, Any], Any]


class Correction(NamedTuple):
  """What the last update did to its step; all f32[], changes in nats."""

  wanted_change: Array  # delta
  uncorrected_change: Array  # <g, step>
  predicted_change: Array  # <g, corrected step>
  multiplier: Array  # of D g; 0 = the step was left alone
  relative_correction: Array  # |multiplier D g| / |step|
  touched: Array  # 1 = the step was corrected, 0 = it was left alone


def identity_preconditioner(inner_state: Any, gradient: Any) -> Any:
  """Return D g for D = 1, the metric of plain gradient descent."""
  del inner_state
  return gradient


def adam_preconditioner(*, b2: float, eps: float) -> Precondition:
  """Build the function that multiplies by Adam's D = 1 / (sqrt(v_hat) + eps).

  v_hat is the second moment after this update's gradient, with the bias
  corrected.

  Deviation: D = 0 where v_hat is 0. A parameter that the loss has not moved yet
  has no scale; 1 / eps would send all of the correction there.

  Args:
    b2: Adam's decay of the second moment.
    eps: Adam's eps, which is added to the root of the second moment.
  """

  def precondition(inner_state: Any, gradient: Any) -> Any:
    adam = optax.tree_utils.tree_get(inner_state, "ScaleByAdamState")
    if adam is None:
      raise ValueError(
        "adam_preconditioner needs an inner optimizer with Adam's moments, got "
        f"{jax.tree.structure(inner_state)}"
      )
    v_hat = optax.tree_utils.tree_bias_correction(adam.nu, b2, adam.count)
    return jax.tree.map(
      lambda h, v: jnp.where(v > 0, h / (jnp.sqrt(v) + eps), 0.0),
      gradient,
      v_hat,
    )

  return precondition


def correct_step(
  step: Any,
  gradient: Any,
  direction: Any,
  delta: Array,
  largest: Array,
  *,
  max_relative_correction: float | None,
) -> tuple[Any, Correction]:
  """Correct a step so that it changes the entropy by delta, to first order.

  Inner products are sums over all leaves, in float32 or wider. A step that is
  left alone stays the same bit by bit.

  Args:
    step: a tree of arrays, the optimizer's finished step.
    gradient: g, a tree of the same shapes.
    direction: D g, a tree of the same shapes.
    delta: f32[], nats, the smallest change that is left alone; NaN = leave any
      step alone.
    largest: f32[], nats, at least delta, the largest change that is left alone.
    max_relative_correction: see `entropy_projection`.

  Returns:
    The step, corrected or not, and what was done to it.
  """
  change = inner_product(gradient, step)
  curvature = inner_product(gradient, direction)
  # Written so that no comparison with NaN leads to a correction.
  is_outside = (change < delta) | ((change > largest) & (delta <= largest))
  goal = jnp.where(change < delta, delta, largest)
  multiplier = (goal - change) / jnp.where(curvature > 0, curvature, 1.0)
  step_norm = jnp.sqrt(inner_product(step, step))
  norm = jnp.abs(multiplier) * jnp.sqrt(inner_product(direction, direction))
  if max_relative_correction is not None:
    bound = max_relative_correction * step_norm
    shrink = jnp.where(norm > bound, bound / norm, 1.0)
    multiplier, norm = shrink * multiplier, shrink * norm
  touched = (
    is_outside & (curvature > 0) & jnp.isfinite(multiplier) & (multiplier != 0)
  )
  multiplier = jnp.where(touched, multiplier, 0.0)

  def add(leaf: Array, towards: Array) -> Array:
    moved = (leaf + multiplier * towards).astype(leaf.dtype)
    return jnp.where(touched, moved, leaf)

  last = Correction(
    wanted_change=jnp.nan_to_num(delta),
    uncorrected_change=change,
    predicted_change=jnp.where(
      touched, change + multiplier * curvature, change
    ),
    multiplier=multiplier,
    relative_correction=jnp.where(touched, norm / step_norm, 0.0),
    touched=touched,
  )
  return jax.tree.map(add, step, direction), Correction(*map(float32, last))


def inner_product(a: Any, b: Any) -> Array:
  """Compute <a, b>, the sum over all leaves, in float32 or wider."""

  def of_leaves(x: Array, y: Array) -> Array:
    dtype = jnp.promote_types(jnp.result_type(x, y), jnp.float32)
    return jnp.sum(x.astype(dtype) * y.astype(dtype))

  return jnp.asarray(sum(jax.tree.leaves(jax.tree.map(of_leaves, a, b))))


def float32(value: Array) -> Array:
  return jnp.asarray(value, jnp.float32)
