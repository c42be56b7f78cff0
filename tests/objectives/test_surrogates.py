"""Test surrogates by hand: the loss and the gradient of each."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.objectives import (
  ce_gppo,
  cispo,
  clip_cov,
  dppo,
  dynamic_clip,
  gmpo,
  gspo,
  luspo,
  oscillating_clip,
  ppo_clip,
  reinforce,
  sapo,
  vespo,
)
from tests.helpers.objective_cases import evaluate, hand_tokens, near, same


def test_reinforce_is_the_mean_of_minus_a_log_pi():
  tokens = hand_tokens([[0.0, -1.0], [-3.0, 0.5]], [[2, 2], [-1, -1]])
  (loss, _), (gradient, _) = evaluate(reinforce(), tokens)
  # -(2 * -1 + 2 * -2 - -4 - -0.5) / 4
  same(loss, 0.375)
  same(gradient, -tokens.advantages / 4)


def test_at_a_ratio_of_1_ppo_has_the_policy_gradient_exactly():
  tokens = hand_tokens(np.zeros((2, 4)), [[2.0] * 4, [-1.0] * 4])
  (loss, _), (gradient, _) = evaluate(ppo_clip(), tokens)
  same(loss, -0.5)
  same(gradient, -tokens.advantages / 8)


def test_ppo_clips_only_where_the_ratio_has_gone_the_advantage_s_way():
  log_ratios = np.log([[1.5, 0.5], [1.5, 0.5]])
  tokens = hand_tokens(log_ratios, [[1, 1], [-1, -1]])
  (loss, metrics), (gradient, _) = evaluate(
    ppo_clip(clip_low=0.2, clip_high=0.28), tokens
  )
  near(loss, (-1.28 - 0.5 + 1.5 + 0.8) / 4)
  near(gradient, np.array([[0, -0.5], [1.5, 0]]) / 4)
  assert metrics["actor/pg_clipfrac"].total == 2
  assert metrics["actor/pg_clipfrac"].count == 4


@pytest.mark.parametrize("clip_low", [0.0, 0.2])
@pytest.mark.parametrize("clip_high", [0.0, 0.2])
@pytest.mark.parametrize("make", [ppo_clip, gspo, clip_cov])
def test_a_ratio_at_a_clip_bound_has_the_whole_gradient(
  make, clip_low, clip_high
):
  objective = make(clip_low=clip_low, clip_high=clip_high)
  tokens = hand_tokens(np.zeros((2, 3)), [[2.0] * 3, [-1.0] * 3])
  _, (gradient, _) = evaluate(objective, tokens)
  same(gradient, -tokens.advantages / 6)


def test_the_dual_clip_binds_at_negative_advantages_only():
  tokens = hand_tokens(np.log([[5.0, 2.0], [5.0, 2.0]]), [[1, 1], [-1, -1]])
  (loss, metrics), (gradient, _) = evaluate(
    ppo_clip(clip_low=0.2, clip_high=9.0, dual_clip=20.0), tokens
  )
  near(loss, 0.0)
  assert metrics["actor/pg_clipfrac_lower"].total == 0
  (loss, metrics), (gradient, _) = evaluate(
    ppo_clip(clip_low=0.2, clip_high=1.5, dual_clip=3.0), tokens
  )
  near(loss, (-2.5 - 2 + 3 + 2) / 4)
  near(gradient, np.array([[0, -2], [0, 2]]) / 4)
  assert metrics["actor/pg_clipfrac_lower"].total == 1


def test_a_log_ratio_beyond_20_stays_finite_and_stops_learning():
  tokens = hand_tokens([[30.0, -2e4]], [[-1.0, -1.0]])
  (loss, _), (gradient, _) = evaluate(
    ppo_clip(clip_low=1.0, dual_clip=None), tokens
  )
  # (exp(20) + exp(-20)) / 2, float32 keeps 7 digits
  np.testing.assert_allclose(loss, np.exp(20) / 2, rtol=1e-6)
  same(gradient, jnp.zeros((1, 2)))


def test_gspo_clips_whole_sequences():
  # mean log-ratios 0.05 and 0.2: the second sequence is clipped as a whole,
  # though one of its tokens has not moved; the third one's A is negative
  tokens = hand_tokens(
    [[0.1, 0.0], [0.4, 0.0], [0.4, 0.0]], [[1] * 2, [1] * 2, [-1] * 2]
  )
  (loss, metrics), (gradient, _) = evaluate(
    gspo(clip_low=0.1, clip_high=0.1), tokens, "seq-mean-token-mean"
  )
  near(loss, (-np.exp(0.05) - 1.1 + np.exp(0.2)) / 3)
  per_row = np.array([[-np.exp(0.05)], [0], [np.exp(0.2)]]) / 6
  near(gradient, np.float32(np.repeat(per_row, 2, axis=1)))
  assert metrics["actor/pg_clipfrac"].total == 2


def test_on_the_sampling_policy_every_surrogate_has_one_gradient(random_tokens):
  tokens = random_tokens(19, 5, 7)
  tokens = dataclasses.replace(tokens, old_log_probs=tokens.log_probs)
  _, expected = evaluate(ppo_clip(), tokens)
  for make in (reinforce, gspo, luspo, gmpo, vespo, dppo, cispo, sapo, ce_gppo):
    near(evaluate(make(), tokens)[1], expected)


def test_cispo_weighs_log_probs_with_the_clipped_ratio():
  tokens = hand_tokens(np.log([[1.5, 0.5, 1.1]]), [[2, -1, 1]])
  _, (gradient, _) = evaluate(cispo(clip_low=0.2, clip_high=0.28), tokens)
  near(gradient, np.float32([[-1.28 * 2, 0.8, -1.1]]) / 3)


def test_luspo_is_gspo_times_the_length():
  # the first row has one token, the second two; its sequence is clipped
  tokens = hand_tokens(
    [[0.05, 9.0], [0.4, 0.0]],
    [[1] * 2, [-1] * 2],
    mask=np.float32([[1, 0], [1, 1]]),
  )
  (loss, _), (gradient, _) = evaluate(
    luspo(clip_low=0.1, clip_high=0.1), tokens, "seq-mean-token-sum"
  )
  near(loss, (-np.exp(0.05) + 2 * np.exp(0.2)) / 2)
  expected = np.array([[-np.exp(0.05), 0], [np.exp(0.2)] * 2]) / 2
  near(gradient, np.float32(expected))


def test_gmpo_clips_log_ratios_that_have_gone_the_advantage_s_way():
  tokens = hand_tokens([[0.6, 0.1], [0.6, -0.5]], [[1] * 2, [-2] * 2])
  (loss, metrics), (gradient, _) = evaluate(
    gmpo(clip_low=0.4, clip_high=0.4), tokens, "seq-mean-token-mean"
  )
  # means of 0.4 and 0.1, and of 0.6 and -0.4
  near(loss, (-np.exp(0.25) + 2 * np.exp(0.1)) / 2)
  expected = np.array([[0, -np.exp(0.25)], [2 * np.exp(0.1), 0]]) / 4
  near(gradient, np.float32(expected))
  assert metrics["actor/pg_clipfrac"].total == 2


def test_vespo_weighs_whole_sequences_by_the_product_of_their_ratios():
  log_ratios = np.log([[3.0, 0.5], [0.25, 2.0]])  # products 1.5 and 0.5
  tokens = hand_tokens(log_ratios, [[1] * 2, [-2] * 2])
  (loss, metrics), (gradient, _) = evaluate(vespo(), tokens)
  right = 1.5**2 * np.exp(3 * (1 - 1.5))
  wrong = 0.5**3 * np.exp(2 * (1 - 0.5))
  expected = np.array([[-right] * 2, [2 * wrong] * 2]) / 4
  near(gradient, np.float32(expected))
  near(loss, np.sum(expected * np.asarray(tokens.log_probs)))
  near(metrics["vespo/weight"].total, 2 * (right + wrong))


def test_a_sequence_far_from_the_sampling_policy_weighs_nothing_in_vespo():
  tokens = hand_tokens([[60.0, 60.0], [-60.0, -60.0]], [[1] * 2, [-1] * 2])
  (loss, _), (gradient, _) = evaluate(vespo(), tokens)
  assert np.isfinite(loss)
  # exp(3 - 3 exp(20)) is 0, and 1e-24 e^2 next to it
  near(gradient, np.zeros((2, 2), np.float32))


@pytest.mark.parametrize(
  ("settings", "low", "high"),
  [
    # the thresholds D alone
    ({"low_share": 1.0}, lambda p: 0.4 - 0.3 * p, lambda p: 0.4 - 0.3 * p),
    # 3/4 of D with 1/4 of a constant 0.2, and the other side constant
    (
      {"high_share": 0.75, "high_ends": (0.8, 0.4)},
      lambda p: 0.2,
      lambda p: 0.75 * (0.8 - 0.4 * p) + 0.25 * 0.2,
    ),
    (
      {"high_share": 0.0, "low_share": 0.5, "low_ends": (0.6, 0.2)},
      lambda p: 0.5 * (0.6 - 0.4 * p) + 0.5 * 0.2,
      lambda p: 0.2,
    ),
  ],
)
def test_dynamic_clip_compares_the_ratio_with_a_threshold_of_its_probability(
  settings, low, high
):
  ratio = np.array([[0.5, 0.65, 0.75, 0.9, 1.1, 1.25, 1.3, 1.5]] * 2)
  tokens = hand_tokens(np.log(ratio), [[1] * 8, [-2] * 8])
  (_, metrics), (gradient, _) = evaluate(
    dynamic_clip(**settings, dual_clip=None), tokens
  )
  # the old policy is at 1/e; the paper's condition has the current probability
  p = ratio / np.e
  advantages = np.array([[1.0], [-2.0]])
  beyond = np.where(advantages > 0, ratio > 1 + high(p), ratio < 1 - low(p))
  assert beyond.any(axis=1).all()
  near(gradient, np.float32(np.where(beyond, 0, -advantages * ratio) / 16))
  assert metrics["actor/pg_clipfrac"].total == beyond.sum()


@pytest.mark.parametrize(
  ("coefficient", "shares"),
  [
    (1.0, {"high_share": 1.0, "low_share": 0.0}),
    (0.0, {"high_share": 0.0, "low_share": 1.0}),
  ],
)
def test_oscillating_clip_is_dynamic_on_the_side_that_its_controller_chooses(
  coefficient, shares, random_tokens
):
  tokens = random_tokens(22, 5, 7)
  expected = evaluate(dynamic_clip(**shares), tokens)
  actual = evaluate(oscillating_clip(), tokens, coefficient=coefficient)
  same(actual[0][0], expected[0][0])
  same(actual[1], expected[1])


def test_the_value_of_a_clipped_token_is_where_ratio_and_threshold_meet():
  tokens = hand_tokens([[2.0]], [[1.0]])
  (loss, _), _ = evaluate(dynamic_clip(), tokens)
  bound = -float(loss)
  # 1 + 0.4 - 0.3 r / e = r
  np.testing.assert_allclose(bound, 1.4 - 0.3 * bound / np.e, rtol=1e-6)


def test_dppo_stops_where_a_probability_has_moved_too_far():
  # q = 1/e; p is above it by 0.2 and 0.1, and below it by 0.1 and 0.2
  p = np.exp(-1) + np.array([[0.2, 0.1, -0.1, -0.2]] * 2)
  tokens = hand_tokens(np.log(p) + 1, [[1] * 4, [-2] * 4])
  (loss, metrics), (gradient, _) = evaluate(
    dppo(low=0.15, high=0.15, max_ratio=1.2), tokens
  )
  weight = np.minimum(p * np.e, 1.2)
  expected = weight * [[0, -1, -1, -1], [2, 2, 2, 0]] / 8
  near(gradient, np.float32(expected))
  near(loss, np.sum(expected * np.log(p)))
  assert metrics["actor/pg_clipfrac"].total == 2


def test_dppo_s_binary_kl_is_that_of_two_outcomes():
  p, q = np.exp(-1) + np.array([[0.2, 0.1, -0.1, -0.2]] * 2), np.exp(-1)
  kl = q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))
  tokens = hand_tokens(np.log(p) + 1, [[1] * 4, [-2] * 4])
  # just above the divergence at 0.1 above q, just below that at 0.1 below q
  objective = dppo(divergence="kl", low=kl[0, 2] * 0.99, high=kl[0, 1] * 1.01)
  _, (gradient, _) = evaluate(objective, tokens)
  expected = p / q * [[0, -1, -1, -1], [2, 2, 0, 0]] / 8
  near(gradient, np.float32(expected))


def test_sapo_has_a_gate_of_its_own_for_either_sign():
  # tau (r - 1) = log 3 for A > 0, -log 3 for A < 0: sigmoids 3/4 and 1/4
  ratios = np.array([[1 + np.log(3) / 2, 1 - np.log(3) / 4]])
  tokens = hand_tokens(np.log(ratios), [[3, -1]])
  (loss, metrics), (gradient, _) = evaluate(
    sapo(tau_positive=2.0, tau_negative=4.0), tokens
  )
  near(loss, (-3 * (4 / 2) * 0.75 + (4 / 4) * 0.25) / 2)
  # the gate 4 s (1 - s) is 3/4 for both
  near(gradient, np.float32(np.array([[-3, 1]]) * 0.75 * ratios / 2))
  near(metrics["sapo/gate"].total, 1.5)


def test_ce_gppo_of_no_strength_has_the_gradients_of_ppo(random_tokens):
  tokens = random_tokens(20, 5, 7)
  _, gradients = evaluate(ce_gppo(beta_low=0.0, beta_high=0.0), tokens)
  same(gradients, evaluate(ppo_clip(clip_high=0.28), tokens)[1])


def test_ce_gppo_of_full_strength_has_the_value_of_ppo(random_tokens):
  tokens = random_tokens(21, 5, 7)
  (loss, _), _ = evaluate(ce_gppo(beta_low=1.0, beta_high=1.0), tokens)
  near(loss, evaluate(ppo_clip(clip_high=0.28), tokens)[0][0])


def test_the_dual_clip_of_ce_gppo_binds_at_negative_advantages_only():
  tokens = hand_tokens(np.log([[5.0, 1.2], [5.0, 1.2]]), [[1, 1], [-1, -1]])
  objective = ce_gppo(clip_high=0.5, beta_high=1.0, dual_clip=3.0)
  (loss, _), (gradient, _) = evaluate(objective, tokens)
  # at A > 0 the ratio 5 is bounded by 1 + clip_high and keeps its gradient; at
  # A < 0 its loss is bounded by 3 and has none
  near(loss, (-1.5 - 1.2 + 3 + 1.2) / 4)
  near(gradient, np.float32([[-1.5, -1.2], [0, 1.2]]) / 4)


def test_ce_gppo_keeps_a_bounded_gradient_where_ppo_clips():
  log_ratios = np.log([[1.5, 0.5], [1.5, 0.5]])
  tokens = hand_tokens(log_ratios, [[1, 1], [-1, -1]])
  _, (gradient, _) = evaluate(ce_gppo(beta_low=0.5, beta_high=0.25), tokens)
  expected = np.array([[-0.25 * 1.28, -0.5], [1.5, 0.5 * 0.8]]) / 4
  near(gradient, np.float32(expected))
