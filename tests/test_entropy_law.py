"""The entropy law: exact where it holds, cautious where it does not."""

import numpy as np
import pytest

from entrojax.entropy_law import fit_entropy_law, predict

# ../methods, section 8: a = .15, b = .6
ENTROPY = np.array([0.8, 0.5, 0.3, 0.1])
REWARD = np.array([0.266169, 0.352692, 0.397521, 0.434224])
ROUNDED = 2e-6  # the golden rewards have six digits


def noisy(seed=0, count=400, sigma=0.01):
  generator = np.random.default_rng(seed)
  entropy = generator.uniform(0.05, 1.2, count)
  reward = 0.6 - 0.15 * np.exp(entropy) + sigma * generator.normal(size=count)
  return entropy, reward


def test_the_golden_vector_is_recovered():
  law = fit_entropy_law(ENTROPY, REWARD)
  np.testing.assert_allclose(
    [law.a, law.b, law.ceiling], [0.15, 0.6, 0.45], atol=ROUNDED
  )
  np.testing.assert_allclose(predict(law, 0.05), 0.442309, atol=ROUNDED)
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
