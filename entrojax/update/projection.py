"""Correct optimizer steps that do not change the entropy as wanted.

    H      token-mean entropy of the policy over the mini-batch, nats
    h      the gradient of H with respect to the parameters
    g      the average of h over the updates before this one, see below
    step   the optimizer's finished step: what would be added to the parameters
    D      a positive diagonal: 1 / (sqrt(v_hat) + eps) for Adam, 1 for SGD
    delta  the wanted first-order change of entropy in this update, nats

    step += multiplier D g,  multiplier = (delta - <g, step>) / <g, D g>

The corrected step changes the entropy by delta, to first order, unless
`max_relative_correction` makes the correction smaller. With sided = "raise",
only steps whose change is below delta are corrected, so that a target is a
floor: a step whose change is delta or more is left alone, or is brought down to
`upper` if that is set and exceeded. Of all corrections that reach delta, this
one is the smallest in the norm of D^-1. It is an entropy bonus whose
coefficient is solved for at every update instead of tuned.

**Other tokens.** A step lowers the entropy of the tokens that it was made of
several times as much as the policy's. With h of the same tokens, the
correction would be spent on undoing that. So g comes from other tokens:

    g = sum_j decay^(j - 1) h_j / sum_j decay^(j - 1),  h_j of j updates ago

The first update is not corrected, because there is no g yet. Adam's step holds
gradients of past tokens too, but the share of each of them in g is small. The
average also makes g less noisy. With `every` = k, h is computed in every k-th
update only, and the second backward pass with it.

**Feedback.** Without a target, delta is 0. With one, delta is fed back from the
measured entropy at every update:

    u = gain e + integral_gain I,  e = target - H
    delta = clip(u, -limit, limit)
    I += e - p
    p -= clip(gain p, -limit, limit),  p = e at the last uncorrected update

p is the error that is planned: the one that would be left if every corrected
step had changed the entropy as gain alone asks. So I corrects what the
forecasts miss, and not the way to the target. If it summed e itself, the
entropy would end that way beyond the target, by a quarter of the first error
with the default gains.

I keeps its value if the step could not follow u: if the forecast of the
corrected step is below u and e - p is positive, or above u and e - p negative.
Otherwise the sum would grow for as long as a far target takes.

**Forecast.** The metrics hold two sums since the first update: `total_forecast`
of the changes <g, corrected step>, and `total_change`, H minus the first H.
With one epoch per rollout batch, no update before saw the tokens of H.
"""

from collections.abc import Callable, Mapping
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from entrojax.arguments import (
  is_traced,
  require,
  require_at_least,
  require_in,
  require_one_of,
)
from entrojax.types import Array
from entrojax.update.corrected_step import (
  Correction,
  Precondition,
  correct_step,
  float32,
  inner_product,
)

_ROUNDING = 1e-3  # of a forecast, in units of the limit


class Average(NamedTuple):
  """An exponential average of h over past updates, g = total / weight."""

  total: Any  # a tree as the parameters, f32, (1 - decay) times the sum above
  weight: Array  # f32[], in [0, 1); 0 = there is no h yet


class ProjectionState(NamedTuple):
  """The state of an optimizer whose steps are projected."""

  inner: Any  # the state of the inner optimizer
  num_updates: Array  # i32[], updates taken
  start_entropy: Array  # f32[], nats, the first H above 0; 0 = not yet measured
  planned_error: Array  # f32[], nats, p
  integral: Array  # f32[], nats, I: the sum of past e - p
  average: Average
  total_forecast: Array  # f32[], nats, of the updates before the last one
  total_change: Array  # f32[], nats, H of the last update - start_entropy
  last: Correction


