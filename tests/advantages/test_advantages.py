"""Test baselines against float64 twins and their own identities."""

import jax.numpy as jnp
import numpy as np
import pytest

from entrojax import advantages
from entrojax.types import Responses


def of_rewards(make):
  """Turn a baseline into a function rewards -> advantages."""
  return lambda rewards: make()(Responses(rewards=rewards)).advantages


RULES = {
  name: of_rewards(getattr(advantages, name))
  for name in ("grpo", "dr_grpo", "rloo")
}

every_rule = pytest.mark.parametrize("name", RULES)


def twin(name, rewards):
  """Compute one group's advantages response by response, in float64."""
  rewards = [float(r) for r in rewards]
  size = len(rewards)
  if max(rewards) - min(rewards) < 1e-6:
    return [0.0] * size
  if name == "rloo":  # minus the mean of the others
    return [r - (sum(rewards) - r) / (size - 1) for r in rewards]
  mean = sum(rewards) / size
  if name == "dr_grpo":
    return [r - mean for r in rewards]
  variance = sum((r - mean) ** 2 for r in rewards) / (size - 1)
  return [(r - mean) / (variance**0.5 + 1e-6) for r in rewards]


def random_rewards(seed, num_groups=5, group_size=8):
  rng = np.random.default_rng(seed)
  return np.float32(rng.normal(size=(num_groups, group_size)))


@every_rule
def test_a_rule_is_its_formula_written_out(name):
  rewards = random_rewards(0)
  rewards[1] = [0, 1, 1, 0, 0, 0, 0, 1]
  # float32 numbers of size 1 to 3
  np.testing.assert_allclose(
    RULES[name](jnp.asarray(rewards)),
    [twin(name, group) for group in rewards],
    rtol=0,
    atol=2e-6,
  )


@every_rule
@pytest.mark.parametrize(
  ("reward", "group_size"),
  [
    (0.3, 8),  # whose float32 mean may be off by one step
    (-0.7, 16),
    (0.1, 7),
    (1 / 3, 5),
    (-1e4, 6),
    (0.0, 8),
    (1.0, 2),
  ],
)
def test_a_group_of_equal_rewards_has_advantages_of_exactly_0(
  name, reward, group_size
):
  rewards = np.full((3, group_size), reward, np.float32)
  rewards[1, 0] += 1  # a neighbour that does carry a signal
  actual = np.asarray(RULES[name](jnp.asarray(rewards)))
  assert not actual[[0, 2]].any()
  assert actual[1].all()


@every_rule
def test_the_advantages_of_a_group_sum_to_0(name):
  actual = RULES[name](jnp.asarray(random_rewards(1)))
  # 8 float32 numbers below 4
  np.testing.assert_allclose(np.sum(actual, axis=1), 0, atol=4e-6)


def test_maxrl_weighs_a_prompt_by_one_over_its_success_rate():
  rewards = jnp.array([[1.0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]])
  # (1 - p) / p where right, -1 where wrong
  expected = [[3.0, -1, -1, -1], [1, 1, -1, -1], [1 / 3, 1 / 3, 1 / 3, -1]]
  actual = of_rewards(advantages.maxrl)(rewards)
  # the 1e-6 beside a rate of 1/4 or more
  np.testing.assert_allclose(actual, expected, rtol=5e-6)


def test_maxrl_divides_by_the_verdicts_whatever_the_rewards():
  # an overlong penalty of 1 brings the mean of the first group to -1/2
  responses = Responses(
    rewards=jnp.array([[1.0, -1, -1, -1], [0, -1, -1, 0]]),
    correctness=jnp.array([[1.0, 0, 0, 0], [0, 0, 0, 0]]),
  )
  expected = [[6.0, -2, -2, -2], [0, 0, 0, 0]]
  actual = advantages.maxrl()(responses).advantages
  np.testing.assert_allclose(actual, expected, rtol=5e-6)


def test_rloo_is_dr_grpo_times_g_over_g_minus_1():
  rewards = jnp.asarray(random_rewards(2))
  # one float32 product
  np.testing.assert_allclose(
    RULES["rloo"](rewards), 8 / 7 * RULES["dr_grpo"](rewards), rtol=1e-6
  )


def test_grpo_does_not_depend_on_the_unit_of_rewards():
  rewards = jnp.asarray(random_rewards(3))
  # the 1e-6 beside the deviation, which is about 1
  np.testing.assert_allclose(
    RULES["grpo"](1000 * rewards), RULES["grpo"](rewards), rtol=1e-5
  )


@every_rule
def test_groups_do_not_see_each_other(name):
  rewards = random_rewards(4)
  whole = np.asarray(RULES[name](jnp.asarray(rewards)))
  for row in range(len(rewards)):
    alone = RULES[name](jnp.asarray(rewards[row : row + 1]))
    # the same sums; a wider array may add them in another order
    np.testing.assert_allclose(whole[row : row + 1], alone, atol=1e-6)


@every_rule
def test_a_group_of_one_response_is_refused(name):
  with pytest.raises(ValueError, match="group_size must be at least 2"):
    RULES[name](jnp.ones((4, 1)))


def test_rewards_without_groups_are_refused():
  with pytest.raises(AssertionError, match="rank"):
    advantages.apply_rules(
      {"grpo": advantages.grpo()}, Responses(rewards=jnp.ones(8))
    )
