"""Aggregations: reduce the losses of a mini-batch's tokens to one number.

    token-mean                mean over all tokens
    seq-mean-token-sum        mean over sequences of the sum over tokens
    seq-mean-token-mean       mean over sequences of the mean over tokens
    seq-mean-token-sum-norm   seq-mean-token-sum / the longest length allowed

An aggregation maps loss f32[B, T] and weight f32[B, T] to f32[]. Tokens of
weight 1 are counted, and tokens of weight 0 are ignored. A sequence is a row.
A row without a counted token is no sequence: it adds nothing to a sum and
nothing to a denominator. The result is 0 if no token counts.

The names come from verl's `loss_agg_mode`; `by_name` maps them to functions.
token-mean is DAPO's (arXiv 2503.14476, sec. 3.3), seq-mean-token-mean is GRPO's
(arXiv 2402.03300, eq. 3), and seq-mean-token-sum-norm is Dr.GRPO's (arXiv
2503.20783, sec. 3.2).
"""

from collections.abc import Callable

import chex
import jax.numpy as jnp

from entrojax.arguments import require_at_least, require_one_of
from entrojax.masking import divide, masked_mean, masked_sum
from entrojax.types import Aggregation, Array


def token_mean(loss: Array, weight: Array) -> Array:
  """Compute sum(loss * weight) / sum(weight): all tokens count the same."""
  return masked_mean(loss, weight)


def seq_mean_token_sum(loss: Array, weight: Array) -> Array:
  """Compute the mean, over non-empty sequences, of their token sums."""
  chex.assert_rank([loss, weight], 2)
  return divide(masked_sum(loss, weight), _num_sequences(weight))


def seq_mean_token_mean(loss: Array, weight: Array) -> Array:
  """Compute the mean, over non-empty sequences, of their token means."""
  chex.assert_rank([loss, weight], 2)
  per_sequence = masked_mean(loss, weight, axis=1)
  return divide(jnp.sum(per_sequence), _num_sequences(weight))


def seq_mean_token_sum_norm(length: int) -> Aggregation:
  """Build the aggregation seq_mean_token_sum / length.

  Deviation: verl divides by the padded length, which varies with the batch.

  Args:
    length: tokens, >= 1; the longest response allowed, constant in a run.

  Returns:
    (loss, weight) -> f32[].
  """
  require_at_least("length", length, 1)
  return lambda loss, weight: seq_mean_token_sum(loss, weight) / length


def _num_sequences(weight: Array) -> Array:
  """Count the rows in which at least one token counts, f32[]."""
  return jnp.sum((jnp.sum(weight, axis=1) > 0).astype(jnp.float32))


def by_name(name: str, *, length: int) -> Aggregation:
  """Return the aggregation that a config names.

  Args:
    name: "token-mean", "seq-mean-token-sum", "seq-mean-token-mean" or
      "seq-mean-token-sum-norm".
    length: tokens, >= 1; the longest response allowed.

  Returns:
    (loss, weight) -> f32[].

  Raises:
    ValueError: the name is unknown, or length is below 1.
  """
  aggregations: dict[str, Callable[..., Array]] = {
    "token-mean": token_mean,
    "seq-mean-token-sum": seq_mean_token_sum,
    "seq-mean-token-mean": seq_mean_token_mean,
    "seq-mean-token-sum-norm": seq_mean_token_sum_norm(length),
  }
  require_one_of("aggregation", name, aggregations)
  return aggregations[name]
