"""An entropy bonus whose strength a controller sets.

    penalty = -coefficient H

The penalty is added to the loss of each token, and no transform reweights it.
A positive coefficient (loss per nat) raises the entropy. It comes from
control.adaptive_coefficient. H is exact, in nats, and the gradient flows
through it. Skywork-OR1, arXiv 2505.22312.
"""

from entrojax.masking import scalar_metric
from entrojax.objectives.chain import add_penalty, require_coefficient
from entrojax.traits import ObjectiveTraits
from entrojax.types import Objective


@ObjectiveTraits(kind="penalty", driven=True)
def adaptive_entropy() -> Objective:
  """Build the adaptive entropy bonus; put it after a surrogate.

  Returns:
    A penalty, an Objective that adds -coefficient H. A positive coefficient
    (loss per nat) raises the entropy.
  """

  def objective(tokens, token_loss, coefficient, key):
    del key
    coefficient = require_coefficient(coefficient, "adaptive_entropy")
    metrics = {"adaptive_entropy/coefficient": scalar_metric(coefficient)}
    return add_penalty(
      token_loss, -coefficient * tokens.entropy, tokens.mask, metrics
    )

  return objective
