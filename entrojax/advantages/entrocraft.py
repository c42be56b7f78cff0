"""Entrocraft: outside a band of entropy, one sign of responses is rejected.

    g = 1[H > high] - 1[H < low];   keep responses with g A >= 0

Too much entropy: only positives learn, which lowers it; too little: only
negatives. In the band it is its baseline, bit for bit. arXiv 2604.26326.
Denominators count what is kept.
"""

import dataclasses

import jax.numpy as jnp

from entrojax.advantages.rules import known, leave_out, right
from entrojax.types import AdvantageRule, Responses


def entrocraft(
  *,
  low: tuple[float, float] = (0.6, 0.4),
  high: tuple[float, float] = (0.7, 0.5),
  anneal_steps: int = 0,
  signal: str = "advantage",
) -> AdvantageRule:
  """Makes the rejection; put it after a baseline.

  Args:
    low: the band's lower bound, nats, at the start and after `anneal_steps`.
    high: its upper bound, likewise, above `low`.
    anneal_steps: rollout steps of the linear way from the first bounds to the
      last; 0 = the last ones from the start.
    signal: what the kept responses learn from outside the band: their
      "advantage", as in the paper, or, as released, their raw "reward", here
      1 if right and -1 if wrong.
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
  if anneal_steps < 0:
    raise ValueError(
      f"entrocraft.anneal_steps must not be negative, got {anneal_steps}"
    )
  if signal not in ("advantage", "reward"):
    raise ValueError(
      f"entrocraft.signal must be 'advantage' or 'reward', got {signal!r}"
    )

  def rule(responses: Responses) -> Responses:
    advantages = known(responses, "advantages", "entrocraft")
    entropy = known(responses, "entropy", "entrocraft")
    step = known(responses, "rollout_step", "entrocraft")
    done = jnp.clip(step / anneal_steps, 0.0, 1.0) if anneal_steps else 1.0
    lower, upper = (b[0] + (b[1] - b[0]) * done for b in (low, high))
    wanted = jnp.where(entropy > upper, 1.0, 0.0) - (entropy < lower)
    rejected = wanted * advantages < 0
    if signal == "reward":
      signs = jnp.where(right(responses), 1.0, -1.0)
      has_signal = (wanted != 0) & (advantages != 0)
      advantages = jnp.where(has_signal, signs, advantages)
    responses = dataclasses.replace(responses, advantages=advantages)
    return leave_out(responses, rejected)

  return rule
