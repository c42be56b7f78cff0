"""Test controllers: coefficients, when states advance, and the closed loop."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from entrojax import control, objectives
from entrojax.assembly import lookup
from entrojax.control import (
  PIState,
  adaptive_coefficient,
  entropic_pi,
  entropy_guided,
  epoch_schedule,
  hysteresis,
  no_control,
  stage_schedule,
  stare_weights,
)
from entrojax.traits import traits_of
from entrojax.update.optimizer import make_optimizer
from tests.helpers.imports import require_functions

require_functions(globals())

PARAMS = {"kernel": jnp.array([[1.0, -2.0]]), "norm": jnp.array([3.0])}
GRADS = {"kernel": jnp.array([[0.3, 0.1]]), "norm": jnp.array([-0.7])}


def state_of(integral) -> PIState:
  return PIState(integral=jnp.float32(integral))


def integral_after(controller, state, entropy) -> float:
  """Compute the integral after one update at `entropy`."""
  _, state = controller.transform.update(
    GRADS, state, PARAMS, entropy=jnp.float32(entropy)
  )
  return float(state.integral)


def optimizer_of(controller):
  return make_optimizer(
    controller,
    optax.constant_schedule(0.1),
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    weight_decay=0.1,
    max_grad_norm=0.5,
  )


def test_the_coefficient_is_the_gains_times_error_and_integral():
  controller = entropic_pi(target=1.0, kp=0.5, ki=0.125)
  # 0.5 * (1.5 - 1) + 0.125 * 2, exact in binary
  assert controller.coefficient(state_of(2), jnp.float32(1.5)) == 0.5


@pytest.mark.parametrize(("entropy", "bound"), [(9.0, 0.25), (0.5, -0.25)])
def test_the_coefficient_saturates_at_its_limit(entropy, bound):
  controller = entropic_pi(target=2.0, limit=0.25)
  state, entropy = state_of(0), jnp.float32(entropy)
  assert controller.coefficient(state, entropy) == bound
  assert controller.metrics(state, entropy)["control/saturated"]


def test_the_integral_starts_at_0():
  state = entropic_pi(target=1.0).transform.init(PARAMS)
  assert state == PIState(integral=0)
  assert state.integral.dtype == jnp.float32


def test_a_constant_error_adds_up():
  controller = entropic_pi(target=0.5)
  state = controller.transform.init(PARAMS)
  for count in range(1, 9):
    _, state = controller.transform.update(
      GRADS, state, PARAMS, entropy=jnp.float32(0.75)
    )
    assert state.integral == count * 0.25  # exact in binary


@pytest.mark.parametrize("entropy", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("anti_windup", [False, True])
def test_an_entropy_that_is_no_number_leaves_the_integral(entropy, anti_windup):
  controller = entropic_pi(target=0.5, anti_windup=anti_windup)
  assert integral_after(controller, state_of(-3), entropy) == -3


def test_an_entropy_of_nan_feeds_nothing_back():
  controller = entropic_pi(target=0.5)
  assert controller.coefficient(state_of(-3), jnp.float32(jnp.nan)) == 0


@pytest.mark.parametrize(
  ("integral", "entropy", "expected"),
  [
    (0.0, 3.0, 0.0),  # saturated above, the error would push on: held
    (0.0, 0.5, -0.5),  # not saturated: advances
    (9.0, 0.5, 8.5),  # saturated above, the error leads back: advances
    (-9.0, 0.5, -9.0),  # saturated below, the error would push on: held
    (-9.0, 3.0, -7.0),  # saturated below, the error leads back: advances
  ],
)
def test_anti_windup_holds_what_would_saturate_further(
  integral, entropy, expected
):
  controller = entropic_pi(target=1.0, ki=1.0, anti_windup=True)
  assert integral_after(controller, state_of(integral), entropy) == expected


def test_without_anti_windup_a_saturated_integral_advances():
  assert integral_after(entropic_pi(target=1.0), state_of(9), 3.0) == 11


CONTROLLERS = {
  "no_control": no_control(),
  "entropic_pi": entropic_pi(target=1.0),
  "adaptive_coefficient": adaptive_coefficient(target=1.0),
  "entropy_guided": entropy_guided(target=1.0),
  "stare_weights": stare_weights(target=1.0),
  "stage_schedule": stage_schedule(num_updates=4),
  "hysteresis": hysteresis(num_updates=4),
  "epoch_schedule": epoch_schedule(num_epochs=3, updates_per_epoch=1),
}

every_controller = pytest.mark.parametrize("name", CONTROLLERS)
FUNCTIONS = lookup.functions(control, "Controller")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_controller_is_tested(name):
  assert name in CONTROLLERS, (
    f"no test knows the controller {name}: add a row {name!r} to CONTROLLERS "
    "in tests/control/test_control.py"
  )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_controller_drives_members_that_say_so(name):
  traits = traits_of(FUNCTIONS[name])
  assert traits is not None, (
    f"put @ControllerTraits(drives=...) of entrojax/traits.py above {name}"
  )
  members = lookup.functions(objectives, "Objective")
  for member in traits.drives:
    assert member in members and traits_of(members[member]).driven, (
      f"{name} declares that it drives {member}, which is no objective with "
      "driven=True in its ObjectiveTraits"
    )


@every_controller
def test_updates_pass_through_bitwise(name):
  transform = CONTROLLERS[name].transform
  updates, _ = transform.update(
    GRADS, transform.init(PARAMS), PARAMS, entropy=jnp.float32(2)
  )
  jax.tree.map(np.testing.assert_array_equal, updates, GRADS)


@pytest.mark.slow
@every_controller
def test_a_controller_does_not_change_what_the_optimizer_does(name):
  results = []
  for controller in (no_control(), CONTROLLERS[name]):
    optimizer = optimizer_of(controller)
    state = optimizer.init(PARAMS)
    for _ in range(2):
      updates, state = optimizer.update(
        GRADS, state, PARAMS, entropy=jnp.float32(2)
      )
    results.append(updates)
  jax.tree.map(np.testing.assert_array_equal, *results)


@every_controller
def test_the_optimizer_advances_a_controller_once_an_update(name):
  controller = CONTROLLERS[name]
  optimizer = optimizer_of(controller)
  state, alone = optimizer.init(PARAMS), controller.transform.init(PARAMS)
  for entropy in (1.5, 0.25, 3.0):
    entropy = jnp.float32(entropy)
    _, state = optimizer.update(GRADS, state, PARAMS, entropy=entropy)
    _, alone = controller.transform.update((), alone, entropy=entropy)
  jax.tree.map(np.testing.assert_array_equal, state["control"], alone)


@pytest.mark.parametrize("entropy", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
  "name", [n for n in CONTROLLERS if not n.endswith("_schedule")]
)
def test_an_entropy_that_is_no_number_moves_nothing(name, entropy):
  transform = CONTROLLERS[name].transform
  state = transform.init(PARAMS)
  for before in (0.5, 2.0):
    _, state = transform.update((), state, entropy=jnp.float32(before))
  _, after = transform.update((), state, entropy=jnp.float32(entropy))
  jax.tree.map(np.testing.assert_array_equal, after, state)


@every_controller
def test_the_state_of_a_controller_keeps_its_types_beside_float64(
  name, float64
):
  controller = CONTROLLERS[name]
  state = controller.transform.init(PARAMS)
  entropy = jnp.float64(0.7)
  _, after = controller.transform.update((), state, entropy=entropy)
  assert jax.tree.map(jnp.dtype, after) == jax.tree.map(jnp.dtype, state)


@every_controller
def test_a_controller_reports_the_coefficient_that_it_feeds_back(name):
  controller = CONTROLLERS[name]
  state, entropy = controller.transform.init(PARAMS), jnp.float32(0.7)
  reported = controller.metrics(state, entropy).get("control/coefficient", 0)
  assert reported == controller.coefficient(state, entropy), (
    f"{name}: its metric control/coefficient must be what it feeds back"
  )


def test_the_optimizer_advances_the_integral_once_an_update():
  optimizer = optimizer_of(entropic_pi(target=1.0))
  state = optimizer.init(PARAMS)
  for entropy, integral in ((1.5, 0.5), (0.25, -0.25), (1.0, -0.25)):
    _, state = optimizer.update(
      GRADS, state, PARAMS, entropy=jnp.float32(entropy)
    )
    assert state["control"].integral == integral


def test_the_integral_stays_float32_beside_float64(float64):
  controller = entropic_pi(target=0.3)
  _, state = controller.transform.update(
    GRADS, state_of(0), PARAMS, entropy=jnp.float64(1.0)
  )
  assert state.integral.dtype == jnp.float32


def test_the_controller_of_nothing_feeds_back_0_and_has_no_state():
  controller = no_control()
  state = controller.transform.init(PARAMS)
  assert not jax.tree.leaves(state)
  assert controller.coefficient(state, jnp.float32(3)) == 0
  assert controller.metrics(state, jnp.float32(3)) == {}


# -- closed loop --------------------------------------------------------------


def final_entropy(controller, *, start, drift=0.02, gain=0.2, steps=200):
  """Run H <- H - drift - gain * coefficient, as training does to entropy.

  A positive coefficient favours right samples, which lowers entropy; without
  control it drifts down.
  """

  def step(carry, _):
    entropy, state = carry
    coefficient = controller.coefficient(state, entropy)
    _, state = controller.transform.update((), state, entropy=entropy)
    return (entropy - drift - gain * coefficient, state), None

  carry = (jnp.float32(start), controller.transform.init(()))
  (entropy, _), _ = jax.lax.scan(step, carry, length=steps)
  return float(entropy)


@pytest.mark.parametrize("start", [0.1, 2.5])
@pytest.mark.parametrize("anti_windup", [False, True])
def test_the_loop_reaches_its_target_from_both_sides(start, anti_windup):
  # Both poles lie at 0.9: z^2 - (2 - 0.2 kp) z + 1 - 0.2 kp + 0.2 ki, so an
  # error shrinks by 200 * 0.9^200 = 1e-7; float32 keeps 1e-6.
  controller = entropic_pi(target=1.0, kp=1.0, ki=0.05, anti_windup=anti_windup)
  assert final_entropy(controller, start=start) == pytest.approx(1, abs=1e-5)


def test_without_the_integral_the_drift_leaves_its_error():
  # at rest drift = -gain * kp * error
  controller = entropic_pi(target=1.0, kp=1.0, ki=0.0)
  assert final_entropy(controller, start=2.5) == pytest.approx(0.9, abs=1e-5)


def test_without_control_entropy_drifts_down():
  # 200 steps of float32 rounding, 1e-7 each
  assert final_entropy(no_control(), start=5.0) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"target": 0.0}, r"control\.target .* 0\.0"),
    ({"target": -1}, r"control\.target .* -1"),
    ({"target": float("nan")}, r"control\.target .* nan"),
    ({"target": 1.0, "limit": 0}, r"entropic_pi\.limit .* 0"),
    ({"target": math.inf}, r"control\.target must be finite, got inf"),
    ({"target": 1.0, "kp": -2}, r"entropic_pi\.kp .* -2"),
    ({"target": 1.0, "kp": math.inf}, r"entropic_pi\.kp must be finite"),
    ({"target": 1.0, "ki": math.inf}, r"entropic_pi\.ki must be finite"),
    ({"target": 1.0, "ki": -0.5}, r"entropic_pi\.ki .* -0\.5"),
  ],
)
def test_a_setting_that_cannot_work_is_named_with_its_value(settings, message):
  with pytest.raises(ValueError, match=message):
    entropic_pi(**settings)


def test_hysteresis_switches_at_a_floor_and_at_a_ceiling_that_falls():
  controller = hysteresis(num_updates=10, floor_share=0.25)
  state = controller.transform.init(PARAMS)
  seen = []
  # H_0 = 4 at t = 0, so the floor is 1 and the ceiling 4 - 3 t / 10: it is 3.1
  # at t = 3, 2.8 at t = 4, 2.5 at t = 5, and the floor at t = 10
  entropies = [np.nan, 4.0, 3.0, 1.0, 2.8, 2.9, 2.3, 1.0, 1.5, 1.4, 1.0, 1.1]
  for entropy in map(jnp.float32, entropies):
    seen.append(float(controller.coefficient(state, entropy)))
    _, state = controller.transform.update(
      GRADS, state, PARAMS, entropy=entropy
    )
    assert state.raises == seen[-1]
  assert seen == [0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1, 0]
