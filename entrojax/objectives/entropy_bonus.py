"""The entropy bonus, of constant strength.

    penalty = -entropy_coef H

The penalty is added to the loss of each token, and no transform reweights it.
H is exact, in nats, and the gradient flows through it (A3C, arXiv 1602.01783,
sec. 4).
"""

from entrojax.arguments import require_at_least
from entrojax.objectives.chain import add_penalty
from entrojax.traits import ObjectiveTraits
from entrojax.types import Objective


@ObjectiveTraits(kind="penalty")
def entropy_bonus(*, entropy_coef: float = 1e-3) -> Objective:
  """Build the entropy bonus; put it after a surrogate.

  Args:
    entropy_coef: loss per nat, >= 0; more raises the entropy.

  Returns:
    A penalty, an Objective that adds -entropy_coef H.
  """
  require_at_least("entropy_bonus.entropy_coef", entropy_coef, 0)

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    return add_penalty(
      token_loss, -entropy_coef * tokens.entropy, tokens.mask, {}
    )

  return objective
