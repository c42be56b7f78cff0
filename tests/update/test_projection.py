"""The entropy-projected update: the correction and its set point."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from entrojax.assembly.run import build
from entrojax.system.checkpoint import Checkpoints
from entrojax.system.sharding import make_mesh, param_shardings, replicated
from entrojax.types import TrainState
from entrojax.update.corrected_step import (
  adam_preconditioner,
  identity_preconditioner,
)
from entrojax.update.projection import entropy_projection, projection_metrics
from entrojax.update.train_step import init_state
from tests.helpers.projected import (
  ADAM,
  CLIP,
  GRADIENT,
  GRADS,
  PARAMS,
  RAISE,
  WANTED,
  adam,
  bits,
  flat,
  run,
  sgd,
)
from tests.helpers.system import tiny_config


def wanted_changes(entropies, **settings) -> list[float]:
  """Return the wanted change, delta, of each of a few updates."""
  grads = GRADS[:1] * len(entropies)
  _, _, metrics = run(sgd(**settings), grads, entropies)
  return [float(m["projection/wanted_change"]) for m in metrics]


# -- the correction -----------------------------------------------------------


def diagonal_of(make) -> np.ndarray:
  """Return D after GRADS, from the definition of Adam's second moment."""
  if make is sgd:
    return np.ones(7)
  moment = np.zeros(7)
  for grad in map(flat, GRADS):
    grad = grad * min(1.0, CLIP / np.linalg.norm(grad))
    moment = ADAM["b2"] * moment + (1 - ADAM["b2"]) * grad**2
  v_hat = moment / (1 - ADAM["b2"] ** len(GRADS))
  return 1 / (np.sqrt(v_hat) + ADAM["eps"])


@pytest.mark.parametrize("make", [sgd, adam])
def test_the_correction_is_the_smallest_that_reaches_the_wanted_change(make):
  h, diagonal, step = flat(GRADIENT), diagonal_of(make), flat(run(make())[0])
  correction = flat(run(make(**RAISE))[0]) - step
  # min c' D^-1 c subject to h' (step + c) = wanted, as one dense system
  system = np.zeros((8, 8))
  system[:7, :7] = np.diag(1 / diagonal)
  system[7, :7] = system[:7, 7] = h
  right = np.append(np.zeros(7), WANTED - h @ step)
  expected = np.linalg.solve(system, right)[:7]
  # float32 steps below 1
  np.testing.assert_allclose(correction, expected, rtol=0, atol=1e-6)
  # Every other correction that reaches the wanted change is longer.
  length = correction @ (correction / diagonal)
  for other in np.random.default_rng(0).normal(size=(20, 7)):
    other = correction + other - (h @ other) / (h @ h) * h
    assert other @ (other / diagonal) > length


ONE = {"w": jnp.array([1.0, 0.0])}


def one_step(grad, gradient, **settings):
  """Return the step and the metrics of a second update of descent by 0.5.

  The first one is not corrected. Its h is all that the second one knows.
  """
  optimizer = sgd(**settings, decay=0.0)
  state = optimizer.init(grad)
  for _ in range(2):
    step, state = optimizer.update(
      grad,
      state,
      grad,
      entropy=jnp.float32(1.0),
      entropy_grad=lambda: gradient,
    )
  return step, projection_metrics(state)


def test_the_metrics_report_what_the_update_did():
  step, metrics = one_step(ONE, {"w": jnp.array([2.0, 0.0])}, **RAISE)
  # <h, step> = 2 * -0.5; the multiplier is (0.125 + 1) / 4
  assert {name: float(value) for name, value in metrics.items()} == {
    "projection/wanted_change": 0.125,
    "projection/uncorrected_change": -1.0,
    "projection/predicted_change": 0.125,
    "projection/multiplier": 0.28125,
    "projection/relative_correction": 1.125,  # 0.5625 / 0.5
    "projection/touched": 1.0,
    "projection/total_forecast": 0.0,  # the first update has none
    "projection/total_change": 0.0,
  }
  np.testing.assert_array_equal(step["w"], [0.0625, 0.0])


@pytest.mark.parametrize(
  ("settings", "change", "touched"),
  [
    ({"sided": "raise"}, 1.0, 0.0),
    ({"sided": "both"}, 0.125, 1.0),
    ({}, 0.125, 1.0),
  ],
)
def test_a_step_that_raises_entropy_is_lowered_by_the_two_sided_form_alone(
  settings, change, touched
):
  _, metrics = one_step(ONE, {"w": jnp.array([-2.0, 0.0])}, **RAISE, **settings)
  assert metrics["projection/predicted_change"] == change
  assert metrics["projection/touched"] == touched


