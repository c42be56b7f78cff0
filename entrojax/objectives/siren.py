"""SIREN: hold the entropy of likely tokens, at the uncertain places of a text.

    h = mean over responses of the mean of H_P over the response's peak tokens
    penalty = coef (h - anchor)^2

H_P is the entropy of the top-p set: of the smallest set of likeliest tokens
whose probabilities sum to top_p, renormalised. An entropy bonus over the whole
vocabulary spreads probability over thousands of tokens that mean nothing; H_P
does not see them. Peak tokens are the `fraction` of highest H_P of a response,
a constant selection. The anchor is the value of h under the first policy, to
which the penalty draws h back from both sides. SIREN, arXiv 2509.25133, and its
released code. H_P is in nats, under the current policy, and the gradient flows
through it (entropy/statistics.py).

The penalty is the same number at every token, so it enters the loss undivided
with the aggregations token-mean and seq-mean-token-mean. No transform reweights
it. Metrics: siren/entropy is h, siren/touched the share of peak tokens.

Deviation: the anchor is a setting, and not taken from the first batch of a run,
so that a resumed run and a new one have the same loss. The released code leaves
the token that completes the top-p set out of it, and tokens whose H_P equals
the quantile out of the peak tokens; here both belong.
"""

import jax
import jax.numpy as jnp

from entrojax.arguments import require_at_least, require_in
from entrojax.entropy.statistics import top_p_entropy
from entrojax.masking import scalar_metric, share_metric
from entrojax.objectives.aggregation import seq_mean_token_mean
from entrojax.objectives.chain import add_penalty
from entrojax.objectives.reading import reading, statistic_of
from entrojax.objectives.selection import above_quantile
from entrojax.traits import ObjectiveTraits
from entrojax.types import Objective


@ObjectiveTraits(kind="penalty")
def siren(
  *,
  anchor: float = 0.5,
  coef: float = 5e-3,
  top_p: float = 0.8,
  fraction: float = 0.2,
) -> Objective:
  """Build SIREN's penalty; put it after a surrogate.

  Args:
    anchor: h under the first policy, nats, >= 0: what siren/entropy is at the
      first update.
    coef: loss per square nat, >= 0.
    top_p: probability of the top-p set, in (0, 1).
    fraction: share of a response's tokens that are peak tokens, in (0, 1]; at
      least one, and those that tie with the last one.

  Returns:
    A penalty, an Objective that adds coef (h - anchor)^2 and reads
    top_p_entropy(top_p).
  """
  require_at_least("siren.anchor", anchor, 0)
  require_at_least("siren.coef", coef, 0)
  require_in("siren.top_p", top_p, "(0, 1)")
  require_in("siren.fraction", fraction, "(0, 1]")
  statistic = top_p_entropy(top_p)

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    entropy = statistic_of(tokens, statistic, "siren")
    peak = jax.vmap(above_quantile, (0, 0, None))(
      entropy, tokens.mask, fraction
    )
    mean = seq_mean_token_mean(entropy, peak)
    loss = jnp.broadcast_to(coef * jnp.square(mean - anchor), tokens.mask.shape)
    metrics = {
      "siren/entropy": scalar_metric(mean),
      "siren/touched": share_metric(peak, tokens.mask),
    }
    return add_penalty(token_loss, loss, tokens.mask, metrics)

  return reading(objective, statistic)
