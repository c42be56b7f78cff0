"""Controllers: one scalar fed back to the objective.

A controller is a pair: an optax transform, which lives in the optimizer's
chain, leaves updates unchanged and advances its state exactly once per
optimizer step; and a function that reads the coefficient from the state and
the entropy of the mini-batch at hand. Inside one graph the loss uses the
coefficient before the transform takes the entropy in.
"""

from entrojax.control.fixed_step import (
  adaptive_coefficient,
  entropy_guided,
  stare_weights,
)
from entrojax.control.no_control import no_control
from entrojax.control.pi import PIState, entropic_pi
from entrojax.control.schedules import epoch_schedule, stage_schedule

__all__ = [
  "PIState",
  "adaptive_coefficient",
  "entropic_pi",
  "entropy_guided",
  "epoch_schedule",
  "no_control",
  "stage_schedule",
  "stare_weights",
]
