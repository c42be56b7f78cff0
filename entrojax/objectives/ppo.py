"""PPO's clipped surrogate with a decoupled range and the dual clip.

    L = max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high))
    where A < 0:  L = min(L, -A dual_clip)

PPO: arXiv 1707.06347, eq. 7. Decoupled range (Clip-Higher): DAPO, arXiv
2503.14476, eq. 10. Dual clip: arXiv 1912.09729, eq. 5.
"""

import jax.numpy as jnp

from entrojax.masking import mean_metric, share_metric
from entrojax.objectives.chain import add_term
from entrojax.objectives.surrogates import (
  clipped_loss,
  probability_ratio,
  unclipped_loss,
)
from entrojax.types import Objective


def ppo_clip(
  *,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  dual_clip: float | None = None,
) -> Objective:
  """Makes the clipped surrogate.

  Args:
    clip_low: the ratio is clipped below at 1 - clip_low, in [0, 1].
    clip_high: the ratio is clipped above at 1 + clip_high, >= 0.
    dual_clip: bound of the loss at negative advantages, in units of |A|, above
      1 + clip_high; None for no bound. 3 in verl, 10 in DAPO.
  """
  if not 0 <= clip_low <= 1:
    raise ValueError(f"clip_low must lie in [0, 1], got {clip_low}")
  if not clip_high >= 0:
    raise ValueError(f"clip_high must not be negative, got {clip_high}")
  if dual_clip is not None and dual_clip <= 1 + clip_high:
    raise ValueError(
      f"dual_clip must be above 1 + clip_high = {1 + clip_high}, got "
      f"{dual_clip}"
    )

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    ratio = probability_ratio(tokens.log_probs, tokens.old_log_probs)
    plain = unclipped_loss(ratio, tokens.advantages)
    clipped = clipped_loss(
      ratio, tokens.advantages, clip_low=clip_low, clip_high=clip_high
    )
    loss = jnp.maximum(plain, clipped)
    metrics = {"actor/pg_clipfrac": share_metric(clipped > plain, tokens.mask)}
    if dual_clip is not None:
      bound = -tokens.advantages * dual_clip
      binds = (tokens.advantages < 0) & (loss > bound)
      loss = jnp.where(binds, bound, loss)
      metrics["actor/pg_clipfrac_lower"] = share_metric(binds, tokens.mask)
    metrics["actor/pg_loss"] = mean_metric(loss, tokens.mask)
    return add_term(token_loss, loss, tokens.mask, metrics)

  return objective
