"""The covariance of log-probability and advantage, token by token.

    delta H = -eta Cov(log pi, A)

To first order, this is how a natural policy gradient step of size eta changes
the entropy of a softmax policy (arXiv 2505.22617, section 3.2). A token's
covariance is its contribution to the change. The file also splits it into four
quadrants: sign of the advantage x probability above or below a threshold.
No gradient flows through any result.

Shapes: log-probs, advantages and masks are f32[B, T], B rows of T tokens.
"""

import math

import chex
import jax
import jax.numpy as jnp

from entrojax.arguments import require_in
from entrojax.masking import clean, masked_mean, mean_metric
from entrojax.types import Array, Metrics, ScoredTokens

Quadrants = dict[str, Array]  # such as "positive_rare" -> its array


def token_covariance(log_probs: Array, advantages: Array, mask: Array) -> Array:
  """Compute (log pi - mean log pi) (A - mean A), 0 where the mask is 0.

  arXiv 2505.22617, eq. 10. Both means are over all counted tokens. The mean of
  A is therefore weighted by length, and is not 0 even if the advantages of each
  group sum to 0.

  Args:
    log_probs: f32[B, T], nats, the whole mini-batch.
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
  """Compute minus the mean of `token_covariance`; 0 for an empty mask.

  Use its sign and its proportions, not its size: eta is 1 here, and the step of
  an optimizer has another size and is not a natural gradient.

  Args:
    log_probs: f32[B, T], nats, the whole mini-batch.
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
  """Split the mean covariance by sign of advantage and probability of token.

      positive_probable   A > 0, pi >= probability    usually lowers the entropy
      positive_rare       A > 0, pi < probability     usually raises it
      negative_probable   A <= 0, pi >= probability   usually raises it
      negative_rare       A <= 0, pi < probability    usually lowers it

  The sign may differ, because the covariance compares a token with the means of
  the batch. Each value is the sum over the quadrant divided by the number of
  all counted tokens, so that the four add up to the mean covariance. Tokens of
  advantage 0 count as negative; they contribute only through the means.

  Args:
    log_probs: f32[B, T], nats, the whole mini-batch.
    advantages: f32[B, T].
    mask: f32[B, T], 1 = counted.
    probability: in (0, 1), the least probability of a probable token.

  Returns:
    A dict from each of the four names to f32[], nats. Positive: the quadrant
    lowers the entropy.
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
  """Compute the share of the counted tokens that lies in each quadrant.

  The arguments and the quadrants are the same as for `covariance_by_quadrant`.

  Returns:
    A dict from each of the four names to f32[] in [0, 1]. They add up to 1, or
    to 0 for an empty mask.
  """
  quadrants = _quadrants(log_probs, advantages, mask, probability)
  return {name: masked_mean(x, mask) for name, x in quadrants.items()}


def covariance_metrics(tokens: ScoredTokens) -> Metrics:
  """Compute the covariance of a mini-batch as metrics, in nats.

  They are covariance/mean, its four parts covariance/<quadrant> with a
  probability of 0.5, and covariance/predicted_change. The advantages are the
  input of the objective, before it weights any token.
  """
  arguments = (tokens.log_probs, tokens.advantages, tokens.mask)
  covariance = token_covariance(*arguments)
  parts = {
    "mean": covariance,
    "predicted_change": -covariance,
    **{
      name: covariance * inside
      for name, inside in _quadrants(*arguments, 0.5).items()
    },
  }
  return {
    f"covariance/{name}": mean_metric(values, tokens.mask)
    for name, values in parts.items()
  }


def _quadrants(
  log_probs: Array, advantages: Array, mask: Array, probability: float
) -> Quadrants:
  """Compute four masks f32[B, T]; each counted token is in exactly one."""
  require_in("covariance_by_quadrant.probability", probability, "(0, 1)")
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
