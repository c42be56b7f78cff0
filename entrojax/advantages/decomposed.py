"""PSR, NSR and W-REINFORCE: right and wrong responses apart, no baseline.

    A = positive_weight where the response is right, -1 where it is wrong

"The Surprising Effectiveness of Negative Reinforcement", arXiv 2506.01347, and
its released code. The raw verdict says who is right: what shapes rewards does
nothing here. Nothing is subtracted and nothing normalised: with one sign only,
that would remove the signal.
"""

import jax.numpy as jnp

from entrojax.advantages.baselines import with_advantages
from entrojax.advantages.rules import leave_out, right
from entrojax.types import AdvantageRule, Responses


def w_reinforce(*, positive_weight: float = 0.1) -> AdvantageRule:
  """Makes W-REINFORCE.

  Args:
    positive_weight: lambda, >= 0; 0.1 in the paper, 1 = REINFORCE with rewards
      of 1 and -1.
  """
  if not positive_weight >= 0:
    raise ValueError(
      f"w_reinforce.positive_weight must not be negative, got {positive_weight}"
    )
  return lambda responses: with_advantages(
    responses, jnp.where(right(responses), positive_weight, -1.0)
  )


def psr(*, denominator: str = "kept") -> AdvantageRule:
  """Makes positive sample reinforcement: right responses alone, A = 1.

  Args:
    denominator: "kept", of the right responses' tokens, as released; "all": of
      every token, so that PSR and NSR add up to REINFORCE.
  """
  return _one_sided("psr", denominator, lambda right: right)


def nsr(*, denominator: str = "kept") -> AdvantageRule:
  """Makes negative sample reinforcement: wrong responses alone, A = -1.

  Args:
    denominator: as for `psr`.
  """
  return _one_sided("nsr", denominator, lambda right: ~right)


def _one_sided(name: str, denominator: str, chosen) -> AdvantageRule:
  if denominator not in ("kept", "all"):
    raise ValueError(
      f"{name}.denominator must be 'kept' or 'all', got {denominator!r}"
    )

  def rule(responses: Responses) -> Responses:
    is_right = right(responses)
    side = chosen(is_right)
    signs = jnp.where(is_right, 1.0, -1.0)
    responses = with_advantages(responses, jnp.where(side, signs, 0.0))
    if denominator == "all":
      return responses
    return leave_out(responses, ~side)

  return rule