@pytest.mark.parametrize(
  ("upper", "change", "touched"), [(0.5, 0.5, 1.0), (2.0, 1.0, 0.0)]
)
def test_a_step_that_raises_entropy_too_far_is_brought_down_to_upper(
  upper, change, touched
):
  _, metrics = one_step(
    ONE, {"w": jnp.array([-2.0, 0.0])}, **RAISE, sided="raise", upper=upper
  )
  assert metrics["projection/predicted_change"] == change
  assert metrics["projection/touched"] == touched


def test_the_correction_is_bounded_relative_to_the_step():
  # Unbounded, it is 1.125 times the step (see the metrics test).
  step, metrics = one_step(
    ONE, {"w": jnp.array([2.0, 0.0])}, **RAISE, max_relative_correction=0.25
  )
  assert metrics["projection/relative_correction"] == 0.25
  assert metrics["projection/predicted_change"] == 2 * (-0.5 + 0.25 * 0.5)
  np.testing.assert_array_equal(step["w"], [-0.375, 0.0])


def test_inner_products_are_float32_and_the_step_keeps_its_type():
  ones = {"w": jnp.ones(1027, jnp.bfloat16)}
  step, metrics = one_step(ones, ones, **RAISE)
  # bfloat16 has 8 bits: no number between 512 and 516
  assert metrics["projection/uncorrected_change"] == -0.5 * 1027
  assert step["w"].dtype == jnp.bfloat16


def times(factor):
  return jax.tree.map(lambda x: factor * x, GRADIENT)


UNTOUCHED = {
  "entropy does not depend on the parameters": {"gradient": times(0.0)},
  "the gradient of entropy is NaN": {"gradient": times(np.nan)},
  "the gradient of entropy is infinite in one place": {
    "gradient": {**GRADIENT, "norm": jnp.array([np.inf, 0.0, 1.0])}
  },
  "the square of the gradient overflows": {"gradient": times(1e30)},
  "there is no token": {"entropies": (0.25, 0.25, np.nan)},
  "it raises entropy enough by itself": {},
}


@pytest.mark.parametrize("sided", ["raise", "both"])
@pytest.mark.parametrize("make", [sgd, adam])
@pytest.mark.parametrize("reason", UNTOUCHED)
def test_a_step_is_left_bitwise_alone_if(reason, make, sided):
  # Descent by a gradient of 0 is a step of -0: adding 0 would lose the sign.
  grads = [*GRADS[:2], {**GRADS[2], "norm": jnp.zeros(3)}]
  expected = run(make(), grads)[0]
  case = UNTOUCHED[reason]
  if reason == "it raises entropy enough by itself":
    if sided == "both":
      return  # it is lowered, as tested above
    case = {"gradient": jax.tree.map(lambda x: 1e3 * x, expected)}
  actual, _, metrics = run(make(**RAISE, sided=sided), grads, **case)
  assert bits(actual) == bits(expected)
  assert metrics[-1]["projection/touched"] == 0
  assert metrics[-1]["projection/multiplier"] == 0


def test_adam_s_moments_see_the_gradient_of_the_loss_alone():
  (plain, projected) = (
    optax.tree_utils.tree_get(run(make)[1], "ScaleByAdamState")
    for make in (adam(), adam(**RAISE))
  )
  assert bits(projected) == bits(plain)
  assert plain.count == len(GRADS)


def test_a_parameter_that_the_loss_never_moved_is_not_corrected():
  grads = [{**g, "norm": g["norm"].at[1].set(0.0)} for g in GRADS]
  expected, _, _ = run(adam(), grads)
  actual, _, metrics = run(adam(**RAISE), grads)
  assert actual["norm"][1] == expected["norm"][1]
  assert actual["norm"][0] != expected["norm"][0]
  # float32 sums of 6 numbers below 1
  assert metrics[-1]["projection/predicted_change"] == pytest.approx(
    WANTED, abs=1e-6
  )


def test_adam_s_metric_needs_adam_s_moments():
  optimizer = entropy_projection(
    optax.sgd(0.1), precondition=adam_preconditioner(b2=0.9, eps=1e-8)
  )
  with pytest.raises(ValueError, match="needs an inner optimizer with Adam"):
    run(optimizer)


