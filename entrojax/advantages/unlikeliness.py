"""The unlikeliness reward: likely right responses earn less than unlikely ones.

    R <- R (1 - beta a / G)    for right responses

a is the number of less likely responses in the group of G: 0 for the least
likely response, G - 1 for the most likely one. Likelihood is the mean log-prob
of the tokens, or their sum if `score` is set to "sum". Rewards are f32[Q, G]. A
group in which all responses are right is left unchanged: with the factor, the
advantages in that group would depend on likelihood alone.

The method is from "Rewarding the Unlikely", arXiv 2506.02355. As in its
released code, ranks count from 1 = most likely and go to all responses, so that
a = G - rank. With rank_base = 0 they count from 0, and a is larger by 1. With
rank_among = "correct", a is the number of less likely right responses.

`uplift_rate` measures, for each rank, how often an update raised the log-prob
of right responses.
"""

import chex
import jax.numpy as jnp

from entrojax.advantages.baselines import all_equal
from entrojax.advantages.rules import (
  is_right,
  keep_mask,
  require_field,
  with_rewards,
)
from entrojax.arguments import require_in, require_one_of
from entrojax.masking import divide
from entrojax.traits import RuleTraits
from entrojax.types import AdvantageRule, Array, Responses


@RuleTraits(kind="shaping")
def unlikeliness(
  *,
  beta: float = 0.25,
  rank_base: int = 1,
  rank_among: str = "all",
  score: str = "mean",
) -> AdvantageRule:
  """Build the factor on rewards; put it before the baseline.

  It needs several updates per rollout batch to reach the unlikely responses:
  the paper takes two epochs.

  Args:
    beta: the largest share of a reward that is taken away, in [0, 1].
    rank_base: the rank of the most likely response, 0 or 1. 1 is as released.
      0, the paper's other reading, takes beta / G more from every response.
    rank_among: which responses of a group occupy ranks: "all", or only the
      "correct" ones.
    score: the likelihood that ranks responses. "mean": the mean log-prob of
      the tokens, as released. "sum": their sum, the paper's probability of the
      sequence, by which short responses are likely.
  """
  require_in("unlikeliness.beta", beta, "[0, 1]")
  require_one_of("unlikeliness.rank_base", rank_base, (0, 1))
  require_one_of("unlikeliness.rank_among", rank_among, ("all", "correct"))
  require_one_of("unlikeliness.score", score, ("mean", "sum"))

  def rule(responses: Responses) -> Responses:
    scores = require_field(responses, "log_probs", "unlikeliness")
    if score == "sum":
      scores = scores * require_field(responses, "lengths", "unlikeliness")
    right = is_right(responses)
    ranked = keep_mask(responses)
    if rank_among == "correct":
      ranked = ranked * right
    below = num_less_likely(scores, ranked) + (1 - rank_base)
    factor = 1.0 - beta * below / scores.shape[1]
    # only right answers, and only in groups that have wrong ones as well
    mixed = ~all_equal(right.astype(jnp.float32))
    factor = jnp.where(right & mixed, factor, 1.0)
    return with_rewards(responses, responses.rewards * factor, "unlikeliness")

  return rule


def num_less_likely(scores: Array, ranked: Array) -> Array:
  """Count, for each response, the ranked ones of its group that score lower.

  Args:
    scores: f32[Q, G].
    ranked: f32[Q, G], 1 = occupies a rank.

  Returns:
    f32[Q, G]; of equal scores, the first counts as the lower.
  """
  chex.assert_equal_shape([scores, ranked])
  own, other = scores[:, :, None], scores[:, None, :]
  index = jnp.arange(scores.shape[1])
  before = (index[None, :] < index[:, None])[None]
  below = (other < own) | ((other == own) & before)
  return jnp.sum(below * ranked[:, None, :], axis=2)


def uplift_rate(before: Array, after: Array, correct: Array) -> Array:
  """Compute how often an update raised right responses, for each rank.

  The rate u_j is the share of right responses at likelihood rank j whose
  log-prob rose. Under GRPO it falls with the rank: unlikely right responses
  gain least.

  Args:
    before: f32[Q, G], nats, log-probs before the update, by which responses
      are ranked.
    after: f32[Q, G], nats, log-probs after the update.
    correct: f32[Q, G], 1 = right.

  Returns:
    f32[G], in [0, 1], by rank, 0 = most likely; 0 where no right response has
    the rank.
  """
  chex.assert_equal_shape([before, after, correct])
  group_size = before.shape[1]
  rank = group_size - 1 - num_less_likely(before, jnp.ones_like(before))
  ranks = jnp.arange(group_size)[None, None]
  at_rank = (rank[..., None] == ranks) * correct[..., None]
  rose = jnp.sum(at_rank * (after > before)[..., None], axis=(0, 1))
  return divide(rose, jnp.sum(at_rank, axis=(0, 1)))
