"""GRPO-S: right responses of high entropy earn more.

    R <- R + strength H_i / mean H     for right responses

H_i is the mean entropy of the tokens of response i under the policy that
sampled it, and mean H is the mean of H_i over the right responses of the group.
The mean bonus of these responses is therefore strength, whatever their entropy,
and a group in which all responses are wrong is left unchanged. GRPO's baseline
and surrogate follow.

The sequence level of "GTPO and GRPO-S", arXiv 2508.04349. Deviation: the
paper's later versions also punish wrong responses by their entropy; this is the
form of its first version.
"""

from entrojax.advantages.rules import (
  is_right,
  keep_mask,
  require_field,
  with_rewards,
)
from entrojax.arguments import require_at_least
from entrojax.masking import divide, masked_mean
from entrojax.traits import RuleTraits
from entrojax.types import AdvantageRule, Responses


@RuleTraits(kind="shaping")
def grpo_s(*, strength: float = 0.5) -> AdvantageRule:
  """Build the bonus; put it before the baseline.

  Args:
    strength: the mean bonus of right responses, in units of reward, >= 0.
  """
  require_at_least("grpo_s.strength", strength, 0)

  def rule(responses: Responses) -> Responses:
    entropies = require_field(responses, "entropies", "grpo_s")
    right = is_right(responses) * keep_mask(responses)
    mean = masked_mean(entropies, right, axis=1)[:, None]
    bonus = strength * right * divide(entropies, mean)
    return with_rewards(responses, responses.rewards + bonus, "grpo_s")

  return rule
