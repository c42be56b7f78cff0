"""The entropy law is exact where it holds, and cautious where it does not."""

import json
import math

import numpy as np
import pytest

from entrojax.entropy.law import (
  confidence,
  fit_entropy_law,
  forecast,
  predict,
  predict_with_error,
  sensitivity,
  t_quantile,
)
from tests.helpers.paths import GOLDENS

METHODS = json.loads((GOLDENS / "methods.json").read_text())
GOLDEN = METHODS["entropy_law"]
ENTROPY = np.array(GOLDEN["entropy"])
REWARD = np.array(GOLDEN["reward"])
ROUNDED = 2e-6  # the golden rewards have six digits


def noisy(seed=0, count=400, sigma=0.01):
  generator = np.random.default_rng(seed)
  entropy = generator.uniform(0.05, 1.2, count)
  reward = 0.6 - 0.15 * np.exp(entropy) + sigma * generator.normal(size=count)
  return entropy, reward


def test_the_golden_vector_is_recovered():
  law = fit_entropy_law(ENTROPY, REWARD)
  for name in ("a", "b", "ceiling"):
    np.testing.assert_allclose(getattr(law, name), GOLDEN[name], atol=ROUNDED)
  np.testing.assert_allclose(
    predict(law, GOLDEN["at"]), GOLDEN["reward_at"], atol=ROUNDED
  )
  assert law.rmse < ROUNDED
  assert law.r_squared > 1 - 1e-9
  assert not law.ill_conditioned


def test_exact_data_is_recovered_to_rounding():
  law = fit_entropy_law(ENTROPY, 0.6 - 0.15 * np.exp(ENTROPY))
  np.testing.assert_allclose([law.a, law.b], [0.15, 0.6], atol=1e-12)


def test_adding_a_constant_to_the_reward_shifts_b_alone():
  law = fit_entropy_law(ENTROPY, REWARD)
  shifted = fit_entropy_law(ENTROPY, REWARD + 0.2)
  np.testing.assert_allclose(shifted.a, law.a, atol=1e-12)
  np.testing.assert_allclose(shifted.b, law.b + 0.2, atol=1e-12)
  np.testing.assert_allclose(shifted.stderr_a, law.stderr_a, atol=1e-12)


def test_the_fit_and_its_errors_equal_the_textbook_matrices():
  entropy, reward = noisy(count=30)
  weights = np.random.default_rng(3).uniform(0.5, 2.0, 30)
  x = np.stack([-np.exp(entropy), np.ones(30)], axis=1)
  information = x.T @ (weights[:, None] * x)
  a, b = np.linalg.solve(information, x.T @ (weights * reward))
  squares = weights @ (reward - x @ [a, b]) ** 2
  covariance = squares / (30 - 2) * np.linalg.inv(information)
  contrast = np.array([-1.0, 1.0])  # b - a

  law = fit_entropy_law(entropy, reward, weights)

  expected = dict(
    a=a,
    b=b,
    rmse=np.sqrt(squares / weights.sum()),
    ceiling=b - a,
    stderr_a=np.sqrt(covariance[0, 0]),
    stderr_b=np.sqrt(covariance[1, 1]),
    stderr_ceiling=np.sqrt(contrast @ covariance @ contrast),
  )
  for name, value in expected.items():
    # 1e-9: an inverse of condition 100 in float64
    np.testing.assert_allclose(getattr(law, name), value, rtol=1e-9)


def test_a_weight_of_zero_removes_a_point():
  entropy, reward = noisy(count=20)
  weights = np.ones(20)
  weights[:5] = 0
  kept = fit_entropy_law(entropy[5:], reward[5:])
  law = fit_entropy_law(entropy, reward, weights)
  np.testing.assert_allclose(law, kept, rtol=1e-12)


def test_the_error_of_a_prediction_is_about_the_noise():
  entropy, reward = noisy(sigma=0.01)
  law = fit_entropy_law(entropy[:60], reward[:60])
  error = np.sqrt(np.mean((predict(law, entropy[60:]) - reward[60:]) ** 2))
  assert 0.009 < error < 0.012  # 340 residuals of .01: 4 % of spread
  assert 0.8 < law.r_squared < 1


