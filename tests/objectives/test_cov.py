"""Test the covariance of log-prob and advantage, Clip-Cov and KL-Cov."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.entropy.covariance import token_covariance
from entrojax.objectives import (
  aggregation,
  clip_cov,
  kl_cov,
  policy_loss,
  ppo_clip,
)
from tests.helpers.objective_cases import (
  drop_all,
  evaluate,
  few_tokens,
  hand_tokens,
  near,
  pull_some,
  same,
  unclipped,
)


@pytest.mark.parametrize("make", [clip_cov, kl_cov])
def test_a_fraction_that_looks_like_a_percentage_is_warned_about(make):
  with pytest.warns(UserWarning, match=r"fraction = 0\.2 .* percent"):
    make(fraction=0.2)


def test_the_covariance_sums_to_the_population_s(random_tokens):
  tokens = random_tokens(12, 5, 7)
  covariance = token_covariance(
    tokens.log_probs, tokens.advantages, tokens.mask
  )
  valid = np.asarray(tokens.mask) > 0
  log_probs = np.asarray(tokens.log_probs)[valid]
  advantages = np.asarray(tokens.advantages)[valid]
  # np.cov with ddof 0 is the mean of the products
  near(
    covariance.sum(), valid.sum() * np.cov(log_probs, advantages, ddof=0)[0, 1]
  )
  moved = token_covariance(
    tokens.log_probs + 3, tokens.advantages - 2, tokens.mask
  )
  near(moved, covariance)


def test_the_covariance_is_a_constant(random_tokens):
  tokens = random_tokens(12, 5, 7)
  gradient = jax.grad(
    lambda x: token_covariance(x, tokens.advantages, tokens.mask).sum()
  )(tokens.log_probs)
  same(gradient, jnp.zeros((5, 7)))


def test_clip_cov_drops_as_many_of_the_candidates_as_asked():
  log_probs = np.linspace(-3.0, -0.1, 40).reshape(4, 10)
  advantages = np.repeat([[-1.0], [-1.0], [1.0], [1.0]], 10, axis=1)
  tokens = hand_tokens(log_probs + 1, advantages)
  tokens = dataclasses.replace(tokens, old_log_probs=tokens.log_probs)
  objective = few_tokens(clip_cov, fraction=0.125, cov_low=0.5)
  covariance = token_covariance(
    tokens.log_probs, tokens.advantages, tokens.mask
  )
  dropped_sets = []
  for seed in range(3):
    gradient = jax.grad(
      lambda log_probs, key: policy_loss(
        objective,
        aggregation.token_mean,
        dataclasses.replace(tokens, log_probs=log_probs),
        key=key,
      )[0]
    )(tokens.log_probs, jax.random.key(seed))
    dropped = np.asarray(gradient) == 0
    assert dropped.sum() == 5  # 0.125 * 40
    assert np.all(np.asarray(covariance)[dropped] > 0.5)
    same(gradient[~dropped], -tokens.advantages[~dropped] / 40)
    dropped_sets.append(tuple(np.flatnonzero(dropped)))
  assert len(set(dropped_sets)) == 3


def test_clip_cov_drops_only_tokens_between_its_bounds(random_tokens):
  tokens = random_tokens(23, 5, 7)
  covariance = token_covariance(
    tokens.log_probs, tokens.advantages, tokens.mask
  )
  _, (gradient, _) = evaluate(drop_all(cov_low=0.05, cov_high=0.4), tokens)
  _, (base, _) = evaluate(ppo_clip(clip_low=1.0, clip_high=1.0), tokens)
  between = (covariance > 0.05) & (covariance < 0.4) & (base != 0)
  assert 0 < between.sum() < ((covariance > 0.05) & (base != 0)).sum()
  same(gradient, jnp.where(between, 0.0, base))


def test_tokens_that_ppo_clips_are_no_candidates_of_clip_cov():
  # covariances (1 - 0)(2 - 0) and (-1 - 0)(-2 - 0); the first one is clipped
  tokens = hand_tokens([[2.0], [0.0]], [[2.0], [-2.0]])
  tokens = dataclasses.replace(
    tokens, old_log_probs=jnp.array([[-1.0], [-1.0]])
  )
  (loss, metrics), (gradient, _) = evaluate(drop_all(), tokens)
  assert metrics["actor/pg_clipfrac"].total == 1
  assert metrics["clip_cov/candidates"].total == 1
  same(gradient, jnp.zeros((2, 1)))
  same(loss, -2.0 * 2 / 2)


@pytest.mark.parametrize("kl_form", ["abs", "k2", "k3"])
def test_kl_cov_is_the_plain_policy_gradient_on_the_sampling_policy(
  kl_form, random_tokens
):
  tokens = random_tokens(13, 5, 7)
  tokens = dataclasses.replace(tokens, old_log_probs=tokens.log_probs)
  (loss, _), gradients = evaluate(pull_some(kl_form=kl_form), tokens)
  (base_loss, _), base_gradients = evaluate(unclipped, tokens)
  same((loss, gradients), (base_loss, base_gradients))


def test_k3_of_kl_cov_is_the_divergence_of_the_sampling_policy_s_tokens():
  # without advantages the pull is all there is. KL(pi_old || pi) on samples of
  # pi_old is the mean of r - 1 - log r, with the slope r - 1 in log pi; in the
  # other direction the slope would be 1 - 1 / r
  tokens = hand_tokens(np.log([[4.0, 0.25]]), [[0.0, 0.0]])
  objective = few_tokens(kl_cov, fraction=1.0, kl_form="k3")
  (loss, _), (gradient, _) = evaluate(objective, tokens)
  near(loss, ((4 - 1 - np.log(4)) + (0.25 - 1 + np.log(4))) / 2)
  near(gradient, np.float32([[4 - 1, 0.25 - 1]]) / 2)


def test_kl_cov_pulls_the_tokens_of_highest_covariance_back(random_tokens):
  tokens = random_tokens(14, 5, 7)
  _, (gradient, _) = evaluate(pull_some(kl_coef=0.5), tokens)
  _, (base, _) = evaluate(unclipped, tokens)
  num_tokens = int(tokens.mask.sum())
  covariance = np.asarray(
    token_covariance(tokens.log_probs, tokens.advantages, tokens.mask)
  )
  covariance = np.where(tokens.mask, covariance, -np.inf).ravel()
  pulled = np.argsort(-covariance)[: int(0.2 * num_tokens)]
  expected = np.zeros(35)
  direction = np.sign(tokens.log_probs - tokens.old_log_probs).ravel()
  expected[pulled] = 0.5 * direction[pulled] / num_tokens
  near(gradient - base, np.float32(expected.reshape(5, 7)))
