"""Test baselines against float64 twins and their own identities."""

import itertools

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


def test_qae_learns_from_one_side_of_a_group():
  rewards = jnp.array(
    [[1.0, 0, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
  )
  # up to a success rate of 1 - 0.4 right responses, above it wrong ones
  rare, even = 0.2**-0.5, 0.3**-0.5
  expected = [
    [rare, 0, 0, 0, 0],
    [even, even, even, 0, 0],
    [0, 0, 0, 0, -rare],
    [0, 0, 0, 0, 0],
  ]
  actual = of_rewards(advantages.qae)(rewards)
  # the 1e-6 beside a deviation of 0.45
  np.testing.assert_allclose(actual, expected, rtol=3e-6)


@pytest.mark.parametrize(
  ("quantile", "rank"), [(0.05, 0), (0.1, 0), (0.7, 6), (0.75, 7), (1.0, 9)]
)
def test_the_quantile_is_the_least_reward_that_this_share_does_not_exceed(
  quantile, rank
):
  rewards = jnp.arange(10.0)[None]
  actual = of_rewards(lambda: advantages.qae(quantile=quantile))(rewards)
  # the response of this rank is the baseline
  assert jnp.argmin(jnp.abs(actual)) == rank
  assert actual[0, rank] == 0


def test_rs_grpo_compares_exponentials_of_rewards():
  make = lambda: advantages.rs_grpo(beta=np.log(3))
  actual = of_rewards(make)(jnp.array([[1.0, 0], [0, 0]]))
  # exponentials 3 and 1 over their mean of 2
  expected = np.array([[0.5, -0.5], [0, 0]]) / np.log(3)
  np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_rs_grpo_is_finite_for_a_large_beta():
  make = lambda: advantages.rs_grpo(beta=1e4)
  actual = of_rewards(make)(jnp.array([[1.0, 0, 0, 0]]))
  np.testing.assert_allclose(actual, [[3e-4, -1e-4, -1e-4, -1e-4]])


def test_gdpo_compares_each_part_of_the_reward_by_itself():
  right = np.array([[1.0, 0, 0, 0], [1, 1, 1, 1]])
  short = np.array([[0.01, 0.02, 0.01, 0], [0, 0, 0.03, 0]])
  standard = lambda x: (
    (x - x.mean(1, keepdims=True)) / (x.std(1, ddof=1, keepdims=True) + 1e-6)
  )
  responses = Responses(
    rewards=jnp.array(right + short),
    parts={"right": jnp.array(right), "short": jnp.array(short)},
  )
  rule = advantages.gdpo(parts=("right", "short"), weights=(1.0, 0.5))
  # the group that is all right has nothing but the other part
  expected = standard(right) + 0.5 * standard(short)
  # rounding of float32 parts near 0.01, divided by their deviation
  np.testing.assert_allclose(rule(responses).advantages, expected, atol=1e-5)
  alone = advantages.gdpo()(responses).advantages
  np.testing.assert_array_equal(alone, advantages.grpo()(responses).advantages)


def test_gdpo_names_a_part_that_the_rewards_lack():
  zeros = jnp.zeros((1, 4))
  responses = Responses(rewards=zeros, parts={"right": zeros})
  with pytest.raises(ValueError, match=r"parts names 'short'.* are right"):
    advantages.gdpo(parts=("short",))(responses)


def sets_twin(right, k):
  """Average the normalised advantages of all sets of k over each member."""
  sets = list(itertools.combinations(range(len(right)), k))
  rewards = np.array([max(right[i] for i in chosen) for chosen in sets], float)
  if rewards.std() == 0:
    return np.zeros(len(right))
  normal = (rewards - rewards.mean()) / rewards.std()
  return [
    np.mean([a for a, s in zip(normal, sets, strict=True) if i in s])
    for i in range(len(right))
  ]


@pytest.mark.parametrize("k", [1, 3, 6])
def test_pass_at_k_is_grpo_on_all_sets_of_k(k):
  right = np.tri(7, 6, -1)  # none to all of 6
  actual = of_rewards(lambda: advantages.pass_at_k(k=k))(jnp.asarray(right))
  expected = [sets_twin(row, k) for row in right]
  # products of 6 float32 fractions
  np.testing.assert_allclose(actual, expected, atol=2e-6)


def test_a_trial_larger_than_a_group_is_refused():
  with pytest.raises(
    ValueError, match=r"k = 5 needs groups .* have 4 .*group_size"
  ):
    of_rewards(lambda: advantages.pass_at_k(k=5))(jnp.ones((2, 4)))


def test_only_the_best_response_of_a_group_learns():
  rewards = jnp.array([[0.0, 0.75, 0.25], [1, 0, 1], [-1, -2, -4]])
  actual = of_rewards(advantages.best_of_group)(rewards)
  np.testing.assert_array_equal(actual, [[0, 0.5, 0], [0, 0, 0], [1, 0, 0]])


def test_whitened_advantages_are_normal_over_the_tokens_that_count():
  given = np.float32([[2.0, -1, 0.5], [0, 0, 3]])
  lengths = np.array([[1, 4, 2], [3, 1, 5]])
  keep = np.float32([[1, 1, 1], [1, 1, 0]])
  responses = Responses(
    rewards=jnp.asarray(given),
    lengths=jnp.asarray(lengths, jnp.float32),
    advantages=jnp.asarray(given),
    keep=jnp.asarray(keep),
  )
  tokens = np.repeat(given, (lengths * keep).astype(int).ravel())
  expected = (given - tokens.mean()) / tokens.std(ddof=1)
  actual = advantages.whiten()(responses).advantages
  np.testing.assert_allclose(actual, expected, rtol=2e-6)


@pytest.mark.parametrize("value", [0.3, -0.7, 0.0])
def test_whitened_equal_advantages_are_exactly_0(value):
  shape = (32, 8)
  lengths = np.random.default_rng(0).integers(5, 13, shape)
  responses = Responses(
    rewards=jnp.full(shape, value),
    lengths=jnp.asarray(lengths, jnp.float32),
    # an advantage that does not count may be anything
    advantages=jnp.full(shape, value).at[0, 0].set(5.0),
    keep=jnp.ones(shape).at[0, 0].set(0.0),
  )
  actual = advantages.whiten()(responses).advantages
  np.testing.assert_array_equal(np.asarray(actual).ravel()[1:], 0.0)


def test_grpo_s_pays_right_responses_by_their_share_of_the_entropy():
  responses = Responses(
    rewards=jnp.array([[1.0, 1, 0], [0, 0, 0]]),
    entropies=jnp.array([[0.3, 0.9, 5], [1, 2, 3]]),
  )
  actual = advantages.grpo_s(strength=0.5)(responses).rewards
  # their mean is 0.6
  expected = [[1.25, 1.75, 0], [0, 0, 0]]
  np.testing.assert_allclose(actual, expected, rtol=1e-6)


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