def test_standard_errors_are_the_spread_over_repeated_runs():
  laws = [fit_entropy_law(*noisy(seed, 40)) for seed in range(300)]
  for name in ("a", "b", "ceiling"):
    spread = np.std([getattr(law, name) for law in laws])
    claimed = np.mean([getattr(law, f"stderr_{name}") for law in laws])
    # 300 repeats: 4 % of spread in a standard deviation, three times that
    assert abs(claimed / spread - 1) < 0.12


def test_fewer_than_three_distinct_entropies_give_a_law_of_nans():
  law = fit_entropy_law([0.5, 0.5, 0.2, 0.2], [0.1, 0.2, 0.3, 0.4])
  assert np.isnan(law[:-1]).all()
  assert law.ill_conditioned
  assert np.isnan(predict(law, 0.3))
  assert np.isnan(fit_entropy_law([], []).a)
  assert np.isnan(confidence(law)).all()
  assert np.isnan(predict_with_error(law, 0.3)).all()


def test_a_narrow_range_of_entropies_is_flagged():
  entropy = np.array([0.5, 0.53, 0.57, 0.599])
  assert fit_entropy_law(entropy, -entropy).ill_conditioned
  entropy[-1] = 0.61
  assert not fit_entropy_law(entropy, -entropy).ill_conditioned


def test_a_reward_that_rises_with_the_entropy_has_no_ceiling():
  law = fit_entropy_law([0.1, 0.2, 0.4], [0.1, 0.2, 0.4])
  assert law.a < 0
  assert np.isnan([law.ceiling, law.stderr_ceiling]).all()


def test_a_constant_reward_has_no_r_squared():
  law = fit_entropy_law([0.1, 0.2, 0.4], [0.5, 0.5, 0.5])
  assert np.isnan(law.r_squared)
  np.testing.assert_allclose([law.a, law.b], [0.0, 0.5], atol=1e-15)


@pytest.mark.parametrize(
  ("entropy", "reward", "weights", "message"),
  [
    ([0.1, 0.2], [0.1], None, "one length"),
    ([[0.1]], [[0.1]], None, "one length"),
    ([0.1, np.nan, 0.3], [0.1, 0.2, 0.3], None, "entropy has values"),
    ([0.1, 0.2, 0.3], [0.1, np.inf, 0.3], None, "reward has values"),
    ([0.1, 0.2, 0.3], [0.1, 0.2, 0.3], [1, -1, 1], "must not be negative"),
  ],
)
def test_malformed_input_is_refused(entropy, reward, weights, message):
  with pytest.raises(ValueError, match=message):
    fit_entropy_law(entropy, reward, weights)


# -- intervals ----------------------------------------------------------------


def share_within(t, degrees_of_freedom):
  """Integrate Student's density from -t to t by Simpson's rule."""
  n = degrees_of_freedom
  x = np.linspace(0.0, t, 20001)
  logs = [math.lgamma((n + 1) / 2), math.lgamma(n / 2)]
  scale = math.exp(logs[0] - logs[1]) / math.sqrt(n * math.pi)
  density = scale * (1 + x**2 / n) ** (-(n + 1) / 2)
  weights = np.tile([2.0, 4.0], 10001)[: x.size]
  weights[[0, -1]] = 1.0
  return 2 * (weights @ density) * (x[1] - x[0]) / 3


@pytest.mark.parametrize("degrees_of_freedom", [*range(1, 41), 60, 234, 1e5])
def test_95_percent_of_student_s_distribution_lie_within_its_quantile(
  degrees_of_freedom,
):
  t = t_quantile(degrees_of_freedom)
  # the table's half unit of 1e-3, times twice a density below 0.07
  assert abs(share_within(t, degrees_of_freedom) - 0.95) < 1e-4


