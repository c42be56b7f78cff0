"""Schedules: controllers that count updates and do not read the entropy.

    stage_schedule:   clip(2 t / num_updates - 1, 0, 1)
    epoch_schedule:   (e - 1) / (E - 1)    in epoch e of E

arXiv 2511.05993: the weight of positive advantages grows from 0 to 1. Both
schedules drive objectives.positive_reweighting. t is the number of optimizer
updates done, i32[], and gives the epoch e. The trainer does not count an update
whose loss has no token.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from entrojax.arguments import require_at_least
from entrojax.traits import ControllerTraits
from entrojax.types import Array, Controller


class ScheduleState(NamedTuple):
  updates_done: Array  # i32[]


@ControllerTraits(drives=("positive_reweighting",), length=("num_updates",))
def stage_schedule(*, num_updates: int) -> Controller:
  """Build clip(2 t / num_updates - 1, 0, 1): 0 in the first half, then linear.

  Args:
    num_updates: optimizer steps of the whole schedule, >= 1.

  Returns:
    A Controller whose coefficient lies in [0, 1].
  """
  require_at_least("stage_schedule.num_updates", num_updates, 1)
  return _schedule(lambda t: jnp.clip(2 * t / num_updates - 1, 0, 1))


@ControllerTraits(
  drives=("positive_reweighting",), length=("num_epochs", "updates_per_epoch")
)
def epoch_schedule(*, num_epochs: int, updates_per_epoch: int) -> Controller:
  """Build (e - 1) / (E - 1) in epoch e = 1 ... E; 1 if E is 1, and after E.

  Args:
    num_epochs: E, passes over the training problems, >= 1.
    updates_per_epoch: optimizer steps of one pass, >= 1.

  Returns:
    A Controller whose coefficient lies in [0, 1].
  """
  require_at_least("epoch_schedule.num_epochs", num_epochs, 1)
  require_at_least("epoch_schedule.updates_per_epoch", updates_per_epoch, 1)
  if num_epochs == 1:
    return _schedule(lambda t: jnp.ones_like(t))
  return _schedule(
    lambda t: jnp.minimum(t // updates_per_epoch / (num_epochs - 1), 1)
  )


def _schedule(value: Callable[[Array], Array]) -> Controller:
  """Build the controller with coefficient value(t), i32[] -> [0, 1]."""

  def coefficient(state: ScheduleState, entropy: Any = None) -> Array:
    del entropy
    return value(state.updates_done).astype(jnp.float32)

  def init(params: Any) -> ScheduleState:
    del params
    return ScheduleState(updates_done=jnp.zeros((), jnp.int32))

  def update(updates, state, params=None, **unused):
    del params, unused
    return updates, ScheduleState(updates_done=state.updates_done + 1)

  return Controller(
    transform=optax.GradientTransformationExtraArgs(init, update),
    coefficient=coefficient,
    metrics=lambda state, entropy: {"control/coefficient": coefficient(state)},
  )
