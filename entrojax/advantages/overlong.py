"""DAPO's answers to responses that hit the length limit.

Soft overlong punishment, added to the reward (arXiv 2503.14476, eq. 13):

    R_len = 0                                        |y| <= max - cache
          = ((max - cache) - |y|) / cache            in between
          = -1                                       |y| > max

Overlong filtering (ibid., sec. 3.4): a response without an end leaves the
loss, its denominator included. The two do not go together: the filter takes
away the responses that the penalty is for.
"""

import jax.numpy as jnp

from entrojax.advantages.rules import known, leave_out, shaped
from entrojax.types import AdvantageRule, Array, Responses


def overlong_penalty(
  *, max_length: int, cache_length: int, factor: float = 1.0
) -> AdvantageRule:
  """Makes the penalty; put it before the baseline.

  Args:
    max_length: tokens; the full penalty is due beyond it, and at it if there
      is a cache.
    cache_length: tokens before max_length over which the penalty grows; 0: no
      soft zone.
    factor: reward of the full penalty, >= 0. 1 beside DAPO's rewards of 1 and
      -1; beside rewards of 1 and 0 that is a factor of 0.5.
  """
  if max_length < 1:
    raise ValueError(
      f"overlong_penalty.max_length must be at least 1, got {max_length}"
    )
  if not 0 <= cache_length <= max_length:
    raise ValueError(
      "overlong_penalty.cache_length must lie in [0, max_length = "
      f"{max_length}], got {cache_length}"
    )
  if not factor >= 0:
    raise ValueError(
      f"overlong_penalty.factor must not be negative, got {factor}"
    )

  def rule(responses: Responses) -> Responses:
    lengths = known(responses, "lengths", "overlong_penalty")
    penalty = length_penalty(
      lengths, max_length=max_length, cache_length=cache_length
    )
    return shaped(
      responses, responses.rewards + factor * penalty, "overlong_penalty"
    )

  return rule


def length_penalty(
  lengths: Array, *, max_length: int, cache_length: int
) -> Array:
  """Returns R_len in [-1, 0] of lengths in tokens; see above."""
  beyond = lengths - (max_length - cache_length)
  if not cache_length:
    return jnp.where(beyond > 0, -1.0, 0.0)
  return -jnp.clip(beyond / cache_length, 0.0, 1.0)


def overlong_filter() -> AdvantageRule:
  """Makes the filter: a truncated response counts nowhere in the loss.

  It stays in its group's baseline.
  """

  def rule(responses: Responses) -> Responses:
    truncated = known(responses, "truncated", "overlong_filter")
    return leave_out(responses, truncated > 0)

  return rule
