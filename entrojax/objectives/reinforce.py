"""REINFORCE: L = -A log pi (Williams, 1992).

There is no ratio: it is right only while the current policy is the one that
sampled, so for one update per rollout batch.
"""

from entrojax.masking import mean_metric
from entrojax.objectives.chain import add_term
from entrojax.objectives.surrogates import reinforce_loss
from entrojax.traits import ObjectiveTraits
from entrojax.types import Objective


@ObjectiveTraits(kind="surrogate")
def reinforce() -> Objective:
  """Build REINFORCE, which is right for one update per rollout only.

  Returns:
    A surrogate, an Objective that adds the term L.
  """

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    loss = reinforce_loss(tokens.log_probs, tokens.advantages)
    metrics = {"actor/pg_loss": mean_metric(loss, tokens.mask)}
    return add_term(token_loss, loss, tokens.mask, metrics, stopped=False)

  return objective
