"""EntroPIC's PI controller on the entropy error, arXiv 2511.15248.

    e = H - target;  coefficient = clip(kp e + ki I, -limit, limit);  I <- I + e

H is the mean entropy of the mini-batch, f32[], in nats per token, and I is the
sum of past errors. The coefficient of a step uses I before the step's own error
is added, as in the released code. It drives objectives.entropic.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from entrojax.arguments import require_in
from entrojax.traits import ControllerTraits
from entrojax.types import Array, Controller


class PIState(NamedTuple):
  integral: Array  # f32[], sum of past errors, nats


@ControllerTraits(drives=("entropic",))
def entropic_pi(
  *,
  target: float,
  kp: float = 1.0,
  ki: float = 0.01,
  limit: float = 1.0,
  anti_windup: bool = False,
) -> Controller:
  """Build the controller that drives objectives.entropic.

  Deviation: one state serves the mini-batch over all devices; it belongs to
  the optimizer's state and so to the checkpoint. The released code keeps one
  per process and forgets it on restart. An entropy that is not finite (no
  token, a failed step) leaves the integral unchanged.

  Args:
    target: the entropy to hold, nats per token, > 0.
    kp: proportional gain, 1 / nats, >= 0.
    ki: integral gain, 1 / nats, >= 0.
    limit: bound of the coefficient's size, > 0; 1 keeps weights in [0, 2].
    anti_windup: hold the integral while the coefficient is saturated and the
      error would push it further.

  Returns:
    A Controller whose coefficient lies in [-limit, limit]. It is positive if
    the entropy is too high, and 0 if the entropy is not finite.
  """
  require_in("control.target", target, "(0, inf)")
  require_in("entropic_pi.limit", limit, "(0, inf]")
  # an infinite gain times an error of 0 is no number
  require_in("entropic_pi.kp", kp, "[0, inf)")
  require_in("entropic_pi.ki", ki, "[0, inf)")

  def unlimited(state: PIState, entropy: Array) -> Array:
    return kp * (entropy - target) + ki * state.integral

  def coefficient(state: PIState, entropy: Array) -> Array:
    signal = jnp.clip(unlimited(state, entropy), -limit, limit)
    return jnp.where(jnp.isfinite(entropy), signal, 0.0)

  def init(params: Any) -> PIState:
    del params
    return PIState(integral=jnp.zeros((), jnp.float32))

  def update(updates, state, params=None, *, entropy, **unused):
    del params, unused
    error = entropy - target
    advance = jnp.isfinite(error)
    if anti_windup:
      signal = unlimited(state, entropy)
      advance &= (jnp.abs(signal) < limit) | (signal * error < 0)
    integral = state.integral + jnp.where(advance, error, 0.0)
    return updates, PIState(integral=integral.astype(jnp.float32))

  def metrics(state: PIState, entropy: Array) -> Mapping[str, Array]:
    return {
      "control/coefficient": coefficient(state, entropy),
      "control/error": entropy - target,
      "control/integral": state.integral,
      "control/saturated": jnp.abs(coefficient(state, entropy)) >= limit,
    }

  return Controller(
    transform=optax.GradientTransformationExtraArgs(init, update),
    coefficient=coefficient,
    metrics=metrics,
  )
