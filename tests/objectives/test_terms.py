"""Test the penalties: the reference KL and the entropy bonuses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.entropy.statistics import top_p_entropy
from entrojax.objectives import (
  adaptive_entropy,
  entropy_bonus,
  reference_kl,
  siren,
)
from entrojax.objectives.reference_kl import k1, k2, k3
from tests.helpers.objective_cases import (
  OBJECTIVES,
  evaluate,
  hand_tokens,
  near,
  same,
)


@pytest.mark.parametrize("estimator", [k1, k2, k3])
def test_a_kl_estimator_is_0_at_the_reference(estimator):
  assert estimator(jnp.float32(0)) == 0


def test_k2_and_k3_are_never_negative():
  x = jnp.linspace(-30, 30, 601)
  assert jnp.all(k2(x) >= 0)
  assert jnp.all(k3(x) >= 0)


@pytest.mark.parametrize("x", [-1000.0, -30.0, 15.0])
def test_k3_is_bounded_by_10_and_stops_learning_there(x):
  # alone, exp(-x) + x - 1 would be infinite, 1e13 and 14
  value, gradient = jax.value_and_grad(k3)(jnp.float32(x))
  assert value == 10
  assert gradient == 0


def test_k3_is_unbiased_for_the_kl_of_two_distributions():
  policy = np.array([0.5, 0.3, 0.2])
  reference = np.array([0.25, 0.25, 0.5])
  x = np.log(policy / reference)
  expected = np.sum(policy * x)
  # 3 float32 terms below 1
  np.testing.assert_allclose(
    np.sum(policy * np.asarray(k3(jnp.asarray(x)))), expected, atol=1e-6
  )


def test_the_unbiased_kl_has_the_kl_s_gradient_once_the_policy_has_moved():
  # one row per token of a vocabulary of 4
  sampled, policy, reference = np.random.default_rng(1).dirichlet([2] * 4, 3)
  column = lambda x: np.float32(np.log(x))[:, None]
  tokens = hand_tokens(
    np.zeros((4, 1)),
    np.zeros((4, 1)),
    log_probs=column(policy),
    old_log_probs=column(sampled),
    ref_log_probs=column(reference),
  )
  penalty = reference_kl(kl_coef=0.5, ratio_weighted=True)
  (loss, _), (gradient, _) = evaluate(penalty, tokens, "seq-mean-token-sum")
  x = np.log(policy / reference)
  ratio = policy / sampled
  near(loss, 0.5 * np.mean(ratio * (np.exp(-x) + x - 1)))
  # the loss is a mean over the 4 rows; here samples of the old policy count
  per_token = sampled * 4 * np.asarray(gradient)[:, 0]
  derivative = per_token @ (
    np.eye(4) - policy
  )  # d log p_i / d logits = e_i - p
  near(derivative, 0.5 * policy * (x - np.sum(policy * x)))


def test_reference_kl_without_a_reference_is_refused(random_tokens):
  tokens = dataclasses.replace(random_tokens(0, 5, 7), ref_log_probs=None)
  with pytest.raises(ValueError, match="needs ref_log_probs"):
    evaluate(OBJECTIVES["reference_kl, k3"], tokens)


def test_the_adaptive_bonus_is_the_bonus_of_its_coefficient(random_tokens):
  tokens = random_tokens(26, 5, 7)
  (loss, _), gradients = evaluate(adaptive_entropy(), tokens, coefficient=0.25)
  (expected, _), expected_gradients = evaluate(
    entropy_bonus(entropy_coef=0.25), tokens
  )
  same((loss, gradients), (expected, expected_gradients))


def test_the_entropy_bonus_pushes_the_entropy_of_every_token_alike():
  tokens = hand_tokens(np.zeros((2, 4)), np.ones((2, 4)))
  (loss, _), (_, gradient) = evaluate(entropy_bonus(entropy_coef=0.5), tokens)
  near(loss, -0.5)
  near(gradient, np.full((2, 4), -0.5 / 8))


def test_siren_draws_the_entropy_of_peak_tokens_to_its_anchor():
  # half of the tokens are peak tokens: 3 and 2 nats in the first response, 4
  # in the second; h = (2.5 + 4) / 2
  entropy = jnp.float32([[3, 1, 2, 0], [4, 0, 9, 9]])
  tokens = hand_tokens(np.zeros((2, 4)), np.zeros((2, 4)))
  tokens = dataclasses.replace(
    tokens,
    mask=jnp.float32([[1, 1, 1, 1], [1, 1, 0, 0]]),
    statistics={top_p_entropy(0.8): entropy},
  )
  objective = siren(anchor=3.0, coef=0.1, fraction=0.5)
  for aggregate in ("token-mean", "seq-mean-token-mean"):
    (loss, metrics), (*_, gradient) = evaluate(objective, tokens, aggregate)
    near(loss, jnp.float32(0.1 * 0.25**2))
    # 2 coef (h - anchor) dh, and dh is 1/4 and 1/2 on peak tokens
    near(gradient, 0.05 * jnp.float32([[0.25, 0, 0.25, 0], [0.5, 0, 0, 0]]))
  near(metrics["siren/entropy"].total, jnp.float32(3.25))
  near(metrics["siren/touched"].total, jnp.float32(3))
