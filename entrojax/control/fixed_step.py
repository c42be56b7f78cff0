"""Controllers that move by a fixed step after each update, within bounds.

    c <- clip(c + step, low, high)  or  clip(c - step, low, high)

Which of the two depends on the side of the target on which the entropy of the
mini-batch lies; the next update uses the result, the first one the initial
value. An entropy that is no number (no token, a failed step) moves nothing.

Deviation: the entropy is exact, of the whole distribution, and one state serves
the mini-batch over all devices; it is part of the checkpoint. It moves once per
optimizer update, where the papers move it once per rollout batch: with several
updates per rollout, divide `step` by their number to keep the papers' pace.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from entrojax.types import Array, Controller


class StepState(NamedTuple):
  coefficient: Array  # f32[]


class GatedState(NamedTuple):
  coefficient: Array  # f32[]
  low: Array  # f32[], 1 = entropy was below the target at the last update


def adaptive_coefficient(
  *,
  target: float,
  step: float = 1e-4,
  max_coefficient: float = 5e-3,
  initial: float = 0.0,
) -> Controller:
  """Makes the coefficient of an entropy bonus that grows while entropy is low.

      c <- clip(c + step if H < target else c - step, 0, max_coefficient)

  and 0 is fed back while H was not below the target at the last update.
  Skywork-OR1, arXiv 2505.22312, and its released code. It drives
  objectives.adaptive_entropy.

  Deviation: the released code estimates H by the mean of -log pi_old.

  Args:
    target: the entropy below which there is a bonus, nats per token, > 0.
    step: loss per nat, > 0.
    max_coefficient: loss per nat, > 0.
    initial: fed back at the first update, loss per nat.
  """
  _check("adaptive_coefficient", target, step)
  if not max_coefficient > 0:
    raise ValueError(
      "adaptive_coefficient.max_coefficient must be above 0, got "
      f"{max_coefficient}"
    )
  _check_initial("adaptive_coefficient", initial, 0, max_coefficient)

  def advance(state: GatedState, entropy: Array) -> GatedState:
    low = entropy < target
    moved = state.coefficient + jnp.where(low, step, -step)
    return GatedState(jnp.clip(moved, 0.0, max_coefficient), low)

  return _controller(
    lambda: GatedState(jnp.float32(initial), low=jnp.float32(1.0)),
    advance,
    lambda state: state.coefficient * state.low,
    target,
  )


def entropy_guided(
  *, target: float, step: float = 0.05, initial: float = 0.0
) -> Controller:
  """Makes the weight of positive advantages that falls while entropy is low.

      c <- clip(c - step if H < target else c + step, 0, 1)

  arXiv 2511.05993, its entropy-guided schedule. It drives
  objectives.positive_reweighting.

  Args:
    target: the entropy to stay at, nats per token, > 0; 0.2 in the paper.
    step: > 0.
    initial: fed back at the first update, in [0, 1].
  """
  _check("entropy_guided", target, step)
  _check_initial("entropy_guided", initial, 0, 1)

  def advance(state: StepState, entropy: Array) -> StepState:
    moved = state.coefficient + jnp.where(entropy < target, -step, step)
    return StepState(jnp.clip(moved, 0.0, 1.0))

  return _controller(
    lambda: StepState(jnp.float32(initial)),
    advance,
    lambda state: state.coefficient,
    target,
  )


def stare_weights(
  *,
  target: float,
  step: float = 0.01,
  max_weight: float = 1.5,
  initial: float = 1.1,
) -> Controller:
  """Makes STARE's weight of rare tokens, which grows while entropy is low.

      c <- clip(c + step sign(target - H), 1, max_weight)

  arXiv 2606.19236 and its released code. It drives objectives.adaptive_stare.

  Args:
    target: the entropy to stay at, nats per token, > 0; 0.3 in the paper.
    step: > 0.
    max_weight: > 1.
    initial: fed back at the first update, in [1, max_weight].
  """
  _check("stare_weights", target, step)
  if not max_weight > 1:
    raise ValueError(
      f"stare_weights.max_weight must be above 1, got {max_weight}"
    )
  _check_initial("stare_weights", initial, 1, max_weight)

  def advance(state: StepState, entropy: Array) -> StepState:
    moved = state.coefficient + step * jnp.sign(target - entropy)
    return StepState(jnp.clip(moved, 1.0, max_weight))

  return _controller(
    lambda: StepState(jnp.float32(initial)),
    advance,
    lambda state: state.coefficient,
    target,
  )


def _controller(
  first: Callable[[], Any],
  advance: Callable[[Any, Array], Any],
  read: Callable[[Any], Array],
  target: float,
) -> Controller:
  """Makes a controller whose coefficient is a function of its state alone."""

  def init(params: Any) -> Any:
    del params
    return first()

  def update(updates, state, params=None, *, entropy, **unused):
    del params, unused
    finite = jnp.isfinite(entropy)
    state = jax.tree.map(
      lambda new, old: jnp.where(finite, new, old).astype(jnp.float32),
      advance(state, entropy),
      state,
    )
    return updates, state

  def metrics(state: Any, entropy: Array) -> Mapping[str, Array]:
    return {
      "control/coefficient": read(state),
      "control/error": entropy - target,
    }

  return Controller(
    transform=optax.GradientTransformationExtraArgs(init, update),
    coefficient=lambda state, entropy: read(state),
    metrics=metrics,
  )


def _check(section: str, target: float, step: float) -> None:
  for name, value in (("control.target", target), (f"{section}.step", step)):
    if not value > 0:
      raise ValueError(f"{name} must be above 0, got {value}")


def _check_initial(
  section: str, initial: float, low: float, high: float
) -> None:
  if not low <= initial <= high:
    raise ValueError(
      f"{section}.initial must lie in [{low}, {high}], got {initial}"
    )
