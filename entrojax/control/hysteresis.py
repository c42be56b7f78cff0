"""A controller that switches between raising and lowering the entropy.

    low      floor_share H_0
    high     low + (H_0 - low) (1 - t / num_updates), at least low
    s <- 1 if H <= low, 0 if H > high, and otherwise as before

H is the mean entropy of the mini-batch and H_0 the first one, f32[], nats per
token; t counts the optimizer steps done. s is 1 while the entropy is to be
raised. It drives objectives.oscillating_clip. Oscillatory decay of Flexible
Entropy Control, arXiv 2602.09782, as its authors describe it on their page.
Deviation: the page does not give the first s; here it is 0, so that the entropy
first falls. t counts optimizer steps, where the paper counts rollout batches.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from entrojax.arguments import require_at_least, require_in
from entrojax.traits import ControllerTraits
from entrojax.types import Array, Controller


class HysteresisState(NamedTuple):
  raises: Array  # f32[], s: 1 = the entropy is to be raised
  start: Array  # f32[], H_0, nats; 0 = no entropy was finite yet
  updates_done: Array  # i32[], t


@ControllerTraits(drives=("oscillating_clip",), length=("num_updates",))
def hysteresis(*, num_updates: int, floor_share: float = 0.2) -> Controller:
  """Build the controller; its coefficient is s.

  Args:
    num_updates: optimizer steps in which the upper bound falls to the lower
      one, >= 1.
    floor_share: the lower bound as a share of the first entropy, in (0, 1).

  Returns:
    A Controller whose coefficient is 0 or 1. An entropy that is not finite
    changes nothing.
  """
  require_at_least("hysteresis.num_updates", num_updates, 1)
  require_in("hysteresis.floor_share", floor_share, "(0, 1)")

  def bounds(state: HysteresisState, entropy: Array) -> tuple[Array, Array]:
    start = jnp.where(state.start > 0, state.start, entropy)
    low = floor_share * start
    left = jnp.maximum(1 - state.updates_done / num_updates, 0)
    return low, low + (start - low) * left

  def coefficient(state: HysteresisState, entropy: Array) -> Array:
    low, high = bounds(state, entropy)
    # no comparison with NaN is true
    switched = jnp.where(entropy <= low, 1.0, state.raises)
    switched = jnp.where(entropy > high, 0.0, switched)
    return jnp.where(jnp.isfinite(entropy), switched, state.raises)

  def init(params: Any) -> HysteresisState:
    del params
    zero = jnp.zeros((), jnp.float32)
    return HysteresisState(zero, zero, jnp.zeros((), jnp.int32))

  def update(updates, state, params=None, *, entropy, **unused):
    del params, unused
    is_finite = jnp.isfinite(entropy)
    begins = (state.start == 0) & is_finite
    return updates, HysteresisState(
      raises=jnp.asarray(coefficient(state, entropy), jnp.float32),
      start=jnp.asarray(jnp.where(begins, entropy, state.start), jnp.float32),
      updates_done=state.updates_done + is_finite.astype(jnp.int32),
    )

  def metrics(state: HysteresisState, entropy: Array) -> Mapping[str, Array]:
    low, high = bounds(state, entropy)
    return {
      "control/coefficient": coefficient(state, entropy),
      "control/low": low,
      "control/high": high,
    }

  return Controller(
    transform=optax.GradientTransformationExtraArgs(init, update),
    coefficient=coefficient,
    metrics=metrics,
  )
