"""Entrocraft: outside a band of entropy, reject responses of one sign.

    g = 1[H > high] - 1[H < low];   keep responses with g A >= 0

If the entropy is too high, responses of negative advantage are rejected, and
learning from the others lowers it. If it is too low, responses of positive
advantage are rejected. Within the band nothing changes. The band has two
positions: its bounds move linearly from the first to the second in the first
`anneal_steps` rollout steps, and by default are at the second from the start.
arXiv 2604.26326.

H is the token-mean entropy of the rollout batch under the policy that sampled
it, f32[], in nats, and A is f32[Q, G]. Denominators count the kept responses,
which include those with A = 0.
"""

import dataclasses

import jax.numpy as jnp

from entrojax.advantages.rules import is_right, leave_out, require_field
from entrojax.arguments import require_at_least, require_one_of
from entrojax.traits import RuleTraits
from entrojax.types import AdvantageRule, Responses


@RuleTraits(kind="later", keeps_one_sign=True)
def entrocraft(
  *,
  low: tuple[float, float] = (0.6, 0.4),
  high: tuple[float, float] = (0.7, 0.5),
  anneal_steps: int = 0,
  signal: str = "advantage",
) -> AdvantageRule:
  """Build Entrocraft's rejection; put it after a baseline.

  Args:
    low: the band's lower bound, nats, >= 0, at the start and after
      `anneal_steps`.
    high: the band's upper bound at the same two times, nats, above `low`.
    anneal_steps: rollout steps in which the bounds move linearly from the first
      to the second; 0 = the second bounds from the start.
    signal: what the kept responses learn from outside the band. "advantage" is
      their advantage, as in the paper. "reward" is 1 if right and -1 if wrong,
      which stands for the raw reward that the released code uses.
  """
  for name, bounds in (("low", low), ("high", high)):
    if len(bounds) != 2 or min(bounds) < 0:
      raise ValueError(
        f"entrocraft.{name} must be two bounds in nats, not negative, got "
        f"{bounds}"
      )
  if not (low[0] < high[0] and low[1] < high[1]):
    raise ValueError(
      f"entrocraft.low = {low} must lie below entrocraft.high = {high}"
    )
  require_at_least("entrocraft.anneal_steps", anneal_steps, 0)
  require_one_of("entrocraft.signal", signal, ("advantage", "reward"))

  def rule(responses: Responses) -> Responses:
    advantages = require_field(responses, "advantages", "entrocraft")
    entropy = require_field(responses, "entropy", "entrocraft")
    step = require_field(responses, "rollout_step", "entrocraft")
    done = jnp.clip(step / anneal_steps, 0.0, 1.0) if anneal_steps else 1.0
    lower, upper = (b[0] + (b[1] - b[0]) * done for b in (low, high))
    direction = jnp.where(entropy > upper, 1.0, 0.0) - (entropy < lower)  # g
    rejected = direction * advantages < 0
    if signal == "reward":
      signs = jnp.where(is_right(responses), 1.0, -1.0)
      has_signal = (direction != 0) & (advantages != 0)
      advantages = jnp.where(has_signal, signs, advantages)
    responses = dataclasses.replace(responses, advantages=advantages)
    return leave_out(responses, rejected)

  return rule
