"""The covariance of log-probability and advantage, token by token.

    delta H = -eta Cov(log pi, A)

is what a natural policy gradient step of size eta does to the entropy of a
softmax policy, to first order (arXiv 2505.22617, section 3.2). Token by token,
the covariance says which tokens pay for it. All results are constants.
"""

import math

import chex
import jax
import jax.numpy as jnp

from entrojax.masking import clean, masked_mean, mean_metric
from entrojax.types import Array, Metrics, ScoredTokens

Quadrants = dict[str, Array]  # sign of advantage _ probability -> array


def token_covariance(log_probs: Array, advantages: Array, mask: Array) -> Array:
  """Returns (log pi - mean log pi) (A - mean A), 0 where masked out.

  arXiv 2505.22617, eq. 10. Both means are over all tokens of the mask, so the
  mean of A is weighted by length and not 0 even where groups sum to 0.

  Args:
    log_probs: f32[B, T], nats, of the whole mini-batch.
    advantages: f32[B, T].
    mask: f32[B, T], 1 = counted.

  Returns:
    f32[B, T], nats, a constant. Positive: the update lowers the entropy.
  """
  chex.assert_equal_shape([log_probs, advantages, mask])
  centred = [x - masked_mean(x, mask) for x in (log_probs, advantages)]
  return jax.lax.stop_gradient(clean(centred[0] * centred[1], mask))


def predicted_entropy_change(
  log_probs: Array, advantages: Array, mask: Array
) -> Array:
  """Returns minus the mean of `token_covariance`, 0 for an empty mask.

  Sign and proportion are meant, not the size: eta is 1 here, and what an
  optimizer does is neither that step nor quite a natural gradient's.

  Args:
    log_probs: f32[B, T], nats, of the whole mini-batch.
    advantages: f32[B, T].
    mask: f32[B, T], 1 = counted.

  Returns:
    f32[], nats per unit of eta. Negative: the entropy falls.
  """
  return -masked_mean(token_covariance(log_probs, advantages, mask), mask)


def covariance_by_quadrant(
  log_probs: Array,
  advantages: Array,
  mask: Array,
  *,
  probability: float = 0.5,
) -> Quadrants:
  """Splits the mean covariance by sign of advantage and probability of token.

      positive_probable   A > 0, pi >= probability    lowers the entropy
      positive_rare       A > 0, pi < probability     raises it
      negative_probable   A <= 0, pi >= probability   raises it
      negative_rare       A <= 0, pi < probability    lowers it

  as a rule: what counts is the side of the batch's means. Each value is the
  sum over the quadrant divided by the number of all counted tokens, so that
  the four add up to the mean. Tokens of advantage 0 are among the negative
  ones; the means alone give them a share.

  Args:
    log_probs: f32[B, T], nats, of the whole mini-batch.
    advantages: f32[B, T].
    mask: f32[B, T], 1 = counted.
    probability: in (0, 1), from which on a token is called probable.

  Returns:
    The four, f32[], nats. Positive: lowers the entropy.
  """
  covariance = token_covariance(log_probs, advantages, mask)
  quadrants = _quadrants(log_probs, advantages, mask, probability)
  return {
    name: masked_mean(covariance * inside, mask)
    for name, inside in quadrants.items()
  }


def share_by_quadrant(
  log_probs: Array,
  advantages: Array,
  mask: Array,
  *,
  probability: float = 0.5,
) -> Quadrants:
  """Returns which part of the tokens each quadrant holds, f32[] in [0, 1].

  The quadrants are those of `covariance_by_quadrant`; the four add up to 1, or
  to 0 for an empty mask.
  """
  quadrants = _quadrants(log_probs, advantages, mask, probability)
  return {name: masked_mean(x, mask) for name, x in quadrants.items()}


def covariance_metrics(tokens: ScoredTokens) -> Metrics:
  """Returns the covariance of a mini-batch as metrics, in nats.

  covariance/mean, its parts covariance/<quadrant> at a probability of 0.5, and
  covariance/predicted_change; see `covariance_by_quadrant`. The advantages are
  those that the objective gets, before any weight that it gives to a token.
  """
  of_tokens = (tokens.log_probs, tokens.advantages, tokens.mask)
  covariance = token_covariance(*of_tokens)
  parts = {
    "mean": covariance,
    "predicted_change": -covariance,
    **{
      name: covariance * inside
      for name, inside in _quadrants(*of_tokens, 0.5).items()
    },
  }
  return {
    f"covariance/{name}": mean_metric(values, tokens.mask)
    for name, values in parts.items()
  }


def _quadrants(
  log_probs: Array, advantages: Array, mask: Array, probability: float
) -> Quadrants:
  """Returns four masks f32[B, T]; each counted token is in exactly one."""
  if not 0 < probability < 1:
    raise ValueError(
      "covariance_by_quadrant.probability must lie in (0, 1), got "
      f"{probability}"
    )
  chex.assert_equal_shape([log_probs, advantages, mask])
  positive = advantages > 0
  probable = log_probs >= math.log(probability)
  inside = {
    "positive_probable": positive & probable,
    "positive_rare": positive & ~probable,
    "negative_probable": ~positive & probable,
    "negative_rare": ~positive & ~probable,
  }
  return {
    name: clean(x.astype(jnp.float32), mask) for name, x in inside.items()
  }
