"""PSR, NSR and W-REINFORCE: advantages that depend on right or wrong alone.

                   right responses        wrong responses
    psr            A = 1                  left out of the loss
    nsr            left out of the loss   A = -1
    w_reinforce    A = positive_weight    A = -1

"The Surprising Effectiveness of Negative Reinforcement", arXiv 2506.01347, and
its released code. By default, as in that code, responses that are left out do
not count in the loss's denominator. With denominator = "all" they count there,
with A = 0. The raw verdict decides which response is right, if the responses
have verdicts (Responses.correctness). Rules that shape rewards then have no
effect here.

A chain of rules takes one of these in the place of a baseline, but no mean is
subtracted and nothing is normalised: in PSR and NSR all kept responses have the
same advantage, and subtracting the mean would make every advantage 0.
Advantages are f32[Q, G].
"""

from collections.abc import Callable

import jax.numpy as jnp

from entrojax.advantages.baselines import with_advantages
from entrojax.advantages.rules import is_right, leave_out
from entrojax.arguments import require_at_least, require_one_of
from entrojax.traits import RuleTraits
from entrojax.types import AdvantageRule, Array, Responses


@RuleTraits(kind="baseline", raw_sides=("right", "wrong"))
def w_reinforce(*, positive_weight: float = 0.1) -> AdvantageRule:
  """Build W-REINFORCE: A = positive_weight where right, -1 where wrong.

  Args:
    positive_weight: lambda, >= 0; 0.1 in the paper, 1 = REINFORCE with rewards
      of 1 and -1.
  """
  require_at_least("w_reinforce.positive_weight", positive_weight, 0)
  return lambda responses: with_advantages(
    responses, jnp.where(is_right(responses), positive_weight, -1.0)
  )


@RuleTraits(kind="baseline", raw_sides=("right",))
def psr(*, denominator: str = "kept") -> AdvantageRule:
  """Build positive sample reinforcement: A = 1, right responses only.

  Args:
    denominator: which tokens the loss's denominator counts. "kept": tokens of
      right responses, as released. "all": every token, so that PSR and NSR add
      up to REINFORCE.
  """
  return _one_sided("psr", denominator, lambda right: right)


@RuleTraits(kind="baseline", raw_sides=("wrong",))
def nsr(*, denominator: str = "kept") -> AdvantageRule:
  """Build negative sample reinforcement: A = -1, wrong responses only.

  Args:
    denominator: which tokens the loss's denominator counts. "kept": tokens of
      wrong responses, as released. "all": every token, so that PSR and NSR add
      up to REINFORCE.
  """
  return _one_sided("nsr", denominator, lambda right: ~right)


def _one_sided(
  name: str, denominator: str, select: Callable[[Array], Array]
) -> AdvantageRule:
  """Build a rule that learns from one side: A = 1 right, -1 wrong, 0 others.

  Args:
    name: the rule's name, for messages.
    denominator: "kept" or "all".
    select: bool[Q, G], right responses -> bool[Q, G], the side that learns.
  """
  require_one_of(f"{name}.denominator", denominator, ("kept", "all"))

  def rule(responses: Responses) -> Responses:
    right = is_right(responses)
    side = select(right)
    signs = jnp.where(right, 1.0, -1.0)
    responses = with_advantages(responses, jnp.where(side, signs, 0.0))
    if denominator == "all":
      return responses
    return leave_out(responses, ~side)

  return rule
