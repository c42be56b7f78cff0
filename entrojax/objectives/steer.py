"""STEER: damp the tokens whose update would move the entropy most.

    W = r A pi (1 - pi) (log pi + H)         theorem form; 0 without a gradient
    W = r A (1 - pi) (log pi + H_old)        released form
    L <- exp(log(min_weight) |W| / max |W|) L

So the token of largest |W| gets the weight min_weight, and a token with W = 0
keeps the weight 1. In the theorem form, W is minus the first-order change of
the entropy at a token's state, per unit of step, if only the logit of the
sampled token changes. It is 0 for a token that the surrogate gives no gradient,
as where PPO clips: the update does not move it. STEER, arXiv 2510.10150, and
its released code. Weights are constants in [min_weight, 1]. The maximum is
taken over the whole mini-batch, and is at least `floor`. Penalties stay as they
are, and denominators count every token.
"""

from collections.abc import Mapping
import math
from typing import Any

import jax.numpy as jnp

from entrojax.arguments import (
  is_traced,
  require_at_least,
  require_in,
  require_one_of,
)
from entrojax.masking import clean, mean_metric, scalar_metric, share_metric
from entrojax.objectives.chain import scale_loss, stopped_tokens
from entrojax.objectives.surrogates import (
  check_clip_range,
  probability_ratio,
  require_dual_clip,
)
from entrojax.traits import ObjectiveTraits, Surroundings
from entrojax.types import Array, Objective, ScoredTokens


def _check_clip_range(
  settings: Mapping[str, Any], surroundings: Surroundings
) -> None:
  """Raise ValueError if the theorem form and its surrogate clip differently."""
  if settings["form"] == "theorem":
    check_clip_range("steer", settings, surroundings)


@ObjectiveTraits(kind="transform", check=_check_clip_range)
def steer(
  *,
  min_weight: float = 0.8,
  form: str = "theorem",
  floor: float = 1e-12,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  dual_clip: float | None = 3.0,
) -> Objective:
  """Build STEER's damping; put it right after a surrogate.

  Args:
    min_weight: weight of the token whose update moves the entropy most, in
      (0, 1].
    form: "theorem" sets W to 0 for tokens that the surrogate stops: they keep a
      weight of 1 and do not enter the maximum. "released" lacks one factor pi
      and therefore damps rare tokens; it uses the entropy of the sampling
      policy and leaves no token out.
    floor: the maximum is at least this, nats, > 0, so that a mini-batch of
      small changes stays undamped. The released code uses 0.02.
    clip_low: PPO's lower clip range, >= 0. The surrogates of this package say
      which tokens they stop. After a surrogate of your own that does not, the
      theorem form takes the tokens that PPO would clip in this range.
    clip_high: PPO's upper clip range, >= 0, for the same purpose.
    dual_clip: PPO's dual clip, above 1 + clip_high; None: no dual clip. A
      token beyond it has the largest ratio and no gradient. If it counted, it
      would set the maximum by which all other tokens are damped.

  Returns:
    A transform, an Objective that multiplies each loss by its weight.
  """
  require_in("steer.min_weight", min_weight, "(0, 1]")
  require_one_of("steer.form", form, ("theorem", "released"))
  require_in("steer.floor", floor, "(0, inf]")
  log_least = (jnp if is_traced(min_weight) else math).log(min_weight)
  require_at_least("steer.clip_low", clip_low, 0, or_inf=True)
  require_at_least("steer.clip_high", clip_high, 0, or_inf=True)
  require_dual_clip("steer.dual_clip", dual_clip, clip_high)

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    if form == "theorem":
      stopped = stopped_tokens(token_loss)
      if stopped is None:
        stopped = _clipped_by_ppo(tokens, clip_low, clip_high, dual_clip)
      change = _theorem_change(tokens, stopped)
    else:
      change = _released_change(tokens)
    change = clean(jnp.abs(change), tokens.mask)
    relative = change / jnp.maximum(jnp.max(change), floor)
    weight = jnp.clip(jnp.exp(log_least * relative), min_weight, 1)
    metrics = {
      "steer/touched": share_metric(weight < 1, tokens.mask),
      "steer/weight": mean_metric(weight, tokens.mask),
      "steer/max_change": scalar_metric(jnp.max(change)),
    }
    return scale_loss(token_loss, weight, metrics)

  return objective


def _theorem_change(tokens: ScoredTokens, stopped: Array) -> Array:
  """Compute W in the theorem form, f32[B, T], 0 where a token is stopped."""
  ratio = probability_ratio(tokens.log_probs, tokens.old_log_probs)
  probability = jnp.exp(tokens.log_probs)
  change = ratio * tokens.advantages * probability * (1 - probability)
  change *= tokens.log_probs + tokens.entropy
  return jnp.where(stopped > 0, 0.0, change)


def _clipped_by_ppo(
  tokens: ScoredTokens,
  clip_low: float,
  clip_high: float,
  dual_clip: float | None,
) -> Array:
  """Return the tokens that PPO would clip, f32[B, T], 1 = clipped."""
  ratio = probability_ratio(tokens.log_probs, tokens.old_log_probs)
  clipped = jnp.where(
    tokens.advantages > 0, ratio > 1 + clip_high, ratio < 1 - clip_low
  )
  if dual_clip is not None:
    clipped |= (tokens.advantages < 0) & (ratio > dual_clip)
  return clipped.astype(jnp.float32)


def _released_change(tokens: ScoredTokens) -> Array:
  """Compute W in the released form, f32[B, T]."""
  # the released code's bounds, so that no probability is 0 or 1
  probability = jnp.clip(jnp.exp(tokens.log_probs), 1e-8, 1 - 1e-8)
  old_probability = jnp.clip(jnp.exp(tokens.old_log_probs), 1e-8, 1)
  surprise = jnp.log(probability) + tokens.old_entropy
  return (
    tokens.advantages
    * (probability / old_probability)
    * ((1 - probability) * surprise)
  )
