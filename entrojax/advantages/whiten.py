"""Normalise advantages over all tokens of a rollout batch.

    A <- (A - m) / sqrt(v + 1e-8)

m and v are the mean and the variance of A over the batch's tokens, v with ddof
1, as verl's masked_whiten. After dr_grpo this gives the advantages of
REINFORCE++ with a group baseline (arXiv 2501.03262): the deviation of single
groups, which is small where a prompt is easy or hard, does not enter. A group
of equal rewards, whose A is 0 before, then has -m / sqrt(v + 1e-8) and so takes
part in the update.
"""

import dataclasses

import jax
import jax.numpy as jnp

from entrojax.advantages.rules import keep_mask, require_field
from entrojax.masking import divide, masked_mean
from entrojax.traits import RuleTraits
from entrojax.types import AdvantageRule, Responses

# Float32 has seven digits: equal rewards may have baselines that differ so.
_ROUNDING = 1e-6


@RuleTraits(kind="later", centres=True, mixes_groups=True)
def whiten() -> AdvantageRule:
  """Build the normalisation; put it after a baseline.

  Tokens of responses that an earlier rule has left out do not count. Advantages
  that are all equal, up to the rounding of float32, become exactly 0.
  """

  def rule(responses: Responses) -> Responses:
    advantages = require_field(responses, "advantages", "whiten")
    lengths = require_field(responses, "lengths", "whiten")
    tokens = keep_mask(responses) * lengths
    count = jnp.sum(tokens)
    centred = advantages - masked_mean(advantages, tokens)
    highest = jnp.max(advantages, initial=-jnp.inf, where=tokens > 0)
    lowest = jnp.min(advantages, initial=jnp.inf, where=tokens > 0)
    size = jnp.maximum(jnp.abs(highest), jnp.abs(lowest))
    # a mean of equal numbers differs from them by its rounding
    centred = jnp.where(highest - lowest > _ROUNDING * size, centred, 0.0)
    variance = masked_mean(jnp.square(centred), tokens)
    variance *= divide(count, count - 1)
    return dataclasses.replace(
      responses, advantages=centred * jax.lax.rsqrt(variance + 1e-8)
    )

  return rule
