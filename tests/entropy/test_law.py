"""The entropy law is exact where it holds, and cautious where it does not."""

import json
import math

import numpy as np
import pytest

from entrojax.entropy.law import (
  NUM_WAVES,
  SHORT_CORRELATION,
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
  """Return a run that obeys the law; its entropy decays from 1.2 to .1."""
  generator = np.random.default_rng(seed)
  entropy = 0.05 + 1.15 * np.exp(-3 * np.linspace(0, 1, count))
  reward = 0.6 - 0.15 * np.exp(entropy) + sigma * generator.normal(size=count)
  return entropy, reward


def matrices(entropy, weights):
  """Return the regressors [q + 1, 2] and noise variances [q + 1] of a fit.

  The first row is the mean and the others are cosines, made orthonormal with
  the weights. The third result turns rewards [K] into observations [q + 1].
  """
  count = entropy.size
  half = np.arange(count) + 0.5
  angles = np.pi * np.arange(NUM_WAVES + 1) / count
  waves = np.sqrt(weights)[:, None] * np.cos(angles * half[:, None])
  lower = np.linalg.cholesky(waves.T @ waves)
  turn = np.linalg.solve(lower, waves.T) * np.sqrt(weights)
  lags = np.arange(-200, 201)[:, None]  # the spectrum sums autocovariances
  noise = (SHORT_CORRELATION ** abs(lags) * np.cos(lags * angles)).sum(0)
  x = np.stack([-np.exp(entropy), np.ones(count)], axis=1)
  return turn @ x, noise / noise[0], turn


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
  weights /= weights.mean()
  x, noise, turn = matrices(entropy, weights)
  information = x.T @ (x / noise[:, None])
  y = turn @ reward
  a, b = np.linalg.solve(information, x.T @ (y / noise))
  slow = np.sum((y - x @ [a, b]) ** 2 / noise) / (NUM_WAVES - 1)
  covariance = slow * np.linalg.inv(information)
  residuals = reward - (b - a * np.exp(entropy))
  contrast = np.array([-1.0, 1.0])  # b - a

  law = fit_entropy_law(entropy, reward, 7 * weights)

  expected = dict(
    a=a,
    b=b,
    rmse=np.sqrt(weights @ residuals**2 / 30),
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


def test_the_residuals_are_about_the_noise():
  law = fit_entropy_law(*noisy(sigma=0.01))
  assert 0.009 < law.rmse < 0.011  # 400 residuals of .01: 3.5 % of spread
  assert 0.9 < law.r_squared < 1


def test_standard_errors_are_the_spread_over_repeated_runs():
  laws = [fit_entropy_law(*noisy(seed, 40)) for seed in range(300)]
  for name in ("a", "b", "ceiling"):
    spread = np.std([getattr(law, name) for law in laws])
    claimed = np.mean([getattr(law, f"stderr_{name}") for law in laws])
    # four degrees of freedom: the mean is 6 % too low. 300 repeats: 4 % of
    # spread in a standard deviation
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


def test_entropies_that_only_scatter_are_flagged():
  entropy = 0.5 + 0.05 * np.random.default_rng(0).normal(size=60)
  assert np.ptp(entropy) > 0.1
  law = fit_entropy_law(entropy, -entropy)
  assert law.ill_conditioned
  # the trend of .5 over 60 points has 60 / 12 * .25 squares, the noise of five
  # cosines 5 * .0025: one part in 100
  law = fit_entropy_law(entropy + np.linspace(0.5, 0, 60), -entropy)
  assert not law.ill_conditioned
  assert 0.003 < law.noise_share < 0.03


def test_a_law_of_few_points_is_not_usable():
  entropy, reward = noisy(count=8)
  assert fit_entropy_law(entropy, reward).usable
  assert not fit_entropy_law(entropy[:7], reward[:7]).usable
  assert not fit_entropy_law([], []).usable


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


def synthetic_runs(
  count, correlation, *, drift=0.01, entropy_error=0.005, runs=1000
):
  """Return entropies and rewards [runs, count], and the true a, b [runs].

  The entropy decays at some rate to some level. The reward is off the law by
  a first-order autoregression, and each measured entropy by an error.
  """
  generator = np.random.default_rng(0)
  uniform = lambda low, high: generator.uniform(low, high, (runs, 1))
  a, b = uniform(0.1, 0.5), uniform(0.6, 0.9)
  time = np.linspace(0, 1, count)
  entropy = uniform(0.1, 0.3) + uniform(0.25, 0.5) * np.exp(
    -uniform(0.5, 5) * time
  )
  noise = generator.normal(size=(runs, count))
  for i in range(1, count):
    fresh = np.sqrt(1 - correlation**2) * noise[:, i]
    noise[:, i] = correlation * noise[:, i - 1] + fresh
  reward = b - a * np.exp(entropy) + drift * noise
  error = entropy_error * generator.normal(size=entropy.shape)
  return entropy + error, reward, a[:, 0], b[:, 0]


def share_held(intervals, truth):
  low, high = np.transpose(intervals)
  return np.mean((low < truth) & (truth < high))


def share_held_by_least_squares(entropy, reward, a):
  """Return how often the textbook's interval of independent points holds a."""
  count = entropy.shape[1]
  u = np.exp(entropy)
  u, y = (x - x.mean(1, keepdims=True) for x in (u, reward))
  fitted = -(u * y).sum(1) / (u**2).sum(1)
  squares = ((y + fitted[:, None] * u) ** 2).sum(1)
  stderr = np.sqrt(squares / (count - 2) / (u**2).sum(1))
  return np.mean(abs(fitted - a) < t_quantile(count - 2) * stderr)


@pytest.mark.parametrize(
  ("count", "correlation", "noise", "least_squares"),
  [
    (20, 0.0, {}, (0.92, 0.97)),  # independent points: nothing to mend
    (20, 0.5, {}, (0.7, 0.86)),
    (60, 0.7, {}, (0.5, 0.75)),
    (240, 0.9, {}, (0.3, 0.5)),
    # the entropies' errors alone, which flatten a least-squares line
    (60, 0.0, {"drift": 0.001, "entropy_error": 0.03}, (0.3, 0.7)),
  ],
)
def test_95_of_100_intervals_hold_the_truth(
  count, correlation, noise, least_squares
):
  entropy, reward, a, b = synthetic_runs(count, correlation, **noise)
  laws = [
    confidence(fit_entropy_law(*run))
    for run in zip(entropy, reward, strict=True)
  ]
  for name, truth in {"a": a, "b": b, "ceiling": b - a}.items():
    held = share_held([getattr(law, name) for law in laws], truth)
    assert 0.93 <= held <= 0.97, (name, held)
  low, high = least_squares
  assert low < share_held_by_least_squares(entropy, reward, a) < high


def test_the_next_rewards_lie_within_their_intervals():
  entropy, reward, _, _ = synthetic_runs(90, 0.5)
  held = []
  for h, r in zip(entropy, reward, strict=True):
    at = predict_with_error(fit_entropy_law(h[:60], r[:60]), h[60:])
    held.append((at.low < r[60:]) & (r[60:] < at.high))
  # the errors of the curve and of the point rarely add up
  assert 0.93 <= np.mean(held) <= 0.98


def test_a_prediction_has_the_textbook_errors():
  entropy, reward = noisy(count=12)
  at = np.array([0.0, 0.4, 2.0])
  x, noise, turn = matrices(entropy, np.ones(12))
  inverse = np.linalg.inv(x.T @ (x / noise[:, None]))
  y = turn @ reward
  fitted = inverse @ x.T @ (y / noise)
  slow = np.sum((y - x @ fitted) ** 2 / noise) / 4
  residuals = reward - (fitted[1] - fitted[0] * np.exp(entropy))
  rows = np.stack([-np.exp(at), np.ones(3)], axis=1)
  stderr = np.sqrt(slow * np.einsum("ki,ij,kj->k", rows, inverse, rows))
  # t of the 4 and of the 10 degrees of freedom
  half = np.sqrt((2.776 * stderr) ** 2 + 2.228**2 * residuals @ residuals / 10)

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
  u = np.linspace(2.0, 1.0, 16)
  reward = 1 - u - np.repeat([0.0, 0.25, 1.0], [8, 7, 1])
  result = forecast(np.log(u), reward, fraction=0.5)
  np.testing.assert_allclose(result.predicted, 1 - u[8:], atol=1e-12)
  np.testing.assert_allclose(
    result.rmse, np.sqrt((7 * 0.25**2 + 1) / 8), atol=1e-12
  )
  np.testing.assert_allclose(result.last_error, 1.0, atol=1e-12)
  assert result.coverage == 0  # an exact fit has intervals of no width
  stayed = 1 - u[:8].mean() - reward[8:]
  np.testing.assert_allclose(
    result.constant_rmse, np.sqrt(np.mean(stayed**2)), atol=1e-12
  )


def test_the_first_part_lasts_until_the_entropy_has_moved():
  # H falls by .01 at each step, so that .1 nats need eleven points
  entropy = 0.8 - 0.01 * np.arange(60)
  result = forecast(entropy, 0.6 - 0.15 * np.exp(entropy))
  # the slow cosines round off both ends of a straight line
  assert 11 <= result.num_fitted <= 13
  assert result.law.span >= 0.1
  np.testing.assert_allclose(result.rmse, 0, atol=1e-12)


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
  result = forecast(*falling(count=400), fraction=0.5)
  # 200 residuals of .01 (5 % of spread), and the error of the curve
  assert 0.009 < result.rmse < 0.015
  assert result.rmse < 0.2 * result.constant_rmse
  # 5 % of 200 outside, give or take 1.5 % and the error of the curve
  assert 0.9 < result.coverage <= 1


def test_a_first_part_of_too_few_points_forecasts_nothing():
  result = forecast(ENTROPY, REWARD, fraction=0.6)
  assert result.num_fitted == 0
  numbers = [result.law.a, result.rmse, result.constant_rmse, result.last_error]
  assert np.isnan(numbers).all()
  assert np.isnan(result.predicted).all()
  assert np.isnan(forecast([], []).rmse)


def test_an_entropy_that_never_moves_forecasts_nothing():
  entropy = 0.5 + 0.001 * np.sin(np.arange(40.0))
  result = forecast(entropy, 0.6 - 0.15 * np.exp(entropy))
  assert result.num_fitted == 39
  assert np.isnan([result.rmse, result.coverage]).all()


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 15, math.nan])
def test_a_fraction_that_leaves_no_two_parts_is_refused(fraction):
  with pytest.raises(ValueError, match=rf"fraction .* got {fraction}"):
    forecast(ENTROPY, REWARD, fraction=fraction)


@pytest.mark.parametrize(("count", "fitted"), [(20, 8), (79, 11), (100, 15)])
def test_the_first_part_is_rounded_down_and_has_eight_points(count, fitted):
  assert forecast(*falling(count=count)).num_fitted == fitted


def test_a_forecast_refuses_malformed_input():
  with pytest.raises(ValueError, match="one length"):
    forecast([0.1, 0.2], [0.1])
  with pytest.raises(ValueError, match="reward has values"):
    forecast([0.1, 0.2], [0.1, np.nan])