def test_the_quantiles_of_one_and_two_degrees_are_their_closed_forms():
  # half a unit of the table's last digit
  assert abs(t_quantile(1) - math.tan(0.475 * math.pi)) < 5e-4
  assert abs(t_quantile(2) - 0.95 / math.sqrt(2 * 0.975 * 0.025)) < 5e-4


@pytest.mark.parametrize("degrees_of_freedom", [0, -1, 2.5])
def test_a_quantile_needs_a_whole_positive_number(degrees_of_freedom):
  with pytest.raises(ValueError, match=rf"got {degrees_of_freedom}"):
    t_quantile(degrees_of_freedom)


def test_an_interval_reaches_t_standard_errors_to_both_sides():
  law = fit_entropy_law(*noisy(count=6))
  intervals = confidence(law)
  for name in ("a", "b", "ceiling"):
    value, error = getattr(law, name), getattr(law, f"stderr_{name}")
    np.testing.assert_allclose(  # 4 degrees of freedom
      getattr(intervals, name), (value - 2.776 * error, value + 2.776 * error)
    )


def test_95_of_100_intervals_hold_the_truth_even_of_six_points():
  held = dict.fromkeys(("a", "b", "ceiling", "curve", "reward"), 0)
  for seed in range(2000):
    entropy, reward = noisy(seed, 7)
    law = fit_entropy_law(entropy[:6], reward[:6])
    intervals = confidence(law)
    at = predict_with_error(law, entropy[6])
    half = t_quantile(4) * at.stderr
    truth = 0.6 - 0.15 * np.exp(entropy[6])
    held["a"] += intervals.a[0] < 0.15 < intervals.a[1]
    held["b"] += intervals.b[0] < 0.6 < intervals.b[1]
    held["ceiling"] += intervals.ceiling[0] < 0.45 < intervals.ceiling[1]
    held["curve"] += abs(at.reward - truth) < half
    held["reward"] += at.low < reward[6] < at.high
  for name, count in held.items():
    # four standard errors of a share of 2000; the normal's 1.96 gives .88
    assert abs(count / 2000 - 0.95) < 0.02, name


def test_a_prediction_has_the_textbook_errors():
  entropy, reward = noisy(count=12)
  at = np.array([0.0, 0.4, 2.0])
  x = np.stack([-np.exp(entropy), np.ones(12)], axis=1)
  inverse = np.linalg.inv(x.T @ x)
  fitted = inverse @ x.T @ reward
  variance = np.sum((reward - x @ fitted) ** 2) / 10
  rows = np.stack([-np.exp(at), np.ones(3)], axis=1)
  stderr = np.sqrt(variance * np.einsum("ki,ij,kj->k", rows, inverse, rows))
  half = 2.228 * np.sqrt(variance + stderr**2)  # t of 10 degrees of freedom

  result = predict_with_error(fit_entropy_law(entropy, reward), at)

  expected = (rows @ fitted, stderr, rows @ fitted - half, rows @ fitted + half)
  for value, reference in zip(result, expected, strict=True):
    # 1e-9: an inverse of condition 100 in float64
    np.testing.assert_allclose(value, reference, rtol=1e-9)


def test_the_error_at_no_entropy_is_the_ceiling_s():
  law = fit_entropy_law(*noisy(count=20))
  at = predict_with_error(law, 0.0)
  np.testing.assert_allclose(
    [at.reward, at.stderr], [law.ceiling, law.stderr_ceiling], rtol=1e-12
  )


def test_the_sensitivity_is_the_slope_of_the_prediction():
  law = fit_entropy_law(ENTROPY, REWARD)
  for at in (0.0, 0.5, 1.5):
    slope = (predict(law, at + 1e-5) - predict(law, at - 1e-5)) / 2e-5
    # central differences: 1e-11 from the third derivative and from rounding
    np.testing.assert_allclose(sensitivity(law, at), slope, atol=1e-9)
  np.testing.assert_allclose(sensitivity(law, 0.0), -0.15, atol=ROUNDED)


