"""CE-GPPO: tokens that PPO clips keep a bounded gradient.

    A < 0, r < 1 - clip_low:   L = -beta_low (1 - clip_low) (r / sg r) A
    A > 0, r > 1 + clip_high:  L = -beta_high (1 + clip_high) (r / sg r) A
    elsewhere:                 L = -A r
    where A < 0:               L = min(L, -A dual_clip)

arXiv 2509.20712 and its released code; sg is stop_gradient.
"""

import jax
import jax.numpy as jnp

from entrojax.masking import mean_metric, share_metric
from entrojax.objectives.chain import add_term
from entrojax.objectives.surrogates import probability_ratio, unclipped_loss
from entrojax.types import Objective


def ce_gppo(
  *,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  beta_low: float = 0.75,
  beta_high: float = 1.0,
  dual_clip: float | None = None,
) -> Objective:
  """Makes the surrogate.

  Args:
    clip_low: as in ppo_clip, in [0, 1].
    clip_high: as in ppo_clip, >= 0.
    beta_low: strength of clipped tokens at A < 0, >= 0; more lowers entropy.
      0.5 at 1.5B and 0.75 at 7B in the paper.
    beta_high: strength of clipped tokens at A > 0, >= 0; more raises entropy.
      Both 0: PPO's gradients. Both 1: PPO's values.
    dual_clip: as in ppo_clip.
  """
  if not 0 <= clip_low <= 1:
    raise ValueError(f"ce_gppo.clip_low must lie in [0, 1], got {clip_low}")
  for name, value in (
    ("clip_high", clip_high),
    ("beta_low", beta_low),
    ("beta_high", beta_high),
  ):
    if value < 0:
      raise ValueError(f"ce_gppo.{name} must not be negative, got {value}")
  if dual_clip is not None and dual_clip <= 1 + clip_high:
    raise ValueError(
      f"ce_gppo.dual_clip must be above 1 + clip_high = {1 + clip_high}, got "
      f"{dual_clip}"
    )

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    advantages = tokens.advantages
    ratio = probability_ratio(tokens.log_probs, tokens.old_log_probs)
    one = ratio / jax.lax.stop_gradient(ratio)  # its gradient is log pi's
    below = (advantages < 0) & (ratio < 1 - clip_low)
    above = (advantages > 0) & (ratio > 1 + clip_high)
    bounded = jnp.where(
      below, beta_low * (1 - clip_low), beta_high * (1 + clip_high)
    )
    loss = unclipped_loss(
      jnp.where(below | above, bounded * one, ratio), advantages
    )
    metrics = {"actor/pg_clipfrac": share_metric(below | above, tokens.mask)}
    if dual_clip is not None:
      bound = -advantages * dual_clip
      loss = jnp.where((advantages < 0) & (loss > bound), bound, loss)
    metrics["actor/pg_loss"] = mean_metric(loss, tokens.mask)
    return add_term(token_loss, loss, tokens.mask, metrics)

  return objective
