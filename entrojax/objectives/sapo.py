"""SAPO: a smooth gate instead of the clip.

    L = -A (4 / tau) sigmoid(tau (r - 1))    tau = tau_positive where A > 0,
                                             tau_negative elsewhere

Soft Adaptive Policy Optimization, arXiv 2511.20347. A token has the gradient of
-A r times 4 s (1 - s), where s is the sigmoid. This factor is 1 at r = 1, and
smaller the further r is from 1, on both sides. A larger tau narrows the gate.
"""

import jax
import jax.numpy as jnp

from entrojax.arguments import require_in
from entrojax.masking import mean_metric
from entrojax.objectives.chain import add_term
from entrojax.objectives.surrogates import probability_ratio
from entrojax.traits import ObjectiveTraits, unequal
from entrojax.types import Objective


@ObjectiveTraits(
  kind="surrogate",
  inert_on_policy=True,
  acts_on_entropy=unequal(("tau_positive", "tau_negative")),
)
def sapo(*, tau_positive: float = 1.0, tau_negative: float = 1.05) -> Objective:
  """Build SAPO's surrogate; the paper aggregates it with seq_mean_token_mean.

  Args:
    tau_positive: temperature of the gate where the advantage is above 0, > 0.
    tau_negative: temperature of the gate of all other tokens, > 0. The paper's
      is larger than `tau_positive`, because an update that lowers a token's
      probability raises all others and is less stable.

  Returns:
    A surrogate, an Objective that adds the term L.
  """
  require_in("sapo.tau_positive", tau_positive, "(0, inf)")
  require_in("sapo.tau_negative", tau_negative, "(0, inf)")

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    ratio = probability_ratio(tokens.log_probs, tokens.old_log_probs)
    tau = jnp.where(tokens.advantages > 0, tau_positive, tau_negative)
    gate = jax.nn.sigmoid(tau * (ratio - 1))
    loss = -tokens.advantages * (4 / tau) * gate
    metrics = {
      "sapo/gate": mean_metric(4 * gate * (1 - gate), tokens.mask),
      "actor/pg_loss": mean_metric(loss, tokens.mask),
    }
    return add_term(token_loss, loss, tokens.mask, metrics, stopped=False)

  return objective
