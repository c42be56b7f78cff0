"""CISPO: REINFORCE weighted by the clipped ratio, which is a constant.

    L = -stop_gradient(clip(r, 1 - clip_low, 1 + clip_high)) A log pi

MiniMax-M1, arXiv 2506.13585. The gradient flows through log pi alone, so a
token whose ratio is clipped keeps its gradient, unlike in PPO.
"""

import jax

from entrojax.arguments import require_at_least, require_in
from entrojax.masking import mean_metric, share_metric
from entrojax.objectives.chain import add_term
from entrojax.objectives.surrogates import clipped_loss, probability_ratio
from entrojax.traits import ObjectiveTraits
from entrojax.types import Objective


@ObjectiveTraits(kind="surrogate", inert_on_policy=True)
def cispo(*, clip_low: float = 0.2, clip_high: float = 0.28) -> Objective:
  """Build CISPO's surrogate.

  Args:
    clip_low: the weight of a token is at least 1 - clip_low, in [0, 1]; 1 = no
      lower bound.
    clip_high: the weight of a token is at most 1 + clip_high, >= 0.

  Returns:
    A surrogate, an Objective that adds the term L.
  """
  require_in("cispo.clip_low", clip_low, "[0, 1]")
  require_at_least("cispo.clip_high", clip_high, 0, or_inf=True)

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    ratio = probability_ratio(tokens.log_probs, tokens.old_log_probs)
    weight = clipped_loss(
      ratio, tokens.advantages, clip_low=clip_low, clip_high=clip_high
    )
    loss = jax.lax.stop_gradient(weight) * tokens.log_probs
    beyond = (ratio < 1 - clip_low) | (ratio > 1 + clip_high)
    metrics = {
      "actor/pg_clipfrac": share_metric(beyond, tokens.mask),
      "actor/pg_loss": mean_metric(loss, tokens.mask),
    }
    return add_term(token_loss, loss, tokens.mask, metrics, stopped=False)

  return objective