def entropy_projection(
  inner: optax.GradientTransformation,
  *,
  precondition: Precondition,
  target: optax.ScalarOrSchedule | None = None,
  target_fraction: float | None = None,
  gain: float = 0.02,
  integral_gain: float = 3e-4,
  limit: float = 2e-3,
  decay: float = 0.95,
  every: int = 1,
  sided: str = "both",
  upper: float | None = None,
  max_relative_correction: float | None = None,
) -> optax.GradientTransformationExtraArgs:
  """Wrap an optimizer so that every finished step of it is corrected.

  The `update` of the result takes the keywords `entropy`, f32[], nats, and
  `entropy_grad`, a function () -> h, a tree shaped as the parameters. The inner
  optimizer sees only the gradient of the loss, so its moments know nothing of
  corrections. Without a target, delta is 0: the pure projection. No correction
  is made where it has no meaning: <g, D g> = 0 (the first update, a uniform or
  deterministic policy), or H is not finite. An h that is not finite does not
  enter the average.

  Args:
    inner: the optimizer that makes the finished step, learning rate included.
    precondition: multiplies by D, the metric that `inner` descends in.
    target: entropy to hold, nats per token, > 0, or a schedule of it over the
      updates. None: no feedback, delta = 0.
    target_fraction: entropy to hold, as a fraction of the entropy at the first
      update, > 0; used instead of `target`.
    gain: the wanted change of an update per nat of error, >= 0. Without a
      target, neither gain is used.
    integral_gain: the wanted change of an update per nat of I, >= 0.
    limit: the bound of |delta|, nats per update, > 0.
    decay: the weight of h in g from one h to the next, in [0, 1); 0 = the last
      h alone.
    every: h is computed in every k-th update, >= 1.
    sided: 'both' brings every step to delta; 'raise' leaves steps alone that
      raise the entropy by delta or more.
    upper: nats per update, at least `limit`: a step that raises the entropy by
      more is brought down to it. None = unbounded. Only for sided = 'raise'.
    max_relative_correction: the bound of |correction| / |step|, > 0. None =
      unbounded: at Adam's first updates, where D g = g / |gradient|,
      corrections are several steps long, and the longer the smaller g is.

  Raises:
    ValueError: an argument is out of its range, or there are two targets, or a
      target without a gain.
  """
  _check(
    target,
    target_fraction,
    gain,
    integral_gain,
    limit,
    decay,
    every,
    sided,
    upper,
    max_relative_correction,
  )
  inner = optax.with_extra_args_support(inner)

  def error_of(state: ProjectionState, entropy: Array) -> Array:
    if target_fraction is not None:
      return target_fraction * state.start_entropy - entropy
    if target is None:
      return jnp.zeros_like(entropy)
    return (target(state.num_updates) if callable(target) else target) - entropy

  def init(params: Any) -> ProjectionState:
    zero = jnp.zeros((), jnp.float32)
    zeros = jax.tree.map(
      lambda x: jnp.zeros_like(x, jnp.promote_types(x.dtype, jnp.float32)),
      params,
    )
    return ProjectionState(
      inner=inner.init(params),
      num_updates=jnp.zeros((), jnp.int32),
      start_entropy=zero,
      planned_error=zero,
      integral=zero,
      average=Average(zeros, zero),
      total_forecast=zero,
      total_change=zero,
      last=Correction(*[zero] * len(Correction._fields)),
    )

  def update(
    updates, state, params=None, *, entropy, entropy_grad, **extra_args
  ):
    step, inner_state = inner.update(
      updates, state.inner, params, entropy=entropy, **extra_args
    )
    with jax.named_scope("projection"):
      is_finite = jnp.isfinite(entropy)
      starts = (state.start_entropy == 0) & is_finite
      state = state._replace(
        start_entropy=float32(jnp.where(starts, entropy, state.start_entropy))
      )
      error = jnp.where(is_finite, error_of(state, entropy), 0.0)
      request = gain * error + integral_gain * state.integral
      delta = jnp.where(is_finite, jnp.clip(request, -limit, limit), jnp.nan)
      largest = (
        delta
        if sided == "both"
        else float32(math.inf if upper is None else upper)
      )
      gradient = _read(state.average)
      step, last = correct_step(
        step,
        gradient,
        precondition(inner_state, gradient),
        delta,
        largest,
        max_relative_correction=max_relative_correction,
      )
      planned_error, integral = _compare_with_plan(
        state, error, request - last.predicted_change, gain, limit
      )
      change = jnp.where(
        is_finite, entropy - state.start_entropy, state.total_change
      )
      return step, ProjectionState(
        inner=inner_state,
        num_updates=optax.safe_increment(state.num_updates),
        start_entropy=state.start_entropy,
        planned_error=float32(
          jnp.where(is_finite, planned_error, state.planned_error)
        ),
        integral=float32(jnp.where(is_finite, integral, state.integral)),
        average=_extend(
          state.average,
          entropy_grad,
          decay,
          True if every == 1 else state.num_updates % every == 0,
        ),
        total_forecast=float32(
          state.total_forecast + state.last.predicted_change
        ),
        total_change=float32(change),
        last=last,
      )

  return optax.GradientTransformationExtraArgs(init, update)


