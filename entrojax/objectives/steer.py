"""STEER: tokens whose update would move the entropy most are damped.

    W = r A pi (1 - pi) (log pi + H)         theorem form
    W = r A (1 - pi) (log pi + H_old)        released form
    L <- exp(log(min_weight) |W| / max |W|) L

W is minus the first-order change of the entropy at a token's state per unit of
step, keeping the sampled logit alone. STEER, arXiv 2510.10150, and its released
code. Weights are constants in [min_weight, 1], the maximum is the whole
mini-batch's, denominators count every token.
"""

import math

import jax.numpy as jnp

from entrojax.masking import clean, mean_metric, scalar_metric, share_metric
from entrojax.objectives.chain import scale_loss
from entrojax.objectives.surrogates import probability_ratio
from entrojax.types import Array, Objective, ScoredTokens


def steer(
  *,
  min_weight: float = 0.8,
  form: str = "theorem",
  floor: float = 1e-12,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> Objective:
  """Makes the damping; put it right after a surrogate.

  Args:
    min_weight: of the token whose update moves the entropy most, in (0, 1].
    form: "theorem", as above with tokens that PPO clips left out of the
      maximum; "released", which lacks one factor pi and so damps rare tokens,
      takes the entropy of the sampling policy and leaves none out.
    floor: the maximum is at least this, nats, > 0: a mini-batch of small
      changes stays undamped. 0.02 in the released code.
    clip_low: PPO's clip range, so that the theorem form knows clipped tokens.
    clip_high: as clip_low.
  """
  if not 0 < min_weight <= 1:
    raise ValueError(f"steer.min_weight must lie in (0, 1], got {min_weight}")
  if form not in ("theorem", "released"):
    raise ValueError(
      f"steer.form must be 'theorem' or 'released', got {form!r}"
    )
  if not floor > 0:
    raise ValueError(f"steer.floor must be above 0, got {floor}")
  for name, value in (("clip_low", clip_low), ("clip_high", clip_high)):
    if value < 0:
      raise ValueError(f"steer.{name} must not be negative, got {value}")

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    if form == "theorem":
      change = _theorem_change(tokens, clip_low, clip_high)
    else:
      change = _released_change(tokens)
    change = clean(jnp.abs(change), tokens.mask)
    relative = change / jnp.maximum(jnp.max(change), floor)
    weight = jnp.clip(jnp.exp(math.log(min_weight) * relative), min_weight, 1)
    metrics = {
      "steer/touched": share_metric(weight < 1, tokens.mask),
      "steer/weight": mean_metric(weight, tokens.mask),
      "steer/max_change": scalar_metric(jnp.max(change)),
    }
    return scale_loss(token_loss, weight, metrics)

  return objective


def _theorem_change(
  tokens: ScoredTokens, clip_low: float, clip_high: float
) -> Array:
  ratio = probability_ratio(tokens.log_probs, tokens.old_log_probs)
  probability = jnp.exp(tokens.log_probs)
  clipped = jnp.where(
    tokens.advantages > 0, ratio > 1 + clip_high, ratio < 1 - clip_low
  )
  change = ratio * tokens.advantages * probability * (1 - probability)
  return jnp.where(clipped, 0.0, change * (tokens.log_probs + tokens.entropy))


def _released_change(tokens: ScoredTokens) -> Array:
  # bounds of the released code: no probability is 0 or 1
  probability = jnp.clip(jnp.exp(tokens.log_probs), 1e-8, 1 - 1e-8)
  old_probability = jnp.clip(jnp.exp(tokens.old_log_probs), 1e-8, 1)
  surprise = jnp.log(probability) + tokens.old_entropy
  return (
    tokens.advantages
    * (probability / old_probability)
    * ((1 - probability) * surprise)
  )
