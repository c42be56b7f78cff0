"""The unlikeliness reward: its ranks, its factor, its golden values."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from entrojax import advantages
from entrojax.types import Responses
from tests.helpers.paths import GOLDENS
from tests.helpers.rule_cases import apply, close, random_responses, same

METHODS = json.loads((GOLDENS / "methods.json").read_text())


def ranked_group():
  """Build a group of 8 responses whose likelihood falls with the index."""
  golden = METHODS["unlikeliness"]
  rewards = np.zeros((1, 8), np.float32)
  rewards[0, golden["right_at"]] = 1
  return Responses(
    rewards=jnp.asarray(rewards),
    log_probs=-0.1 * jnp.arange(8.0).reshape(1, 8) - 0.2,
  )


@pytest.mark.parametrize("rank_base", [1, 0])
def test_unlikeliness_has_its_golden_rewards_and_advantages(rank_base):
  golden = METHODS["unlikeliness"]
  expected = golden[f"rank_base_{rank_base}"]
  done = apply(
    ranked_group(),
    "unlikeliness",
    "grpo",
    unlikeliness={"beta": golden["beta"], "rank_base": rank_base},
  )
  close(done.rewards[0, jnp.array(golden["right_at"])], expected["rewards"])
  at = jnp.array([*golden["right_at"], 1])
  # the constants have 4 decimals
  close(done.advantages[0, at], expected["advantages"], atol=5.1e-5)
  plain = apply(ranked_group(), "grpo").advantages
  close(plain[0, at], golden["plain"], atol=5.1e-5)


def test_unlikeliness_of_0_is_the_baseline_bitwise():
  done = apply(
    random_responses(4), "unlikeliness", "grpo", unlikeliness={"beta": 0.0}
  )
  same(done.advantages, apply(random_responses(4), "grpo").advantages)


def test_wrong_responses_earn_nothing_and_likely_right_ones_earn_less():
  done = apply(random_responses(4), "unlikeliness", "grpo")
  responses = random_responses(4)
  for rewards, log_probs, raw, adv in zip(
    done.rewards,
    responses.log_probs,
    responses.rewards,
    done.advantages,
    strict=True,
  ):
    assert not rewards[raw == 0].any()
    right = np.flatnonzero(raw)
    order = right[np.argsort(log_probs[right])]
    if 0 < right.size < 8:
      assert np.all(np.diff(np.asarray(adv)[order]) < 0)


def test_a_group_of_equal_rewards_gets_nothing_from_the_factor():
  done = apply(random_responses(4), "unlikeliness", "grpo")
  assert not done.advantages[-2:].any()


def test_the_sum_of_log_probs_takes_the_long_ones_for_unlikely():
  responses = Responses(
    rewards=jnp.array([[1.0, 1.0, 0.0]]),
    log_probs=jnp.array([[-0.5, -0.6, -9.0]]),
    lengths=jnp.array([[10.0, 2.0, 1.0]]),
  )
  mean = apply(responses, "unlikeliness", "grpo").rewards
  total = apply(
    responses, "unlikeliness", "grpo", unlikeliness={"score": "sum"}
  ).rewards
  # of 3, two are below the likeliest: 1 - 0.25 * 2 / 3
  close(mean, [[1 - 0.5 / 3, 1 - 0.25 / 3, 0]])
  # sums -5, -1.2, -9
  close(total, [[1 - 0.25 / 3, 1 - 0.5 / 3, 0]])


def test_ranks_among_the_correct_pass_over_the_wrong():
  done = apply(
    ranked_group(),
    "unlikeliness",
    "grpo",
    unlikeliness={"rank_among": "correct"},
  )
  close(
    done.rewards[0, jnp.array([0, 3, 6])],
    [1 - 0.25 * 2 / 8, 1 - 0.25 / 8, 1],
  )


def test_of_equal_likelihoods_the_first_counts_as_the_lower():
  responses = Responses(
    rewards=jnp.array([[1.0, 1.0, 0.0]]), log_probs=jnp.full((1, 3), -1.0)
  )
  done = apply(responses, "unlikeliness", "grpo")
  close(done.rewards, [[1, 1 - 0.25 / 3, 0]])


def test_the_uplift_rate_counts_right_responses_by_rank():
  before = jnp.array([[-1.0, -2.0, -3.0], [-3.0, -1.0, -2.0]])
  after = before + jnp.array([[0.1, -0.1, 0.1], [0.1, 0.1, -0.1]])
  correct = jnp.array([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
  # rank 0: one right, rose; rank 1: two, neither rose; rank 2: two, both rose
  same(advantages.uplift_rate(before, after, correct), [1.0, 0.0, 1.0])


def test_a_penalty_before_it_does_not_excuse_wrong_answers():
  wrong = Responses(
    rewards=jnp.zeros((1, 4)),
    correctness=jnp.zeros((1, 4)),
    log_probs=jnp.array([[-0.1, -0.2, -0.3, -0.4]]),
    lengths=jnp.array([[6.0, 9.0, 11.0, 12.0]]),
  )
  settings = {"overlong_penalty": {"max_length": 12, "cache_length": 6}}
  names = ("overlong_penalty", "grpo")
  expected = apply(wrong, *names, **settings).advantages
  actual = apply(wrong, names[0], "unlikeliness", names[1], **settings)
  same(actual.advantages, expected)
  right = dataclasses.replace(
    wrong, rewards=jnp.ones((1, 4)), correctness=jnp.ones((1, 4))
  )
  expected = apply(right, *names, **settings).advantages
  actual = apply(right, names[0], "unlikeliness", names[1], **settings)
  same(actual.advantages, expected)
