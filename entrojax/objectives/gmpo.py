"""GMPO: the geometric mean of a sequence's clipped ratios.

    l = log r, clipped to at most clip_high where A > 0, and to at least
        -clip_low where A < 0
    s_i = exp(mean_t l)        mean over the tokens of row i
    L = -A s

Geometric-Mean Policy Optimization, arXiv 2507.20673, as in verl. All tokens of
a sequence have the value s, and the gradient of a token's L reaches the
log-prob of that token. A mean of logarithms is moved less by single tokens than
GRPO's mean of ratios, so the clip range is wider.
"""

import jax
import jax.numpy as jnp

from entrojax.arguments import require_at_least
from entrojax.masking import masked_mean, mean_metric, share_metric
from entrojax.objectives.chain import add_term
from entrojax.objectives.surrogates import unclipped_loss
from entrojax.traits import ObjectiveTraits
from entrojax.types import Objective


@ObjectiveTraits(
  kind="surrogate", inert_on_policy=True, aggregation="seq-mean-token-mean"
)
def gmpo(*, clip_low: float = 0.4, clip_high: float = 0.4) -> Objective:
  """Build GMPO's surrogate; aggregate it with seq_mean_token_mean.

  With any other aggregation it would be another objective, so a config that
  names one is refused.

  Args:
    clip_low: the log-ratio of a token is clipped below at -clip_low, nats,
      >= 0, where the advantage is below 0.
    clip_high: the log-ratio of a token is clipped above at clip_high, nats,
      >= 0, where the advantage is above 0.

  Returns:
    A surrogate, an Objective that adds the term L.
  """
  require_at_least("gmpo.clip_low", clip_low, 0, or_inf=True)
  require_at_least("gmpo.clip_high", clip_high, 0, or_inf=True)

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    constant = jax.lax.stop_gradient
    log_ratio = tokens.log_probs - tokens.old_log_probs
    too_high = (tokens.advantages > 0) & (log_ratio > clip_high)
    too_low = (tokens.advantages < 0) & (log_ratio < -clip_low)
    clipped = jnp.where(too_high, clip_high, log_ratio)
    clipped = jnp.where(too_low, -clip_low, clipped)
    mean = masked_mean(clipped, tokens.mask, axis=1)
    ratio = jnp.exp(constant(mean)[:, None] + clipped - constant(clipped))
    loss = unclipped_loss(ratio, tokens.advantages)
    metrics = {
      "actor/pg_clipfrac": share_metric(too_high | too_low, tokens.mask),
      "actor/pg_loss": mean_metric(loss, tokens.mask),
    }
    return add_term(
      token_loss, loss, tokens.mask, metrics, stopped=too_high | too_low
    )

  return objective
