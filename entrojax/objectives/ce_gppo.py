"""CE-GPPO: tokens that PPO would clip keep a bounded gradient.

    A < 0, r < 1 - clip_low:   L = -beta_low (1 - clip_low) (r / sg r) A
    A > 0, r > 1 + clip_high:  L = -beta_high (1 + clip_high) (r / sg r) A
    elsewhere:                 L = -A r
    where A < 0, if dual_clip is set:  L <- min(L, -A dual_clip)

sg is stop_gradient: r / sg r has the value 1 and the gradient of log pi. Only a
token that the dual clip bounds loses its gradient. arXiv 2509.20712 and its
released code.
"""

import jax
import jax.numpy as jnp

from entrojax.arguments import require_at_least, require_in
from entrojax.masking import mean_metric, share_metric
from entrojax.objectives.chain import add_term
from entrojax.objectives.surrogates import (
  dual_clipped,
  probability_ratio,
  require_dual_clip,
  unclipped_loss,
)
from entrojax.traits import ObjectiveTraits
from entrojax.types import Objective


@ObjectiveTraits(kind="surrogate", inert_on_policy=True, clips_tokens=True)
def ce_gppo(
  *,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  beta_low: float = 0.75,
  beta_high: float = 1.0,
  dual_clip: float | None = 3.0,
) -> Objective:
  """Build CE-GPPO's surrogate.

  With both betas 0 it has the gradients of PPO, with both 1 the values of PPO.

  Args:
    clip_low: tokens with r < 1 - clip_low are bounded where A < 0, in [0, 1].
    clip_high: tokens with r > 1 + clip_high are bounded where A > 0, >= 0.
    beta_low: strength of the bounded tokens where A < 0, >= 0. More lowers the
      entropy. The paper uses 0.5 at 1.5B and 0.75 at 7B parameters.
    beta_high: strength of the bounded tokens where A > 0, >= 0. More raises
      the entropy.
    dual_clip: bound of the loss where A < 0, in units of |A|, above
      1 + clip_high; None for no bound.

  Returns:
    A surrogate, an Objective that adds the term L.
  """
  require_in("ce_gppo.clip_low", clip_low, "[0, 1]")
  require_at_least("ce_gppo.clip_high", clip_high, 0, or_inf=True)
  require_at_least("ce_gppo.beta_low", beta_low, 0)
  require_at_least("ce_gppo.beta_high", beta_high, 0)
  require_dual_clip("ce_gppo.dual_clip", dual_clip, clip_high)

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    advantages = tokens.advantages
    ratio = probability_ratio(tokens.log_probs, tokens.old_log_probs)
    one = ratio / jax.lax.stop_gradient(ratio)  # with the gradient of log pi
    below = (advantages < 0) & (ratio < 1 - clip_low)
    above = (advantages > 0) & (ratio > 1 + clip_high)
    bounded = jnp.where(
      below, beta_low * (1 - clip_low), beta_high * (1 + clip_high)
    )
    loss = unclipped_loss(
      jnp.where(below | above, bounded * one, ratio), advantages
    )
    metrics = {"actor/pg_clipfrac": share_metric(below | above, tokens.mask)}
    stopped = False
    if dual_clip is not None:
      loss, stopped = dual_clipped(loss, advantages, dual_clip)
    metrics["actor/pg_loss"] = mean_metric(loss, tokens.mask)
    return add_term(token_loss, loss, tokens.mask, metrics, stopped=stopped)

  return objective