def _compare_with_plan(
  state: ProjectionState,
  error: Array,
  missing: Array,
  gain: float,
  limit: float,
) -> tuple[Array, Array]:
  """Return p and I after this update.

  Args:
    state: the state before it.
    error: f32[], nats, e.
    missing: f32[], nats, u minus the forecast of the corrected step.
    gain: see `entropy_projection`. With 0, nothing is planned: p is 0.
    limit: see `entropy_projection`.
  """
  has_plan = state.average.weight > 0  # there is a gradient to correct with
  planned = jnp.where(
    has_plan, state.planned_error, jnp.where(gain > 0, error, 0.0)
  )
  share = jnp.where(has_plan, jnp.clip(gain * planned, -limit, limit), 0.0)
  surprise = error - planned
  could_not_follow = (jnp.abs(missing) > _ROUNDING * limit) & (
    missing * surprise > 0
  )
  integral = state.integral + jnp.where(could_not_follow, 0.0, surprise)
  return planned - share, integral


def _read(average: Average) -> Any:
  """Return g, zeros if there is no h yet."""
  scale = 1 / jnp.where(average.weight > 0, average.weight, 1.0)
  return jax.tree.map(lambda total: scale * total, average.total)


def _extend(
  average: Average,
  gradient: Callable[[], Any],
  decay: float,
  is_due: Array | bool,
) -> Average:
  """Add h to the average if it is due and finite.

  Args:
    average: the average over the updates before.
    gradient: () -> h. It is called where h is due.
    decay: see `entropy_projection`.
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


def projection_metrics(opt_state: Any) -> Mapping[str, Array]:
  """Read the last correction and the totals before it, as projection/NAME.

  Raises:
    ValueError: the optimizer has no entropy_projection in it.
  """
  state = optax.tree_utils.tree_get(opt_state, "ProjectionState")
  if state is None:
    raise ValueError("the optimizer has no entropy_projection in it")
  totals = {
    "total_forecast": state.total_forecast,
    "total_change": state.total_change,
  }
  return {
    f"projection/{name}": value
    for name, value in {**state.last._asdict(), **totals}.items()
  }


def _check(
  target: optax.ScalarOrSchedule | None,
  target_fraction: float | None,
  gain: float,
  integral_gain: float,
  limit: float,
  decay: float,
  every: int,
  sided: str,
  upper: float | None,
  max_relative_correction: float | None,
) -> None:
  """Raise ValueError if an argument of entropy_projection cannot work."""
  positive = {
    "target": None if callable(target) else target,
    "target_fraction": target_fraction,
    "limit": limit,
    "upper": upper,
    "max_relative_correction": max_relative_correction,
  }
  for name, value in positive.items():
    if value is not None:
      require_in(f"projection.{name}", value, "(0, inf)")
  require_in("projection.gain", gain, "[0, inf)")
  require_in("projection.integral_gain", integral_gain, "[0, inf)")
  require_in("projection.decay", decay, "[0, 1)")
  require_at_least("projection.every", every, 1)
  require_one_of("projection.sided", sided, ("raise", "both"))
  if upper is not None:
    require(
      False if sided == "both" else upper >= limit,
      f"projection.upper = {upper} bounds steps that sided = 'raise' leaves "
      f"alone, and must be at least limit = {limit}: got sided = {sided!r}",
    )
  if target is not None and target_fraction is not None:
    raise ValueError(
      f"projection.target = {target} and projection.target_fraction = "
      f"{target_fraction} are both set: set only the one to be held"
    )
  has_target = target is not None or target_fraction is not None
  if not is_traced(gain, integral_gain) and has_target:
    require(
      gain > 0 or integral_gain > 0,
      f"projection.gain = {gain} and projection.integral_gain = "
      f"{integral_gain}: nothing would feed back the error from "
      f"projection.target = {target} or projection.target_fraction = "
      f"{target_fraction}",
    )
