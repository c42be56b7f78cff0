"""The covariance of log-probability and advantage, token by token.

Its mean is, to first order and with the sign turned, what a natural policy
gradient step does to the entropy (arXiv 2505.22617).
"""

import chex
import jax

from entrojax.masking import clean, masked_mean
from entrojax.types import Array


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
