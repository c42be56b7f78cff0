"""PPO's clipped surrogate, with two clip bounds and the dual clip.

    L = max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high))
    where A < 0, if dual_clip is set:  L = min(L, -A dual_clip)

PPO: arXiv 1707.06347, eq. 7. Decoupled range (Clip-Higher): DAPO, arXiv
2503.14476, eq. 10. Dual clip: arXiv 1912.09729, eq. 5.
"""

from entrojax.arguments import require_at_least, require_in
from entrojax.masking import mean_metric, share_metric
from entrojax.objectives.chain import add_term
from entrojax.objectives.surrogates import (
  clipped_loss,
  dual_clipped,
  larger_loss,
  probability_ratio,
  require_dual_clip,
  unclipped_loss,
)
from entrojax.traits import ObjectiveTraits
from entrojax.types import Objective


@ObjectiveTraits(kind="surrogate", inert_on_policy=True, clips_tokens=True)
def ppo_clip(
  *,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  dual_clip: float | None = 3.0,
) -> Objective:
  """Build PPO's clipped surrogate.

  Args:
    clip_low: the ratio is clipped below at 1 - clip_low, in [0, 1].
    clip_high: the ratio is clipped above at 1 + clip_high, >= 0.
    dual_clip: bound of the loss where A < 0, in units of |A|, above
      1 + clip_high; None for no bound. The default is verl's, and DAPO uses 10.

  Returns:
    A surrogate, an Objective that adds the term L.
  """
  require_in("ppo_clip.clip_low", clip_low, "[0, 1]")
  require_at_least("ppo_clip.clip_high", clip_high, 0, or_inf=True)
  require_dual_clip("ppo_clip.dual_clip", dual_clip, clip_high)

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    ratio = probability_ratio(tokens.log_probs, tokens.old_log_probs)
    plain = unclipped_loss(ratio, tokens.advantages)
    clipped = clipped_loss(
      ratio, tokens.advantages, clip_low=clip_low, clip_high=clip_high
    )
    loss = larger_loss(plain, clipped)
    stopped = clipped > plain
    metrics = {"actor/pg_clipfrac": share_metric(stopped, tokens.mask)}
    if dual_clip is not None:
      loss, binds = dual_clipped(loss, tokens.advantages, dual_clip)
      stopped |= binds
      metrics["actor/pg_clipfrac_lower"] = share_metric(binds, tokens.mask)
    metrics["actor/pg_loss"] = mean_metric(loss, tokens.mask)
    return add_term(token_loss, loss, tokens.mask, metrics, stopped=stopped)

  return objective