# -- the average of past gradients of the entropy ----------------------------


@pytest.mark.parametrize(("decay", "every"), [(0.5, 1), (0.75, 2), (0.0, 1)])
def test_the_forecast_uses_the_average_of_the_gradients_before(decay, every):
  scales = (1.0, np.nan, -2.0, 4.0, 0.5)  # a gradient that is NaN is left out
  optimizer = sgd(decay=decay, every=every, sided="raise")
  state, forecasts, total = optimizer.init(PARAMS), [], []
  for scale in scales:
    _, state = optimizer.update(
      GRADS[0],
      state,
      PARAMS,
      entropy=jnp.float32(1.0),
      entropy_grad=lambda scale=scale: times(scale),
    )
    metrics = projection_metrics(state)
    forecasts.append(metrics["projection/uncorrected_change"])
    total.append(metrics["projection/total_forecast"])
  change = flat(GRADIENT) @ (-0.5 * flat(GRADS[0]))
  expected = [0.0]
  for last in range(1, len(scales)):
    usable = np.array([x for x in scales[:last:every] if np.isfinite(x)])
    weights = [decay**age for age in reversed(range(len(usable)))]
    expected.append(change * np.average(usable, weights=weights))
  # float32 sums of 7 numbers below 1
  np.testing.assert_allclose(forecasts, expected, atol=1e-6)
  # delta is 0: a step that lowers the entropy is corrected to 0
  np.testing.assert_allclose(
    total, np.append(0, np.cumsum(np.maximum(expected, 0))[:-1]), atol=1e-5
  )


# -- the wanted change --------------------------------------------------------


def test_the_wanted_change_is_the_gains_times_error_and_integral():
  # errors 0, 1/8, 1/4, -1, none and 0; the integral before each of them 0, 0,
  # 1/8 and 3/8. The fourth, -1/2 + 3/32, is beyond the limit, so that its error
  # does not enter the integral.
  assert wanted_changes(
    [1.0, 0.875, 0.75, 2.0, np.nan, 1.0],
    target=1.0,
    gain=0.5,
    integral_gain=0.25,
    limit=0.25,
  ) == [0.0, 0.0625, 0.125 + 0.03125, -0.25, 0.0, 0.09375]


def test_the_integral_leaves_out_the_error_that_the_gain_is_to_remove():
  # After the first update, which is not corrected, the plan is -1/2, -1/4, -1/8
  # and -1/16. So the errors -1/2, 0, -1/8 and 0 are surprises of 0, 1/4, 0 and
  # 1/16.
  assert wanted_changes(
    [1.5, 1.5, 1.0, 1.125, 1.0, 1.0],
    target=1.0,
    gain=0.5,
    integral_gain=0.25,
    limit=1.0,
  ) == [-0.25, -0.25, 0.0, -0.0625 + 0.0625, 0.0625, 0.0625 + 0.015625]


def test_the_plan_waits_while_the_entropy_is_not_finite():
  # The plan is -1/2 at the third update too, so that its error is no surprise.
  # It is -1/4 at the fourth, whose error of 0 is one of 1/4.
  assert wanted_changes(
    [1.5, np.nan, 1.5, 1.0, 1.0],
    target=1.0,
    gain=0.5,
    integral_gain=0.25,
    limit=1.0,
  ) == [-0.25, 0.0, -0.25, 0.0, 0.0625]


def test_the_integral_waits_while_steps_are_left_alone():
  # Each step raises the entropy by 0.065 to first order. That is more than is
  # wanted, so only the errors 1/2 of steps that are corrected are summed.
  assert wanted_changes(
    [1.0, 1.5, 1.5, 0.5, 1.5, 1.0],
    target=1.0,
    gain=0.25,
    integral_gain=0.125,
    limit=1.0,
    sided="raise",
  ) == [0.0, -0.125, -0.125, 0.125, -0.125 + 0.0625, 0.0625]


def test_the_target_may_be_a_fraction_of_the_first_entropy_that_is_one():
  # half of 2 is 1: errors -1 and -1/2
  assert wanted_changes(
    [np.nan, 2.0, 1.5],
    target_fraction=0.5,
    gain=0.125,
    integral_gain=0.0,
    limit=1.0,
  ) == [0.0, -0.125, -0.0625]


