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

from collections.abc import Mapping
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
)
from entrojax.update.gradient_average import (
  Average,
  empty_average,
  extend_average,
  read_average,
)

_ROUNDING = 1e-3  # of a forecast, in units of the limit


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
  feedback = _Feedback(target, target_fraction, gain, integral_gain, limit)

  def init(params: Any) -> ProjectionState:
    zero = jnp.zeros((), jnp.float32)
    return ProjectionState(
      inner=inner.init(params),
      num_updates=jnp.zeros((), jnp.int32),
      start_entropy=zero,
      planned_error=zero,
      integral=zero,
      average=empty_average(params),
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
      state = _note_start(state, entropy)
      error, request = feedback.request(state, entropy)
      delta = jnp.where(
        jnp.isfinite(entropy), jnp.clip(request, -limit, limit), jnp.nan
      )
      highest = float32(math.inf if upper is None else upper)
      gradient = read_average(state.average)
      step, last = correct_step(
        step,
        gradient,
        precondition(inner_state, gradient),
        delta,
        delta if sided == "both" else highest,
        max_relative_correction=max_relative_correction,
      )
      missing = request - last.predicted_change
      is_due = True if every == 1 else state.num_updates % every == 0
      state = feedback.learn(state, entropy, error, missing)
      return step, state._replace(
        inner=inner_state,
        num_updates=optax.safe_increment(state.num_updates),
        average=extend_average(state.average, entropy_grad, decay, is_due),
        total_forecast=float32(
          state.total_forecast + state.last.predicted_change
        ),
        last=last,
      )

  return optax.GradientTransformationExtraArgs(init, update)


def _note_start(state: ProjectionState, entropy: Array) -> ProjectionState:
  """Note the first finite entropy, and how far this one is from it."""
  is_finite = jnp.isfinite(entropy)
  starts = (state.start_entropy == 0) & is_finite
  start = float32(jnp.where(starts, entropy, state.start_entropy))
  change = jnp.where(is_finite, entropy - start, state.total_change)
  return state._replace(start_entropy=start, total_change=float32(change))


class _Feedback(NamedTuple):
  """Asks for changes of the entropy that bring it to a target.

  The fields are arguments of `entropy_projection`.
  """

  target: optax.ScalarOrSchedule | None
  target_fraction: float | None
  gain: float
  integral_gain: float
  limit: float

  def request(
    self, state: ProjectionState, entropy: Array
  ) -> tuple[Array, Array]:
    """Return e and u, both f32[], nats; e is 0 if the entropy is not finite."""
    error = jnp.where(jnp.isfinite(entropy), self._error(state, entropy), 0.0)
    return error, self.gain * error + self.integral_gain * state.integral

  def _error(self, state: ProjectionState, entropy: Array) -> Array:
    """Return e, 0 without a target."""
    if self.target_fraction is not None:
      return self.target_fraction * state.start_entropy - entropy
    if self.target is None:
      return jnp.zeros_like(entropy)
    target = self.target
    return (target(state.num_updates) if callable(target) else target) - entropy

  def learn(
    self, state: ProjectionState, entropy: Array, error: Array, missing: Array
  ) -> ProjectionState:
    """Return the state with p and I after this update.

    Args:
      state: the state before it.
      entropy: f32[], nats, H. If it is not finite, p and I stay.
      error: f32[], nats, e.
      missing: f32[], nats, u minus the forecast of the corrected step.
    """
    has_plan = state.average.weight > 0  # there is a gradient to correct with
    # without a gain, nothing is planned
    planned = jnp.where(
      has_plan, state.planned_error, jnp.where(self.gain > 0, error, 0.0)
    )
    share = jnp.clip(self.gain * planned, -self.limit, self.limit)
    surprise = error - planned
    could_not_follow = (jnp.abs(missing) > _ROUNDING * self.limit) & (
      missing * surprise > 0
    )
    integral = state.integral + jnp.where(could_not_follow, 0.0, surprise)
    keep = lambda new, old: float32(jnp.where(jnp.isfinite(entropy), new, old))
    return state._replace(
      planned_error=keep(
        planned - jnp.where(has_plan, share, 0.0), state.planned_error
      ),
      integral=keep(integral, state.integral),
    )


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
