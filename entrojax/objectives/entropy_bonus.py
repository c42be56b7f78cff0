"""The entropy bonus: L = -entropy_coef * aggregate(H), H exact, in nats.

The term's gradient flows through the entropies (A3C, arXiv 1602.01783, sec. 4).
"""

from entrojax.objectives.chain import add_penalty
from entrojax.types import Objective


def entropy_bonus(*, entropy_coef: float) -> Objective:
  """Makes the bonus; `entropy_coef` >= 0 in units of loss per nat."""
  if not entropy_coef >= 0:
    raise ValueError(f"entropy_coef must not be negative, got {entropy_coef}")

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    return add_penalty(
      token_loss, -entropy_coef * tokens.entropy, tokens.mask, {}
    )

  return objective
