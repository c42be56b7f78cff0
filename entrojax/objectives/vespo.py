"""VESPO: REINFORCE with a smooth weight of whole sequences.

    r   = pi / pi_old          of a token; pi_old is the sampling policy
    w_i = prod_t r             over the tokens of row i
    phi = w^k exp(l (1 - w))   k and l differ between A >= 0 and A < 0
    L = -stop_gradient(phi) A log pi

Variational sequence-level soft policy optimization, arXiv 2602.10693, as in
TRL. phi is 1 on the sampling policy. A larger k lowers the weight of sequences
that have become less likely, and a larger l the weight of sequences that have
become more likely. The product is not divided by the length, so phi is close to
0 for long sequences soon after the policy has moved. log r is clipped to
[-20, 20], and log w to [log 1e-8, 20].
"""

import math

import jax
import jax.numpy as jnp

from entrojax.arguments import require_at_least, require_in
from entrojax.masking import masked_sum, mean_metric
from entrojax.objectives.chain import add_term
from entrojax.objectives.surrogates import reinforce_loss
from entrojax.traits import ObjectiveTraits, unequal
from entrojax.types import Objective

_LOG_RATIO_RANGE = (-20.0, 20.0)  # of a token, nats
_LOG_WEIGHT_RANGE = (math.log(1e-8), 20.0)  # of a sequence, nats


@ObjectiveTraits(
  kind="surrogate",
  inert_on_policy=True,
  acts_on_entropy=unequal(
    ("k_positive", "k_negative"), ("rate_positive", "rate_negative")
  ),
)
def vespo(
  *,
  k_positive: float = 2.0,
  rate_positive: float = 3.0,
  k_negative: float = 3.0,
  rate_negative: float = 2.0,
) -> Objective:
  """Build VESPO's surrogate; the paper aggregates it with token_mean.

  Args:
    k_positive: the exponent k where the advantage is at least 0, >= 0.
    rate_positive: the rate l where the advantage is at least 0, > 0.
    k_negative: the exponent k where the advantage is below 0, >= 0.
    rate_negative: the rate l where the advantage is below 0, > 0.

  Returns:
    A surrogate, an Objective that adds the term L.
  """
  require_at_least("vespo.k_positive", k_positive, 0)
  require_in("vespo.rate_positive", rate_positive, "(0, inf)")
  require_at_least("vespo.k_negative", k_negative, 0)
  require_in("vespo.rate_negative", rate_negative, "(0, inf)")

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    log_ratio = jax.lax.stop_gradient(tokens.log_probs) - tokens.old_log_probs
    log_ratio = jnp.clip(log_ratio, *_LOG_RATIO_RANGE)
    log_weight = masked_sum(log_ratio, tokens.mask, axis=1)[:, None]
    log_weight = jnp.clip(log_weight, *_LOG_WEIGHT_RANGE)
    positive = tokens.advantages >= 0
    k = jnp.where(positive, k_positive, k_negative)
    rate = jnp.where(positive, rate_positive, rate_negative)
    phi = jnp.exp(k * log_weight + rate * (1 - jnp.exp(log_weight)))
    loss = reinforce_loss(tokens.log_probs, tokens.advantages) * phi
    metrics = {
      "vespo/weight": mean_metric(phi, tokens.mask),
      "actor/pg_loss": mean_metric(loss, tokens.mask),
    }
    return add_term(token_loss, loss, tokens.mask, metrics, stopped=False)

  return objective
