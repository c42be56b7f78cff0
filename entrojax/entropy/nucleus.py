"""Find the top-p set of a token's distribution, chunk by chunk, exactly.

    S = {v : z_v >= z*},   z* = max {z_u : sum_{z_v >= z_u} p_v >= top_p}

So S is the smallest set of likeliest tokens whose probabilities p = softmax(z)
sum to at least top_p, together with all tokens that tie with its last one.

A sort of the vocabulary would hold all logits of a token. Instead, the search
keeps an interval of logits that holds z* and narrows it: each pass over the
chunks measures the probability above each of eight logits in the interval.
Tokens below (1 - top_p) / V together have less than 1 - top_p, so z* is at
least the logit of that probability; and it is at most the largest logit. Ends
of the interval are logits of tokens, so that it shrinks to z* itself. With
151,936 tokens this takes two or three passes for sets of up to twenty tokens,
and eight for sets of 50,000; the passes end when the last token has its set.
Each pass computes all logits again, and one more pass sums over the sets.

Shape letters: N tokens, C a chunk of the vocabulary, J thresholds.
"""

import math

import jax
import jax.numpy as jnp

from entrojax.entropy.chunk import Chunk, ReduceChunks
from entrojax.types import Array

_NUM_THRESHOLDS = 8  # J; more cost more sums per pass and save few passes

# (the largest logit below `low`, low, high), f32[N] each; z* is in [low, high]
_Interval = tuple[Array, Array, Array]


def find_threshold(
  top_p: float,
  vocabulary: int,
  top: Array,
  log_normaliser: Array,
  reduce_chunks: ReduceChunks,
) -> Array:
  """Find a logit that separates the top-p set from all other tokens.

  It lies halfway between the last token of the set and the next one, so that a
  logit that is computed again with other rounding stays on its side.

  Args:
    top_p: in (0, 1).
    vocabulary: V, the number of tokens.
    top: f32[N], the largest logit.
    log_normaliser: f32[N], logsumexp(z) - top.
    reduce_chunks: makes a pass over all chunks.

  Returns:
    f32[N].
  """

  def narrow(interval: _Interval) -> _Interval:
    below, low, high = interval
    shares = jnp.arange(1, _NUM_THRESHOLDS, dtype=low.dtype) / _NUM_THRESHOLDS
    inner = low[:, None] + (high - low)[:, None] * shares[None]
    thresholds = jnp.concatenate([inner, high[:, None]], axis=1)
    mass, smallest, largest = reduce_chunks(
      _measure,
      (jnp.sum, jnp.min, jnp.max),
      *(thresholds, top, log_normaliser),
    )
    # z* is at or above the threshold of this number, counted from 1
    number = jnp.sum(mass >= top_p, axis=1)
    at = lambda values, i: jnp.take_along_axis(
      values, jnp.clip(i, 0, _NUM_THRESHOLDS - 1)[:, None], axis=1
    )[:, 0]
    is_open = low < high
    some, all_ = number > 0, number == _NUM_THRESHOLDS
    return (
      jnp.where(is_open & some, at(largest, number - 1), below),
      jnp.where(is_open & some, at(smallest, number - 1), low),
      jnp.where(is_open & ~all_, at(largest, number), high),
    )

  least = top + log_normaliser + math.log((1 - top_p) / vocabulary)
  below, low, _ = jax.lax.while_loop(
    lambda interval: jnp.any(interval[1] < interval[2]),
    narrow,
    (least, least, top),
  )
  between = low - (low - below) / 2
  return jnp.where(between > below, between, low)


def _measure(
  chunk: Chunk, thresholds: Array, top: Array, log_normaliser: Array
) -> tuple[Array, Array, Array]:
  """Measure the tokens of a chunk on both sides of J thresholds, f32[N, J].

  Args:
    chunk: a chunk of the logits.
    thresholds: f32[N, J], logits.
    top: f32[N], the largest logit.
    log_normaliser: f32[N], logsumexp(z) - top.

  Returns:
    The probability of the tokens at or above each threshold, the smallest logit
    at or above it, and the largest logit below it.
  """
  log_p = chunk.logits - top[:, None] - log_normaliser[:, None]
  p = jnp.exp(log_p)

  def measure(threshold):
    above = chunk.logits >= threshold[:, None]
    return (
      jnp.sum(jnp.where(chunk.new & above, p, 0), axis=1),
      jnp.min(jnp.where(chunk.new & above, chunk.logits, jnp.inf), axis=1),
      jnp.max(jnp.where(chunk.new & ~above, chunk.logits, -jnp.inf), axis=1),
    )

  mass, smallest, largest = jax.lax.map(measure, thresholds.T)
  return mass.T, smallest.T, largest.T


def entropy_within(
  threshold: Array, top: Array, reduce_chunks: ReduceChunks
) -> tuple[Array, Array]:
  """Compute the entropy of p on the tokens at or above a threshold.

  p is divided by its sum over these tokens.

  Args:
    threshold: f32[N], logits.
    top: f32[N], the largest logit.
    reduce_chunks: makes a pass over all chunks.

  Returns:
    The entropy f32[N], nats, and log sum exp(z - top) over these tokens.
  """

  def sums(chunk, threshold, top):
    inside = chunk.new & (chunk.logits >= threshold[:, None])
    centred = chunk.logits - top[:, None]
    exponentials = jnp.where(inside, jnp.exp(centred), 0)
    return (
      jnp.sum(exponentials, axis=1),
      jnp.sum(exponentials * centred, axis=1),
    )

  total, weighted = reduce_chunks(sums, (jnp.sum, jnp.sum), threshold, top)
  log_total = jnp.log(total)
  return log_total - weighted / total, log_total
