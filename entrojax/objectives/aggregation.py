"""From losses of tokens to one number: the four aggregations of the field.

Each takes loss f32[B, T] and weight f32[B, T] (1 = a token that the
denominator counts) over a whole optimizer mini-batch, and returns f32[]. A
sequence without counted tokens is left out of every denominator, so fully
masked rows change nothing.

Names as in verl's `loss_agg_mode`; token-mean is DAPO's (arXiv 2503.14476,
sec. 3.3), seq-mean-token-mean GRPO's (arXiv 2402.03300, eq. 3),
seq-mean-token-sum-norm Dr.GRPO's (arXiv 2503.20783, sec. 3.2).
"""

from collections.abc import Callable

import chex
import jax.numpy as jnp

from entrojax.masking import divide, masked_mean, masked_sum
from entrojax.types import Aggregation, Array


def token_mean(loss: Array, weight: Array) -> Array:
  """Returns sum(loss * weight) / sum(weight): every token counts the same."""
  return masked_mean(loss, weight)


def seq_mean_token_sum(loss: Array, weight: Array) -> Array:
  """Returns the mean over non-empty sequences of their token sums."""
  chex.assert_rank([loss, weight], 2)
  return divide(masked_sum(loss, weight), _num_sequences(weight))


def seq_mean_token_mean(loss: Array, weight: Array) -> Array:
  """Returns the mean over non-empty sequences of their token means."""
  chex.assert_rank([loss, weight], 2)
  per_sequence = masked_mean(loss, weight, axis=1)
  return divide(jnp.sum(per_sequence), _num_sequences(weight))


def seq_mean_token_sum_norm(length: int) -> Aggregation:
  """Makes seq_mean_token_sum / length.

  Args:
    length: a constant of the run, in tokens: the longest response allowed.
      Deviation: verl divides by the padded length, which varies with the batch.
  """
  if length < 1:
    raise ValueError(f"length must be at least 1 token, got {length}")
  return lambda loss, weight: seq_mean_token_sum(loss, weight) / length


def _num_sequences(weight: Array) -> Array:
  return jnp.sum((jnp.sum(weight, axis=1) > 0).astype(jnp.float32))


def by_name(name: str, *, length: int) -> Aggregation:
  """Returns the aggregation that a config names; `length` as above."""
  known: dict[str, Callable[..., Array]] = {
    "token-mean": token_mean,
    "seq-mean-token-sum": seq_mean_token_sum,
    "seq-mean-token-mean": seq_mean_token_mean,
    "seq-mean-token-sum-norm": seq_mean_token_sum_norm(length),
  }
  if name not in known:
    raise ValueError(f"unknown aggregation {name!r}; one of {sorted(known)}")
  return known[name]
