"""Baselines that train for pass@k instead of pass@1.

N responses of a group, c of them right. `pass_at_k` treats every set of k
responses as one trial that is right if any of the k is, and averages over all
sets (Pass@k Training, arXiv 2508.10751, equations of the analytic form):

    f = C(N - c, k) / C(N, k)          the share of sets that fail
    s = sqrt(f (1 - f))
    right: A = f / s
    wrong: A = (f - C(N - c - 1, k - 1) / C(N - 1, k - 1)) / s

The second fraction of the last line is the share of a wrong response's sets
that fail. With k = 1 this is GRPO with a std of ddof 0. A group whose sets all
fail, or all succeed, gets exactly 0. `best_of_group` trains for pass@N: only
the best response learns,

    A = R_1 - R_2                      the best reward minus the second best

(arXiv 2503.19595, whose baseline of a response is the best reward of the
others). Advantages are f32[Q, G].

Deviation: verl's grpo_passk divides by the group's standard deviation unless
norm_adv_by_std_in_grpo is False. The paper does not, and neither do we.
"""

import jax.numpy as jnp

from entrojax.advantages.baselines import with_advantages
from entrojax.advantages.rules import is_right
from entrojax.arguments import require_at_least
from entrojax.traits import RuleTraits
from entrojax.types import AdvantageRule, Array, Responses


@RuleTraits(kind="baseline", ignores_rewards=True)
def pass_at_k(*, k: int = 4) -> AdvantageRule:
  """Build the analytic advantages of pass@k.

  The raw verdict decides which response is right, so a config that has a rule
  that shapes rewards as well is refused.

  Args:
    k: the number of responses of a trial, from 1 to the size of a group. The
      rule raises ValueError for a smaller group.
  """
  require_at_least("pass_at_k.k", k, 1)

  def rule(responses: Responses) -> Responses:
    right = is_right(responses)
    size = right.shape[1]
    if k > size:
      raise ValueError(
        f"pass_at_k.k = {k} needs groups of at least as many responses, and "
        f"these have {size} (in training, rollout.group_size)"
      )
    wrong = jnp.sum(~right, axis=1, keepdims=True)
    fails = _share_of_sets(wrong, size, k)
    fails_with_one = _share_of_sets(wrong - 1, size - 1, k - 1)
    deviation = jnp.sqrt(fails * (1 - fails))
    silent = deviation == 0
    advantages = jnp.where(right, fails, fails - fails_with_one)
    advantages = advantages / jnp.where(silent, 1.0, deviation)
    return with_advantages(responses, jnp.where(silent, 0.0, advantages))

  return rule


@RuleTraits(kind="baseline")
def best_of_group() -> AdvantageRule:
  """Build A = best - second best for the best response, and 0 for the others.

  Several best responses have A = 0 as well: the group has reached the reward
  without any one of them.
  """

  def rule(responses: Responses) -> Responses:
    rewards = responses.rewards
    if rewards.shape[1] < 2:
      raise ValueError(
        "a group of 1 response has no second best: group_size must be at least "
        "2"
      )
    ordered = jnp.sort(rewards, axis=1)
    best, second = ordered[:, -1:], ordered[:, -2:-1]
    return with_advantages(
      responses, jnp.where(rewards == best, best - second, 0.0)
    )

  return rule


def _share_of_sets(marked: Array, size: int, k: int) -> Array:
  """Compute C(marked, k) / C(size, k): sets of k that are all marked.

  Args:
    marked: i32[Q, 1], the marked ones among `size`; below k the share is 0.
    size: the number of all.
    k: the size of a set, from 0 to `size`.
  """
  share = jnp.ones(marked.shape, jnp.float32)
  for i in range(k):
    share *= jnp.maximum(marked - i, 0) / (size - i)
  return share
