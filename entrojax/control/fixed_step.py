"""Controllers that move a coefficient c by a fixed amount, within bounds.

    c <- clip(c + step, low, high)  or  clip(c - step, low, high)

    adaptive_coefficient   c rises while H < target    drives adaptive_entropy
    entropy_guided         c falls while H < target    positive_reweighting
    stare_weights          c rises while H < target    adaptive_stare

H is the entropy of the mini-batch. While H > target, c moves in the other
direction. It moves at the end of each optimizer step, which the functions below
call an update. Each update uses the c that the update before it left, and the
first one uses the initial value. An entropy that is not finite (no token, a
failed step) moves nothing.

The objective receives c, with one exception: adaptive_coefficient passes on 0
if H was not below the target at the update before. Its c is not reset: it has
only moved down by `step`. In the first update the objective always receives the
initial value.

Deviation: the entropy is exact, over the whole vocabulary. One state serves the
mini-batch over all devices, and it is part of the checkpoint. It moves once per
optimizer step, where the papers move it once per rollout batch. To keep the
papers' pace, the configs divide `step` by training.updates_per_rollout.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from entrojax.arguments import is_traced, require_in
from entrojax.traits import ControllerTraits
from entrojax.types import Array, Controller


class StepState(NamedTuple):
  coefficient: Array  # f32[]


class GatedState(NamedTuple):
  coefficient: Array  # f32[]
  low: Array  # f32[], 1 = entropy was below the target at the last update


@ControllerTraits(drives=("adaptive_entropy",))
def adaptive_coefficient(
  *,
  target: float,
  step: float = 1e-4,
  max_coefficient: float = 5e-3,
  initial: float = 0.0,
) -> Controller:
  """Build the coefficient of an entropy bonus that grows while entropy is low.

      c <- clip(c + step if H < target else c - step, 0, max_coefficient)

  The objective receives c, or 0 if H was not below the target at the last
  update. Skywork-OR1, arXiv 2505.22312, and its released code. It drives
  objectives.adaptive_entropy.

  Deviation: the released code estimates H by the mean of -log pi_old.

  Args:
    target: the entropy below which there is a bonus, nats per token, > 0.
    step: change of c per update, loss per nat, > 0.
    max_coefficient: upper bound of c, loss per nat, > 0.
    initial: c at the first update, loss per nat, in [0, max_coefficient].

  Returns:
    A Controller whose coefficient is >= 0; larger favours entropy more.
  """
  require_in("control.target", target, "(0, inf)")
  require_in("adaptive_coefficient.step", step, "(0, inf)")
  require_in(
    "adaptive_coefficient.max_coefficient", max_coefficient, "(0, inf]"
  )
  if not is_traced(max_coefficient):
    bounds = f"[0, {max_coefficient}]"
    require_in("adaptive_coefficient.initial", initial, bounds)

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


@ControllerTraits(drives=("positive_reweighting",))
def entropy_guided(
  *, target: float, step: float = 0.05, initial: float = 0.0
) -> Controller:
  """Build the weight of positive advantages that falls while entropy is low.

      c <- clip(c - step if H < target else c + step, 0, 1)

  arXiv 2511.05993, the entropy-guided schedule. It drives
  objectives.positive_reweighting.

  Args:
    target: the entropy to hold, nats per token, > 0; 0.2 in the paper.
    step: change of c per update, > 0.
    initial: c at the first update, in [0, 1].

  Returns:
    A Controller whose coefficient lies in [0, 1]; smaller favours entropy more.
  """
  require_in("control.target", target, "(0, inf)")
  require_in("entropy_guided.step", step, "(0, inf)")
  require_in("entropy_guided.initial", initial, "[0, 1]")

  def advance(state: StepState, entropy: Array) -> StepState:
    moved = state.coefficient + jnp.where(entropy < target, -step, step)
    return StepState(jnp.clip(moved, 0.0, 1.0))

  return _controller(
    lambda: StepState(jnp.float32(initial)),
    advance,
    lambda state: state.coefficient,
    target,
  )


@ControllerTraits(drives=("adaptive_stare",))
def stare_weights(
  *,
  target: float,
  step: float = 0.01,
  max_weight: float = 1.5,
  initial: float = 1.1,
) -> Controller:
  """Build STARE's weight of rare tokens, which grows while entropy is low.

      c <- clip(c + step sign(target - H), 1, max_weight)

  arXiv 2606.19236 and its released code. It drives objectives.adaptive_stare.

  Args:
    target: the entropy to hold, nats per token, > 0; 0.3 in the paper.
    step: change of c per update, > 0.
    max_weight: upper bound of c, > 1.
    initial: c at the first update, in [1, max_weight].

  Returns:
    A Controller whose coefficient is >= 1; larger favours entropy more.
  """
  require_in("control.target", target, "(0, inf)")
  require_in("stare_weights.step", step, "(0, inf)")
  require_in("stare_weights.max_weight", max_weight, "(1, inf]")
  if not is_traced(max_weight):
    require_in("stare_weights.initial", initial, f"[1, {max_weight}]")

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
  """Build a controller whose coefficient depends on its state alone.

  Args:
    first: () -> the state before the first update.
    advance: (state, entropy f32[]) -> the state after an update.
    read: state -> the coefficient, f32[].
    target: nats per token, for the metric control/error, H - target.
  """

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