def test_the_target_may_be_a_schedule_over_the_updates():
  assert wanted_changes(
    [1.0, 1.0, 1.0],
    target=lambda count: 1.0 + count,
    gain=0.125,
    integral_gain=0.0,
    limit=1.0,
  ) == [0.0, 0.125, 0.25]


def test_without_a_target_every_update_is_to_keep_its_entropy():
  _, state, metrics = run(adam(limit=1.0), entropies=(0.25, 3.0, 0.5))
  for metric in metrics:
    assert metric["projection/wanted_change"] == 0
    # float32 sums of 7 numbers below 1
    assert abs(metric["projection/predicted_change"]) < 1e-6
  assert sum(float(m["projection/touched"]) for m in metrics) > 0
  assert state["adamw"].integral == 0


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"target": 0.0, "gain": 1.0}, r"projection\.target .* 0\.0"),
    ({"target": np.nan, "gain": 1.0}, r"projection\.target .* nan"),
    ({"target_fraction": -1, "gain": 1}, r"projection\.target_fraction .* -1"),
    ({"limit": 0.0}, r"projection\.limit must be above 0, got 0"),
    ({"target": 1.0, "gain": -0.5}, r"projection\.gain must lie in .* -0\.5"),
    ({"integral_gain": -2}, r"projection\.integral_gain must lie in .* -2"),
    ({"upper": 1e-9, "sided": "raise"}, r"projection\.upper = 1e-09 .* limit"),
    ({"upper": 1.0}, r"projection\.upper = 1\.0 .*'both'"),
    ({"sided": "lower"}, r"projection\.sided must be .* 'lower'"),
    ({"max_relative_correction": 0}, r"max_relative_correction must be above"),
    (
      {"target": 0.5, "target_fraction": 0.9, "gain": 1.0},
      r"projection\.target = 0\.5 .*target_fraction = 0\.9 are both set",
    ),
    ({"decay": 1.0}, r"projection\.decay must lie in \[0, 1\), got 1"),
    ({"every": 0}, r"projection\.every must be at least 1, got 0"),
    (
      {"target": 0.5, "gain": 0.0, "integral_gain": 0.0},
      r"projection\.gain = 0\.0 .*target = 0\.5",
    ),
  ],
)
def test_a_setting_that_cannot_work_is_named_with_its_value(settings, message):
  with pytest.raises(ValueError, match=message):
    entropy_projection(
      optax.sgd(0.1), precondition=identity_preconditioner, **settings
    )


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"projection.target": 0.5}, r"target is 0\.5 but projection\.enabled"),
    (
      {"projection.enabled": True, "projection.limit": -1.0},
      r"projection\.limit must be above 0, got -1",
    ),
  ],
)
def test_a_run_with_such_a_setting_ends_before_it_starts(
  settings, message, one_device
):
  with pytest.raises(ValueError, match=message):
    build(tiny_config("bases/countdown", **settings))


# -- closed loop --------------------------------------------------------------

REWARDS = np.array([1.0, 0.75, 0.5, 0.0], np.float32)
SET_POINT = 0.75  # nats; the four arms can have up to 1.386
STARTS = {"below": [0.0, 0.0, 0.0, 6.0], "above": [0.1, 0.0, 0.0, -0.1]}


def softmax_entropy(logits):
  log_p = jax.nn.log_softmax(logits)
  return -jnp.sum(jnp.exp(log_p) * log_p)


@functools.partial(jax.jit, static_argnames="optimizer")
def play(logits, *, optimizer):
  """Return the logits after 2000 steps of the exact policy gradient."""

  def step(carry, _):
    logits, state = carry
    grads = jax.grad(lambda z: -jax.nn.softmax(z) @ REWARDS)(logits)
    entropy, gradient = jax.value_and_grad(softmax_entropy)(logits)
    updates, state = optimizer.update(
      grads, state, logits, entropy=entropy, entropy_grad=lambda: gradient
    )
    return (logits + updates, state), None

  carry = (logits, optimizer.init(logits))
  (logits, _), _ = jax.lax.scan(step, carry, length=2000)
  return logits