# -- forecast -----------------------------------------------------------------


def falling(sigma=0.01, count=240):
  """Return a run that obeys the law; its entropy falls from 1.2 to .05."""
  entropy = np.linspace(1.2, 0.05, count)
  noise = sigma * np.random.default_rng(5).normal(size=count)
  return entropy, 0.6 - 0.15 * np.exp(entropy) + noise


def test_36_of_240_points_forecast_a_law_that_holds():
  entropy, reward = falling(sigma=0.0)
  result = forecast(entropy, reward)
  assert result.num_fitted == 36
  assert result.predicted.shape == (204,)
  np.testing.assert_allclose(result.predicted, reward[36:], atol=1e-12)
  np.testing.assert_allclose(
    [result.rmse, result.last_error], [0.0, 0.0], atol=1e-12
  )


def test_a_forecast_s_errors_are_those_over_the_rest_alone():
  # R = 1 - exp(H) in the first part, .25 less in the rest, 1 less at the end
  entropy = np.log([2.0, 1.5, 1.75, 1.25, 1.0, 1.0])
  reward = np.array([-1.0, -0.5, -0.75, -0.5, -0.25, -1.0])
  result = forecast(entropy, reward, fraction=0.5)
  np.testing.assert_allclose(result.predicted, [-0.25, 0.0, 0.0], atol=1e-12)
  np.testing.assert_allclose(
    result.rmse, np.sqrt((0.25**2 + 0.25**2 + 1) / 3), atol=1e-12
  )
  np.testing.assert_allclose(result.last_error, 1.0, atol=1e-12)
  assert result.coverage == 0  # an exact fit has intervals of no width


def test_a_forecast_knows_nothing_of_the_rest():
  entropy, reward = falling()
  result = forecast(entropy, reward, fraction=0.2)
  assert result.num_fitted == 48
  assert result.law == fit_entropy_law(entropy[:48], reward[:48])
  reward[48:] = np.random.default_rng(6).normal(size=192)
  other = forecast(entropy, reward, fraction=0.2)
  assert other.law == result.law
  np.testing.assert_array_equal(other.predicted, result.predicted)
  entropy[48:] = 0.3
  assert forecast(entropy, reward, fraction=0.2).law == result.law


def test_a_forecast_uses_all_of_the_first_part():
  entropy, reward = falling()
  result = forecast(entropy, reward)
  reward[35] += 0.5  # the last point of the first 15 %
  assert forecast(entropy, reward).law.a != result.law.a


def test_the_error_of_a_forecast_is_about_the_noise_and_its_intervals_hold():
  result = forecast(*noisy(seed=1, count=400))
  # 60 points spread over all entropies; 340 residuals of .01: 4 % of spread
  assert 0.009 < result.rmse < 0.0115
  # 5 % of 340 outside, give or take 1.2 % and the noise of the fit
  assert 0.9 < result.coverage < 0.99


def test_a_first_part_of_too_few_points_forecasts_nothing():
  result = forecast(ENTROPY, REWARD, fraction=0.6)
  assert result.num_fitted == 2
  assert np.isnan([result.law.a, result.rmse, result.last_error]).all()
  assert np.isnan(result.predicted).all()
  assert np.isnan(forecast([], []).rmse)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 15, math.nan])
def test_a_fraction_that_leaves_no_two_parts_is_refused(fraction):
  with pytest.raises(ValueError, match=rf"fraction .* got {fraction}"):
    forecast(ENTROPY, REWARD, fraction=fraction)


@pytest.mark.parametrize(("count", "fitted"), [(20, 3), (19, 2), (100, 15)])
def test_the_first_part_is_rounded_down_to_whole_points(count, fitted):
  assert forecast(*falling(count=count)).num_fitted == fitted


def test_a_forecast_refuses_malformed_input():
  with pytest.raises(ValueError, match="one length"):
    forecast([0.1, 0.2], [0.1])
  with pytest.raises(ValueError, match="reward has values"):
    forecast([0.1, 0.2], [0.1, np.nan])
