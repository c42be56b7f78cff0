"""The unlikeliness reward: of right responses, the likely ones earn less.

    R <- R (1 - beta a / G),     a = 0 (least likely) ... G - 1 in the group

"Rewarding the Unlikely", arXiv 2506.02355, and its released code, whose rank
counts from 1 at the most likely. A group of right answers alone is left alone:
the factor would give it advantages out of nothing.
"""

import chex
import jax.numpy as jnp

from entrojax.advantages.baselines import all_equal
from entrojax.advantages.rules import kept, known, right, shaped
from entrojax.masking import divide
from entrojax.types import AdvantageRule, Array, Responses


def unlikeliness(
  *,
  beta: float = 0.25,
  rank_base: int = 1,
  rank_among: str = "all",
  score: str = "mean",
) -> AdvantageRule:
  """Makes the factor; put it before the baseline.

  It needs several updates per rollout batch to reach the unlikely responses:
  the paper takes two epochs.

  Args:
    beta: the largest part of a reward that is taken, in [0, 1].
    rank_base: the rank of the most likely response. 1 as released; 0, the
      paper's other reading, takes beta / G more from everyone.
    rank_among: "all" responses of a group occupy ranks; or only the "correct".
    score: likelihood by "mean" log-prob of the tokens, as released, or by
      their "sum", the paper's sequence probability, to which short is likely.
  """
  if not 0 <= beta <= 1:
    raise ValueError(f"unlikeliness.beta must lie in [0, 1], got {beta}")
  for name, value, choices in (
    ("rank_base", rank_base, (0, 1)),
    ("rank_among", rank_among, ("all", "correct")),
    ("score", score, ("mean", "sum")),
  ):
    if value not in choices:
      raise ValueError(
        f"unlikeliness.{name} must be one of {choices}, got {value!r}"
      )

  def rule(responses: Responses) -> Responses:
    scores = known(responses, "log_probs", "unlikeliness")
    if score == "sum":
      scores = scores * known(responses, "lengths", "unlikeliness")
    ranked = kept(responses)
    if rank_among == "correct":
      ranked = ranked * right(responses)
    below = num_less_likely(scores, ranked) + (1 - rank_base)
    factor = 1.0 - beta * below / scores.shape[1]
    # right answers alone, and none of a group without wrong ones
    is_right = right(responses)
    mixed = ~all_equal(is_right.astype(jnp.float32))
    factor = jnp.where(is_right & mixed, factor, 1.0)
    return shaped(responses, responses.rewards * factor, "unlikeliness")

  return rule


def num_less_likely(scores: Array, ranked: Array) -> Array:
  """Returns how many of the ranked responses of its group score below each.

  Args:
    scores: f32[Q, G].
    ranked: f32[Q, G], 1 = occupies a rank.

  Returns:
    f32[Q, G]; of equal scores the first counts as the lower.
  """
  chex.assert_equal_shape([scores, ranked])
  own, other = scores[:, :, None], scores[:, None, :]
  place = jnp.arange(scores.shape[1])
  before = (place[None, :] < place[:, None])[None]
  below = (other < own) | ((other == own) & before)
  return jnp.sum(below * ranked[:, None, :], axis=2)


def uplift_rate(before: Array, after: Array, correct: Array) -> Array:
  """Returns how often an update raised right responses, by their rank.

  u_j is the share of right responses at likelihood rank j whose log-prob rose.
  Under GRPO it falls with the rank: unlikely right responses gain least.

  Args:
    before: f32[Q, G], nats, log-probs of responses that also rank them.
    after: f32[Q, G], nats, the same after the update.
    correct: f32[Q, G], 1 = right.

  Returns:
    f32[G], by rank, 0 = most likely; 0 where no right response has the rank.
  """
  chex.assert_equal_shape([before, after, correct])
  group_size = before.shape[1]
  rank = group_size - 1 - num_less_likely(before, jnp.ones_like(before))
  ranks = jnp.arange(group_size)[None, None]
  at_rank = (rank[..., None] == ranks) * correct[..., None]
  rose = jnp.sum(at_rank * (after > before)[..., None], axis=(0, 1))
  return divide(rose, jnp.sum(at_rank, axis=(0, 1)))