@pytest.mark.parametrize("sided", ["raise", "both"])
def test_a_bandit_holds_its_set_point_from_both_sides(sided):
  optimizer = sgd(
    target=SET_POINT,
    gain=0.1,
    integral_gain=0.1**2 / 4,  # critically damped
    limit=0.01,
    sided=sided,
    learning_rate=2.0,
  )
  for start in STARTS.values():
    logits = play(jnp.array(start), optimizer=optimizer)
    # the error shrinks by 0.95 a step, and the second order with the steps
    assert softmax_entropy(logits) == pytest.approx(SET_POINT, abs=1e-5)
    # and ends at the best policy of that entropy, p ~ exp(rewards / tau)
    slope = np.polyfit(REWARDS, logits, 1)
    np.testing.assert_allclose(logits, np.polyval(slope, REWARDS), atol=0.01)
    assert slope[0] > 0


def test_a_bandit_without_the_projection_loses_its_entropy():
  for start in STARTS.values():
    logits = play(jnp.array(start), optimizer=sgd(2.0))
    assert softmax_entropy(logits) < SET_POINT / 2


def follow(target: float, *, leak: float = 0.0, **settings) -> np.ndarray:
  """Return H of each update of a policy that obeys every forecast.

  Its only weight is H, 0.7 nats at first. Each of 600 updates also changes H by
  `leak`, of which no forecast knows. All else has its default.
  """
  optimizer = entropy_projection(
    optax.sgd(1e-4),
    precondition=identity_preconditioner,
    target=target,
    **settings,
  )

  def step(carry, _):
    weight, state = carry
    updates, state = optimizer.update(
      jnp.float32(1.0),
      state,
      weight,
      entropy=weight,
      entropy_grad=lambda: jnp.float32(1.0),
    )
    return (weight + updates + leak, state), weight

  start = jnp.float32(0.7)
  carry = (start, optimizer.init(start))
  return np.asarray(jax.lax.scan(step, carry, length=600)[1])


@pytest.mark.parametrize("target", [0.65, 0.3, 0.75, 1.2])
def test_the_entropy_comes_to_its_target_without_going_beyond(target):
  entropies = follow(target)
  side = np.sign(target - entropies[1])
  # the first step, which is not corrected, lowers the entropy by 1e-4
  assert np.min(side * (target - entropies)) > -1e-4
  # the first gap is 0.5 nats at most; the last 0.1 shrink by 2 % per update
  assert entropies[-1] == pytest.approx(target, abs=1e-3)


@pytest.mark.parametrize("leak", [-5e-4, 5e-4])
def test_what_the_forecasts_miss_is_made_up_for(leak):
  assert follow(0.65, leak=leak)[-1] == pytest.approx(0.65, abs=1e-3)
  gain_alone = follow(0.65, leak=leak, gain=0.02, integral_gain=0.0)
  assert gain_alone[-1] == pytest.approx(0.65 + leak / 0.02, abs=1e-3)


# -- its state ----------------------------------------------------------------


@pytest.mark.slow
def test_moments_within_the_projection_are_placed_as_their_parameters(
  tiny_model,
):
  mesh = make_mesh((2, 2, 2))
  state = jax.eval_shape(adam(**RAISE).init, tiny_model[1])
  placed = param_shardings(mesh, state)["adamw"]
  (moments, *_) = placed.inner
  expected = param_shardings(mesh, tiny_model[1])
  assert moments.mu == expected
  assert moments.nu == expected
  assert placed.average.total == expected
  assert placed.integral == replicated(mesh)
  assert set(jax.tree.leaves(placed.last)) == {replicated(mesh)}


@pytest.mark.slow
def test_the_state_survives_a_checkpoint(tmp_path):
  optimizer = adam(target_fraction=0.9, gain=0.1, integral_gain=0.05, limit=1.0)
  _, opt_state, _ = run(optimizer)
  state = TrainState(params=PARAMS, opt_state=opt_state, step=jnp.int32(3))
  key = jax.random.key(0)
  checkpoints = Checkpoints(tmp_path / "checkpoints", keep=1)
  checkpoints.save(1, state, key, {})
  checkpoints.wait()
  restored, *_ = checkpoints.restore(init_state(PARAMS, optimizer), key)
  checkpoints.close()
  assert restored.opt_state["adamw"].start_entropy == 0.25
  following = [
    optimizer.update(
      GRADS[0],
      x.opt_state,
      x.params,
      entropy=jnp.float32(0.5),
      entropy_grad=lambda: GRADIENT,
    )
    for x in (state, restored)
  ]
  assert bits(following[0]) == bits(following[1])
