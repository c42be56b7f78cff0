"""Entrocraft: outside a band of entropy, reject responses of one sign.

    g = 1[H > high] - 1[H < low];   keep responses with g A >= 0

If the entropy is too high, responses of negative advantage are rejected, and
learning from the others lowers it. If it is too low, responses of positive
advantage are rejected. Within the band nothing changes. A bound is a number or
has two positions: it moves linearly from the first to the second in the first
`anneal_steps` rollout steps, and by default is at the second from the start.
arXiv 2604.26326.

H is the token-mean entropy of the rollout batch under the policy that sampled
it, f32[], in nats, and A is f32[Q, G]. Denominators count the kept responses,
which include those with A = 0.
"""

import dataclasses

import jax.numpy as jnp
import optax

from entrojax.advantages.rules import is_right, leave_out, require_field
from entrojax.arguments import require, require_at_least, require_one_of
from entrojax.masking import scalar_metric
from entrojax.schedules import linear
from entrojax.traits import RuleTraits
from entrojax.types import AdvantageRule, Responses


@RuleTraits(
  kind="later",
  keeps_one_sign=True,
  length="anneal_steps",
  entropies=("low", "high"),
  gated_by_rollout=True,
)
def entrocraft(
  *,
  low: float | tuple[float, float] = (0.6, 0.4),
  high: float | tuple[float, float] = (0.7, 0.5),
  anneal_steps: int = 0,
  signal: str = "advantage",
) -> AdvantageRule:
  """Build Entrocraft's rejection; put it after a baseline.

  Args:
    low: the band's lower bound, nats, >= 0; or a pair, for the start and for
      after `anneal_steps`.
    high: the band's upper bound, or its values at the same two times, nats,
      above `low`.
    anneal_steps: rollout steps in which the bounds move linearly from the first
      to the second; 0 = the second bounds from the start.
    signal: what responses learn from outside the band. "advantage" is their
      advantage, as in the paper. "reward", as in the released code, is the
      verdict: 1 if right and -1 if wrong, also in groups of one verdict. With
      it, rejected responses have an advantage of 0 and stay in denominators.
  """
  require_at_least("entrocraft.anneal_steps", anneal_steps, 0)
  require_one_of("entrocraft.signal", signal, ("advantage", "reward"))
  pairs = (_pair("entrocraft.low", low), _pair("entrocraft.high", high))
  for bottom, top in zip(*pairs, strict=True):
    require(
      bottom < top,
      f"entrocraft.low = {low} must lie below entrocraft.high = {high}",
    )
  lower, upper = (_over_rollout_steps(pair, anneal_steps) for pair in pairs)

  def rule(responses: Responses) -> Responses:
    advantages = require_field(responses, "advantages", "entrocraft")
    entropy = require_field(responses, "entropy", "entrocraft")
    step = require_field(responses, "rollout_step", "entrocraft")
    is_low, is_high = entropy < lower(step), entropy > upper(step)
    direction = jnp.where(is_high, 1.0, 0.0) - is_low  # g
    rejected = direction * advantages < 0
    if signal == "reward":
      verdicts = jnp.where(is_right(responses), 1.0, -1.0)
      learned = jnp.where(direction * verdicts < 0, 0.0, verdicts)
      advantages = jnp.where(direction != 0, learned, advantages)
      rejected = jnp.zeros_like(rejected)
    metrics = {
      "entrocraft/low": scalar_metric(lower(step)),
      "entrocraft/high": scalar_metric(upper(step)),
    }
    responses = dataclasses.replace(
      responses,
      advantages=advantages,
      metrics={**responses.metrics, **metrics},
    )
    return leave_out(responses, rejected)

  return rule


def _pair(name: str, value: float | tuple[float, float]) -> tuple:
  """Return a bound at the start and after the move, both nats, >= 0."""
  if not isinstance(value, tuple | list):
    require_at_least(name, value, 0)
    return value, value
  if len(value) != 2 or min(value) < 0:
    raise ValueError(
      f"{name} must be one or two bounds in nats, not negative, got {value}"
    )
  return tuple(value)


def _over_rollout_steps(pair: tuple, anneal_steps: int) -> optax.Schedule:
  """Build the schedule of a bound over rollout steps."""
  first, second = pair
  if first is second or not anneal_steps:
    return lambda step: second
  return linear(first, second, anneal_steps, hold=True)
