"""The default controller, which controls nothing: its coefficient is 0."""

from typing import Any

import jax.numpy as jnp
import optax

from entrojax.traits import ControllerTraits
from entrojax.types import Array, Controller


@ControllerTraits()
def no_control() -> Controller:
  """Build the controller with coefficient 0, no state and no metrics."""

  def coefficient(state: Any, entropy: Array) -> Array:
    del state, entropy
    return jnp.float32(0.0)

  return Controller(
    transform=optax.with_extra_args_support(optax.identity()),
    coefficient=coefficient,
    metrics=lambda state, entropy: {},
  )
