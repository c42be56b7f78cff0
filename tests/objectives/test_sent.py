"""Test SENT's token level: which tokens it pulls where, and how strongly."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.objectives import chain, ppo_clip, sent, sent_released
from tests.helpers.objective_cases import evaluate, hand_tokens, near, same

BETAS = {"beta_low": 0.25, "beta_high": 1.0}


def drifted_tokens(log_probs, advantages, entropy, **fields):
  """Build one row in which old and reference policy are at log pi - log 2.

  k3 is 1/2 + log 2 - 1 there, with a gradient of 1/2.
  """
  log_probs = np.float32([log_probs])
  half = log_probs - np.float32(np.log(2))
  return dataclasses.replace(
    hand_tokens(log_probs + 1, [advantages]),
    log_probs=jnp.asarray(log_probs),
    old_log_probs=jnp.asarray(half),
    ref_log_probs=jnp.asarray(half),
    entropy=jnp.asarray(np.float32([entropy])),
    **fields,
  )


def betas_of(objective, tokens, *, slope) -> np.ndarray:
  """Compute the beta of each token from the gradient, f32[B, T]."""
  _, (gradient, _) = evaluate(objective, tokens)
  return np.asarray(gradient) * float(tokens.mask.sum()) / slope


LOG_PROBS = [-0.01, -0.05, -0.7, -1.6, -0.02, -2.3]
ADVANTAGES = [1, 1, 1, -1, -1, -1]
ENTROPY = [0.05, 0.2, 0.9, 1.4, 0.1, 2.0]


def test_the_loss_is_the_divergence_of_each_token_times_its_beta():
  tokens = drifted_tokens(LOG_PROBS, ADVANTAGES, ENTROPY)
  (loss, metrics), _ = evaluate(
    sent(low_fraction=0.5, cov_fraction=0.4, **BETAS), tokens
  )
  # tokens 0, 1 and 4 are low, token 0 is of high covariance
  near(loss, (1 + 0.25 + 0.25) * (np.log(2) - 0.5) / 6)
  assert metrics["sent/touched"].total == 3
  assert metrics["sent/high_touched"].total == 1
  assert metrics["sent/touched"].count == metrics["sent/kl"].count * 2
  near(metrics["sent/kl"].total, 3 * (np.log(2) - 0.5))


def test_the_low_set_is_below_numpy_s_quantile(random_tokens):
  for seed in range(6):
    tokens = random_tokens(seed, 5, 7)
    valid = np.asarray(tokens.mask) > 0
    entropy = np.asarray(tokens.entropy, np.float64)
    # numpy's rounding; 1e-6 is below any gap of 20 draws
    threshold = np.quantile(entropy[valid], 0.8) - 1e-6
    expected = valid & (entropy < threshold)
    _, (gradient, _) = evaluate(sent(low_fraction=0.8), tokens)
    same(np.asarray(gradient) != 0, expected, f"seed {seed}")


def test_equal_entropies_are_split_by_place():
  tokens = drifted_tokens(LOG_PROBS, ADVANTAGES, [1.0] * 6)
  actual = betas_of(
    sent(low_fraction=0.5, cov_fraction=0.0, **BETAS), tokens, slope=0.5
  )
  near(actual, np.float32([[0.25, 0.25, 0.25, 0, 0, 0]]))


@pytest.mark.parametrize("advantage", [0.0, 0.3, -0.6])
def test_equal_advantages_leave_the_high_set_empty(advantage):
  # the float32 mean of six times 0.3 or 0.6 is another number
  tokens = drifted_tokens(LOG_PROBS, [advantage] * 6, ENTROPY)
  actual = betas_of(sent(cov_fraction=1.0, **BETAS), tokens, slope=0.5)
  near(actual, np.float32([[0.25, 0.25, 0.25, 0, 0.25, 0]]))


def test_tokens_without_an_advantage_do_not_move_the_means():
  few = drifted_tokens(LOG_PROBS, ADVANTAGES, ENTROPY)
  # extreme log-probs and the highest entropy: not low, and not in the means
  more = drifted_tokens(
    [*LOG_PROBS, -9.0, -9.0], [*ADVANTAGES, 0, 0], [*ENTROPY, 3.0, 3.0]
  )
  settings = {"cov_fraction": 0.7, **BETAS}
  expected = betas_of(sent(low_fraction=0.5, **settings), few, slope=0.5)
  assert set(expected.ravel().round(5)) == {0, 0.25, 1}
  actual = betas_of(sent(low_fraction=0.375, **settings), more, slope=0.5)
  near(actual[:, :6], expected)
  same(actual[:, 6:], np.zeros((1, 2), np.float32))


def test_a_token_of_negative_covariance_is_never_of_the_high_set():
  tokens = drifted_tokens(LOG_PROBS, ADVANTAGES, ENTROPY)
  actual = betas_of(
    sent(low_fraction=0.5, cov_fraction=1.0, **BETAS), tokens, slope=0.5
  )
  # covariances 0.77, 0.73 and, of token 4, -0.76
  near(actual, np.float32([[1, 1, 0, 0, 0.25, 0]]))


def test_sent_is_0_at_the_reference(random_tokens):
  tokens = random_tokens(30, 5, 7)
  tokens = dataclasses.replace(tokens, ref_log_probs=tokens.log_probs)
  (loss, _), gradients = evaluate(sent(), tokens)
  same((loss, gradients), jax.tree.map(jnp.zeros_like, (loss, gradients)))


def test_sent_without_a_reference_is_refused(random_tokens):
  tokens = dataclasses.replace(random_tokens(0, 5, 7), ref_log_probs=None)
  with pytest.raises(ValueError, match="sent needs ref_log_probs"):
    evaluate(chain(ppo_clip(), sent()), tokens)


# -- the released code --------------------------------------------------------


def test_the_released_penalty_pulls_both_ends_of_the_low_set():
  tokens = drifted_tokens(LOG_PROBS, ADVANTAGES, ENTROPY)
  (loss, metrics), (gradient, _) = evaluate(
    sent_released(low_fraction=0.5, cov_fraction=0.4, **BETAS), tokens
  )
  # within tokens 0, 1 and 4 the mean log pi is -0.08 / 3, the mean A 1 / 3:
  # covariances 0.0111, -0.0156 and -0.0089
  near(gradient, np.float32([[1, 0.25, 0, 0, 0, 0]]) / 6)
  near(loss, 1.25 * np.log(2) / 6)
  assert metrics["sent_released/touched"].total == 2
  assert metrics["sent_released/high_touched"].total == 1


def test_a_token_at_both_ends_has_the_lower_beta():
  tokens = drifted_tokens([-0.5, -0.1], [1, 1], [0.1, 0.9])
  _, (gradient, _) = evaluate(
    sent_released(low_fraction=0.5, cov_fraction=0.4, **BETAS), tokens
  )
  near(gradient, np.float32([[0.25, 0]]) / 2)


def test_the_released_penalty_is_0_on_the_sampling_policy(random_tokens):
  tokens = random_tokens(31, 5, 7)
  tokens = dataclasses.replace(tokens, old_log_probs=tokens.log_probs)
  (loss, _), gradients = evaluate(sent_released(cov_fraction=1.0), tokens)
  same((loss, gradients), jax.tree.map(jnp.zeros_like, (loss, gradients)))


def test_the_released_penalty_touches_the_ends_of_a_plain_sort(random_tokens):
  tokens = random_tokens(32, 5, 7)
  settings = {"low_fraction": 0.6, "cov_fraction": 0.3, **BETAS}
  actual = betas_of(sent_released(**settings), tokens, slope=1.0)
  mask = np.asarray(tokens.mask).ravel() > 0
  entropy, log_probs, advantages = (
    np.asarray(x, np.float64).ravel()
    for x in (tokens.entropy, tokens.log_probs, tokens.advantages)
  )
  low = np.argsort(np.where(mask, entropy, np.inf))[: int(0.6 * mask.sum())]
  order = low[
    np.argsort(
      (log_probs[low] - log_probs[low].mean())
      * (advantages[low] - advantages[low].mean())
    )
  ]
  k = int(0.3 * len(low))
  assert k > 1
  expected = np.zeros(35)
  expected[order[-k:]], expected[order[:k]] = 1.0, 0.25
  sign = np.sign(np.asarray(tokens.log_probs - tokens.old_log_probs)).ravel()
  expected[expected > 0] *= sign[expected > 0]
  near(actual.ravel(), np.float32(expected))
