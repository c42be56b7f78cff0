"""GSPO: one ratio for a whole sequence, clipped like PPO's.

    s_i = exp(mean_t (log pi - log pi_old)),  L = max(-A s, -A clip(s))

GSPO-token, arXiv 2507.18071, sec. 4.3: the value of s is the sequence's, its
gradient reaches each token's own log-probability.
"""

import jax
import jax.numpy as jnp

from entrojax.masking import masked_mean, mean_metric, share_metric
from entrojax.objectives.chain import add_term
from entrojax.objectives.surrogates import clipped_loss, unclipped_loss
from entrojax.types import Objective

_MAX_LOG_RATIO = 10.0  # as in verl


def gspo(*, clip_low: float = 3e-4, clip_high: float = 4e-4) -> Objective:
  """Makes the surrogate; aggregate it with seq_mean_token_mean.

  Any other aggregation is another objective; a config that names one is
  refused.

  Args:
    clip_low: the ratio is clipped below at 1 - clip_low, in [0, 1].
    clip_high: and above at 1 + clip_high, >= 0. Sequence ratios stay much
      nearer to 1 than those of tokens.
  """
  if not 0 <= clip_low <= 1:
    raise ValueError(f"gspo.clip_low must lie in [0, 1], got {clip_low}")
  if clip_high < 0:
    raise ValueError(f"gspo.clip_high must not be negative, got {clip_high}")

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    log_ratio = masked_mean(
      tokens.log_probs - tokens.old_log_probs, tokens.mask, axis=1
    )
    constant = jax.lax.stop_gradient
    token_log_ratio = (
      constant(log_ratio)[:, None]
      + tokens.log_probs
      - constant(tokens.log_probs)
    )
    ratio = jnp.exp(jnp.minimum(token_log_ratio, _MAX_LOG_RATIO))
    plain = unclipped_loss(ratio, tokens.advantages)
    clipped = clipped_loss(
      ratio, tokens.advantages, clip_low=clip_low, clip_high=clip_high
    )
    loss = jnp.maximum(plain, clipped)
    metrics = {
      "actor/pg_clipfrac": share_metric(clipped > plain, tokens.mask),
      "actor/pg_loss": mean_metric(loss, tokens.mask),
    }
    return add_term(token_loss, loss, tokens.mask, metrics)

  return objective
