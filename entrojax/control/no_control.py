"""The controller of an objective that nothing drives."""

from typing import Any

import jax.numpy as jnp
import optax

from entrojax.types import Array, Controller


def no_control() -> Controller:
  """Makes the controller that feeds nothing back: coefficient 0, no state."""

  def coefficient(state: Any, entropy: Array) -> Array:
    del state, entropy
    return jnp.float32(0.0)

  return Controller(
    transform=optax.with_extra_args_support(optax.identity()),
    coefficient=coefficient,
    metrics=lambda state, entropy: {},
  )
