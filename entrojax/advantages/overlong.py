"""DAPO's two rules for long responses: a soft penalty, and a filter.

Soft overlong punishment, before the baseline (arXiv 2503.14476, eq. 13):

    R <- R + factor R_len
    R_len = 0                                        |y| <= max - cache
          = ((max - cache) - |y|) / cache            in between
          = -1                                       |y| > max

Here |y| is the length of the response in tokens, `max` is max_length and
`cache` is cache_length.

Overlong filtering (ibid., sec. 3.4): a response that sampling cut off, because
it reached the longest length allowed without an EOS, counts neither in the loss
nor in its denominator. It still counts in its group's baseline. Do not use the
two rules together: the filter would remove the responses that the penalty is
for. A config that names both is refused.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from entrojax.advantages.rules import leave_out, require_field, with_rewards
from entrojax.arguments import require_at_least
from entrojax.traits import RuleTraits, Surroundings
from entrojax.types import AdvantageRule, Array, Responses


def _check_length(
  settings: Mapping[str, Any], surroundings: Surroundings
) -> None:
  """Raise ValueError if no response is long enough to be punished."""
  free = settings["max_length"] - settings["cache_length"]
  longest = surroundings.response_length
  if free >= longest:
    raise ValueError(
      f"overlong_penalty.max_length - cache_length = {free} tokens are free, "
      f"and no response has more than rollout.response_length = {longest}: the "
      "penalty never acts"
    )


@RuleTraits(kind="shaping", about_overlong=True, check=_check_length)
def overlong_penalty(
  *, max_length: int = 1024, cache_length: int = 256, factor: float = 0.5
) -> AdvantageRule:
  """Build R <- R + factor R_len; put it before the baseline.

  Args:
    max_length: tokens, >= 1. Longer responses get the full penalty, and
      responses of this length do too if there is a cache.
    cache_length: number of tokens before max_length over which the penalty
      grows, in [0, max_length]; 0 = no soft zone.
    factor: size of the full penalty in units of reward, >= 0; a right response
      has 1. DAPO uses 1 with rewards of 1 and -1, which corresponds to 0.5 with
      rewards of 1 and 0.
  """
  require_at_least("overlong_penalty.max_length", max_length, 1)
  if not 0 <= cache_length <= max_length:
    raise ValueError(
      "overlong_penalty.cache_length must lie in [0, max_length = "
      f"{max_length}], got {cache_length}"
    )
  require_at_least("overlong_penalty.factor", factor, 0)

  def rule(responses: Responses) -> Responses:
    lengths = require_field(responses, "lengths", "overlong_penalty")
    penalty = length_penalty(
      lengths, max_length=max_length, cache_length=cache_length
    )
    return with_rewards(
      responses, responses.rewards + factor * penalty, "overlong_penalty"
    )

  return rule


def length_penalty(
  lengths: Array, *, max_length: int, cache_length: int
) -> Array:
  """Compute R_len (arXiv 2503.14476, eq. 13).

  Args:
    lengths: f32[Q, G], tokens.
    max_length: tokens, >= 1.
    cache_length: tokens, in [0, max_length].

  Returns:
    f32[Q, G], in [-1, 0].
  """
  beyond = lengths - (max_length - cache_length)
  if not cache_length:
    return jnp.where(beyond > 0, -1.0, 0.0)
  return -jnp.clip(beyond / cache_length, 0.0, 1.0)


@RuleTraits(kind="filter", about_overlong=True)
def overlong_filter() -> AdvantageRule:
  """Build the filter: a truncated response counts nowhere in the loss.

  It still counts in its group's baseline.
  """

  def rule(responses: Responses) -> Responses:
    truncated = require_field(responses, "truncated", "overlong_filter")
    return leave_out(responses, truncated > 0)

  return rule
