"""Controllers: feed one number, the coefficient, to the objective.

Most compute it from the entropy. The schedules compute it from the number of
updates, and `no_control`, the default, always gives 0. A controller
(types.Controller) has three parts:

    transform     an optax transform in the optimizer's chain. It leaves the
                  gradients unchanged and advances its state once per optimizer
                  step, from the keyword `entropy`
    coefficient   (state, entropy) -> f32[], what the objective receives
    metrics       (state, entropy) -> numbers to log, f32[] each

`entropy` is the mean over all sampled tokens of the current mini-batch, f32[],
in nats per token, and NaN without tokens. (If batch statistics are taken per
micro-batch, the loss of each micro-batch uses a coefficient computed from its
own mean.) Within a step, the loss first uses the coefficient, and then the
transform advances the state. A step in whose loss no token counts leaves the
state as it was. The state is part of the checkpoint.

Each factory below raises ValueError if a setting lies outside the range that
its `Args:` give. The config key control.name names the controller,
control.target is its target if it has one, and a section with the controller's
name holds its other settings.

To add a controller, write `control/my_controller.py`, import it below, and add
a row to CONTROLLERS in tests/control/test_control.py:

    @ControllerTraits(drives=("positive_reweighting",))
    def my_controller(*, target: float, step: float = 0.1) -> Controller: ...

Its settings then are config.my_controller, except `target`, which is
config.control.target. no_control.py is the shortest example. If your
coefficient moves by a fixed step per update, start from fixed_step.py.
"""

from entrojax.control.fixed_step import (
  adaptive_coefficient,
  entropy_guided,
  stare_weights,
)
from entrojax.control.hysteresis import hysteresis
from entrojax.control.no_control import no_control
from entrojax.control.pi import PIState, entropic_pi
from entrojax.control.schedules import epoch_schedule, stage_schedule
