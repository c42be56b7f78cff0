"""GSPO and LUSPO: one ratio for a whole sequence, clipped as in PPO.

    s_i = exp(mean_t (log pi - log pi_old))    mean over the tokens of row i
    L = max(-A s, -A clip(s, 1 - clip_low, 1 + clip_high))

GSPO-token, arXiv 2507.18071, sec. 4.3: all tokens of a sequence have the value
s, and the gradient of a token's L reaches the log-prob of that token. log s is
capped at 10.

LUSPO (arXiv 2602.05261) multiplies the loss of a sequence by its length, so
that long sequences count as much per token as short ones. That is the same L,
summed over tokens instead of averaged.
"""

import jax
import jax.numpy as jnp

from entrojax.arguments import require_at_least, require_in
from entrojax.masking import masked_mean, mean_metric, share_metric
from entrojax.objectives.chain import add_term
from entrojax.objectives.surrogates import (
  clipped_loss,
  larger_loss,
  unclipped_loss,
)
from entrojax.traits import ObjectiveTraits
from entrojax.types import Objective

_MAX_LOG_RATIO = 10.0  # nats, as in verl


@ObjectiveTraits(
  kind="surrogate", inert_on_policy=True, aggregation="seq-mean-token-mean"
)
def gspo(*, clip_low: float = 3e-4, clip_high: float = 4e-4) -> Objective:
  """Build GSPO's surrogate; aggregate it with seq_mean_token_mean.

  With any other aggregation it would be another objective, so a config that
  names one is refused.

  Args:
    clip_low: the ratio is clipped below at 1 - clip_low, in [0, 1].
    clip_high: the ratio is clipped above at 1 + clip_high, >= 0. The ratio of
      a sequence stays much nearer to 1 than the ratio of a token, so both
      bounds are small.

  Returns:
    A surrogate, an Objective that adds the term L.
  """
  return _sequence_ratio("gspo", clip_low, clip_high)


@ObjectiveTraits(
  kind="surrogate", inert_on_policy=True, aggregation="seq-mean-token-sum"
)
def luspo(*, clip_low: float = 3e-4, clip_high: float = 4e-4) -> Objective:
  """Build LUSPO's surrogate; aggregate it with seq_mean_token_sum.

  With any other aggregation it would be another objective, so a config that
  names one is refused.

  Args:
    clip_low: the ratio is clipped below at 1 - clip_low, in [0, 1].
    clip_high: the ratio is clipped above at 1 + clip_high, >= 0.

  Returns:
    A surrogate, an Objective that adds the term L.
  """
  return _sequence_ratio("luspo", clip_low, clip_high)


def _sequence_ratio(name: str, clip_low: float, clip_high: float) -> Objective:
  """Build the surrogate L, with the name of its section for messages."""
  require_in(f"{name}.clip_low", clip_low, "[0, 1]")
  require_at_least(f"{name}.clip_high", clip_high, 0, or_inf=True)

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
    loss = larger_loss(plain, clipped)
    metrics = {
      "actor/pg_clipfrac": share_metric(clipped > plain, tokens.mask),
      "actor/pg_loss": mean_metric(loss, tokens.mask),
    }
    return add_term(
      token_loss, loss, tokens.mask, metrics, stopped=clipped > plain
    )

  return objective
