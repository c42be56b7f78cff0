"""Test controllers of a fixed step, and schedules, on scripted entropies."""

import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.control import (
  adaptive_coefficient,
  entropy_guided,
  epoch_schedule,
  stage_schedule,
  stare_weights,
)


def coefficients_at(controller, entropies) -> list[float]:
  """Compute the coefficients of the updates at `entropies`, and of the next.

  The coefficient of an update is read before its entropy is taken in.
  """
  state, actual = controller.transform.init(()), []
  for entropy in (*entropies, 0.0):
    entropy = jnp.float32(entropy)
    actual.append(float(controller.coefficient(state, entropy)))
    _, state = controller.transform.update((), state, entropy=entropy)
  return actual


def near(actual, expected):
  # a few float32 additions of numbers of size 1
  np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)


ADAPTIVE = {"target": 0.5, "step": 0.125, "max_coefficient": 0.25}


def test_the_adaptive_coefficient_follows_its_script():
  # below the target it rises to its maximum, above it falls unseen to 0
  actual = coefficients_at(
    adaptive_coefficient(**ADAPTIVE), [0.4, 0.4, 0.4, 0.6, 0.4, 0.6, 0.6, 0.4]
  )
  assert actual == [0, 0.125, 0.25, 0.25, 0, 0.25, 0, 0, 0.125]


def test_the_bonus_is_exactly_0_after_an_entropy_that_is_not_below_target():
  controller = adaptive_coefficient(**ADAPTIVE, initial=0.25)
  assert coefficients_at(controller, [0.5, 0.49, 9.0]) == [0.25, 0, 0.25, 0]


def test_the_adaptive_coefficient_has_the_settings_of_its_paper():
  actual = coefficients_at(adaptive_coefficient(target=0.2), [0.1] * 60)
  near(actual, np.minimum(1e-4 * np.arange(61), 5e-3))


@pytest.mark.parametrize(("entropy", "bound"), [(9.0, 1.0), (0.0, 0.0)])
def test_the_entropy_guided_weight_stays_between_0_and_1(entropy, bound):
  actual = coefficients_at(
    entropy_guided(target=0.2, initial=0.5), [entropy] * 30
  )
  assert all(0 <= x <= 1 for x in actual)
  assert actual[-1] == bound


def test_an_entropy_at_the_target_raises_the_entropy_guided_weight():
  controller = entropy_guided(target=0.5, step=0.25)
  assert coefficients_at(controller, [0.5, 0.5]) == [0, 0.25, 0.5]


def test_stare_s_weight_goes_up_below_its_target_and_stands_at_it():
  controller = stare_weights(
    target=0.5, step=0.125, max_weight=1.25, initial=1.0
  )
  actual = coefficients_at(controller, [0.4, 0.4, 0.4, 0.5, 0.6, 0.6, 0.6])
  assert actual == [1, 1.125, 1.25, 1.25, 1.25, 1.125, 1, 1]


def test_the_stage_schedule_is_0_in_the_first_half_and_then_linear():
  actual = coefficients_at(stage_schedule(num_updates=8), [0.3] * 10)
  assert actual == [0, 0, 0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1]


def test_the_epoch_schedule_stands_within_an_epoch():
  controller = epoch_schedule(num_epochs=3, updates_per_epoch=2)
  assert coefficients_at(controller, [0.3] * 7) == [0, 0, 0.5, 0.5, 1, 1, 1, 1]


def test_the_epoch_schedule_of_one_epoch_is_1():
  controller = epoch_schedule(num_epochs=1, updates_per_epoch=2)
  assert coefficients_at(controller, [0.3] * 3) == [1] * 4


@pytest.mark.parametrize("entropy", [0.1, 9.0, np.nan])
def test_a_schedule_does_not_look_at_the_entropy(entropy):
  controller = stage_schedule(num_updates=4)
  assert coefficients_at(controller, [entropy] * 4) == [0, 0, 0, 0.5, 1]


@pytest.mark.parametrize(
  ("make", "settings", "message"),
  [
    (adaptive_coefficient, {"target": 0.0}, r"control\.target .* 0\.0"),
    (
      adaptive_coefficient,
      {"target": 1.0, "step": 0},
      r"adaptive_coefficient\.step .* 0",
    ),
    (
      adaptive_coefficient,
      {"target": 1.0, "max_coefficient": -1.0},
      r"max_coefficient .* -1\.0",
    ),
    (
      adaptive_coefficient,
      {"target": 1.0, "initial": 0.1},
      r"initial must lie in \[0, 0\.005\], got 0\.1",
    ),
    (entropy_guided, {"target": -0.2}, r"control\.target .* -0\.2"),
    (
      entropy_guided,
      {"target": 1.0, "step": float("nan")},
      r"entropy_guided\.step .* nan",
    ),
    (
      entropy_guided,
      {"target": 1.0, "initial": 1.5},
      r"entropy_guided\.initial .* 1\.5",
    ),
    (
      stare_weights,
      {"target": 1.0, "max_weight": 1.0},
      r"stare_weights\.max_weight .* 1\.0",
    ),
    (
      stare_weights,
      {"target": 1.0, "initial": 0.9},
      r"initial must lie in \[1, 1\.5\], got 0\.9",
    ),
    (stage_schedule, {"num_updates": 0}, r"stage_schedule\.num_updates .* 0"),
    (
      epoch_schedule,
      {"num_epochs": 0, "updates_per_epoch": 2},
      r"epoch_schedule\.num_epochs .* 0",
    ),
    (
      epoch_schedule,
      {"num_epochs": 2, "updates_per_epoch": -1},
      r"updates_per_epoch .* -1",
    ),
  ],
)
def test_a_setting_that_cannot_work_is_named_with_its_value(
  make, settings, message
):
  with pytest.raises(ValueError, match=message):
    make(**settings)
