"""The entropy bonus of a controller: L = -coefficient * aggregate(H).

Skywork-OR1, arXiv 2505.22312; the controller is control.adaptive_coefficient.
H is exact, in nats; the gradient flows through it.
"""

from entrojax.masking import scalar_metric
from entrojax.objectives.chain import add_penalty, driven
from entrojax.types import Objective


def adaptive_entropy() -> Objective:
  """Makes the bonus; add it after a surrogate."""

  def objective(tokens, token_loss, coefficient, key):
    del key
    coefficient = driven(coefficient, "adaptive_entropy")
    metrics = {"adaptive_entropy/coefficient": scalar_metric(coefficient)}
    return add_penalty(
      token_loss, -coefficient * tokens.entropy, tokens.mask, metrics
    )

  return objective
