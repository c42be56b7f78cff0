"""How each statistic is computed, one chunk of the vocabulary at a time.

statistics.py has the values and their gradients. A value needs only sums over
chunks, in the pass that also gives log-prob and entropy: each sum is taken
around the largest logit of its chunk, and rescaled when it is joined to the
sums of other chunks. The top-p set needs further passes (nucleus.py).

Shape letters: N tokens, C a chunk of the vocabulary, P parts of the vocabulary,
which are joined: two chunks, or the shards of all devices.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from entrojax.entropy.chunk import Chunk, ReduceChunks
from entrojax.entropy.nucleus import entropy_within, find_threshold
from entrojax.types import Array, Statistic


class Sums(NamedTuple):
  """What the first pass computes of a chunk for every token."""

  largest: Array  # f32[N], the largest logit of the new rows
  centred: Array  # f32[N, C], logits - largest; very negative where not new
  exponentials: Array  # f32[N, C], of `centred`
  total: Array  # f32[N], the sum of `exponentials`
  weighted: Array  # f32[N], the sum of exponentials * centred


class Parts(NamedTuple):
  """The sums of parts that are to be joined, for every token."""

  below: Array  # f32[P, N], the largest logit of the part - of all parts
  total: Array  # f32[P, N], see Sums
  weighted: Array  # f32[P, N], see Sums


class Merged(NamedTuple):
  """What the first pass gives for the whole vocabulary."""

  top: Array  # f32[N], the largest logit
  log_normaliser: Array  # f32[N], logsumexp(z) - top
  entropy: Array  # f32[N], nats
  target: Array  # f32[N], the logit of the target


class Formula(NamedTuple):
  """How a statistic is computed.

  `sums` computes arrays [N, ...] for a chunk. `join` takes such arrays of
  several parts, stacked to [P, N, ...], and returns what `sums` would compute
  for all of the parts at once. `finish` takes the arrays of the whole
  vocabulary. It returns the value and what `gradient` needs, both arrays [N,
  ...]. `gradient` returns f32[N, C], the gradient with respect to the logits of
  a chunk, contracted with the cotangent of the value. Its `p` is 0 where a row
  is not new.
  """

  sums: Callable[[Chunk, Sums], Any]
  join: Callable[[Any, Parts], Any]
  finish: Callable[[Any, Merged, ReduceChunks], tuple[Array, Any]]
  # (what finish saved, chunk, log p f32[N, C], p f32[N, C], cotangent)
  gradient: Callable[[Any, Chunk, Array, Array, Array], Array]


def formula(
  statistic: Statistic, temperature: float, vocabulary: int
) -> Formula:
  """Return the formula of a statistic.

  Args:
    statistic: one that `check_statistics` accepts; `old` makes no difference.
    temperature: the sampling temperature, which has divided the logits.
    vocabulary: the number of tokens.
  """
  name, parameter, _ = statistic
  if name == "top_p_entropy":
    return _top_p_entropy(parameter, vocabulary)
  if name == "log_prob_at":
    return _log_prob_at(temperature / parameter)
  if name == "top_log_probs":
    return _top_log_probs(int(parameter))
  plain = {
    "max_probability": _max_probability,
    "varentropy": _varentropy,
    "collision": _collision,
  }
  return plain[name]()


def _varentropy() -> Formula:
  """Join variances of parts: never negative, and exact if they are small."""

  def sums(chunk, part):
    mean = part.weighted / part.total
    deviation = jnp.where(chunk.new, part.centred - mean[:, None], 0)
    return jnp.sum(part.exponentials * jnp.square(deviation), axis=1)

  def join(squares, parts):
    scale = jnp.exp(parts.below)
    total = scale * parts.total
    mean = parts.weighted / parts.total + parts.below
    mean -= (jnp.sum(total * mean, axis=0) / jnp.sum(total, axis=0))[None]
    return jnp.sum(scale * squares + total * jnp.square(mean), axis=0)

  def finish(squares, merged, reduce_chunks):
    del reduce_chunks
    value = squares * jnp.exp(-merged.log_normaliser)
    return value, (value, merged.entropy)

  def gradient(saved, chunk, log_p, p, cotangent):
    del chunk
    value, entropy = (x[:, None] for x in saved)
    surprise = log_p + entropy
    slope = jnp.square(surprise) + 2 * surprise - value
    return p * slope * cotangent[:, None]

  return Formula(sums, join, finish, gradient)


def _collision() -> Formula:
  def sums(chunk, part):
    del chunk
    return jnp.sum(jnp.square(part.exponentials), axis=1)

  def join(squares, parts):
    return jnp.sum(jnp.exp(2 * parts.below) * squares, axis=0)

  def finish(squares, merged, reduce_chunks):
    del reduce_chunks
    value = squares * jnp.exp(-2 * merged.log_normaliser)
    return value, value

  def gradient(value, chunk, log_p, p, cotangent):
    del chunk, log_p
    return 2 * p * (p - value[:, None]) * cotangent[:, None]

  return Formula(sums, join, finish, gradient)


def _log_prob_at(ratio: float) -> Formula:
  """Divide logits by a second temperature; ratio is the first / the second."""

  def sums(chunk, part):
    del chunk
    return jnp.sum(jnp.exp(ratio * part.centred), axis=1)

  def join(totals, parts):
    return jnp.sum(jnp.exp(ratio * parts.below) * totals, axis=0)

  def finish(total, merged, reduce_chunks):
    del reduce_chunks
    log_normaliser = jnp.log(total)
    value = ratio * (merged.target - merged.top) - log_normaliser
    return value, (merged.top, log_normaliser)

  def gradient(saved, chunk, log_p, p, cotangent):
    del log_p, p
    top, log_normaliser = (x[:, None] for x in saved)
    log_r = ratio * (chunk.logits - top) - log_normaliser
    r = jnp.where(chunk.new, jnp.exp(log_r), 0)
    return ratio * (chunk.hit - r) * cotangent[:, None]

  return Formula(sums, join, finish, gradient)


def _top_log_probs(k: int) -> Formula:
  def sums(chunk, part):
    del part
    return _largest(chunk, k)

  def join(largest, parts):
    del parts
    # in the order of tokens: of equal logits, top_k takes the first
    logits, ids = (
      jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1) for x in largest
    )
    logits, places = jax.lax.top_k(logits, k)
    return logits, jnp.take_along_axis(ids, places, axis=1)

  def finish(largest, merged, reduce_chunks):
    del reduce_chunks
    logits, ids = largest
    return logits - (merged.top + merged.log_normaliser)[:, None], ids

  def gradient(ids, chunk, log_p, p, cotangent):
    del log_p
    grad = -p * jnp.sum(cotangent, axis=1, keepdims=True)
    for j in range(k):
      is_it = chunk.new & (chunk.ids == ids[:, j, None])
      grad += jnp.where(is_it, cotangent[:, j, None], 0)
    return grad

  return Formula(sums, join, finish, gradient)


def _largest(chunk: Chunk, k: int) -> tuple[Array, Array]:
  """Find the k largest logits of a chunk and their tokens, [N, k] each.

  Of equal logits, the one with the lower token comes first. If the chunk has
  fewer than k new rows, the rest are -inf.
  """
  logits, ids, new = chunk.logits, chunk.ids, chunk.new
  last_id = jnp.iinfo(ids.dtype).max

  # k reductions over the chunk need less memory than a sort
  def next_largest(previous, _):
    value, token = (x[:, None] for x in previous)
    left = new & ((logits < value) | ((logits == value) & (ids > token)))
    value = jnp.max(jnp.where(left, logits, -jnp.inf), axis=1)
    is_it = left & (logits == value[:, None])
    token = jnp.min(jnp.where(is_it, ids, last_id), axis=1)
    return (value, token), (value, token)

  num_tokens = logits.shape[:1]
  start = (
    jnp.full(num_tokens, jnp.inf, logits.dtype),
    jnp.full(num_tokens, -1, ids.dtype),
  )
  _, (values, tokens) = jax.lax.scan(next_largest, start, length=k)
  return values.T, tokens.T


def _max_probability() -> Formula:
  largest = _top_log_probs(1)

  def finish(part, merged, reduce_chunks):
    log_prob, ids = largest.finish(part, merged, reduce_chunks)
    value = jnp.exp(log_prob[:, 0])
    return value, (ids, value)

  def gradient(saved, chunk, log_p, p, cotangent):
    ids, value = saved
    return largest.gradient(ids, chunk, log_p, p, (value * cotangent)[:, None])

  return Formula(largest.sums, largest.join, finish, gradient)


def _top_p_entropy(top_p: float, vocabulary: int) -> Formula:
  def sums(chunk, part):
    del chunk, part
    return ()

  def join(nothing, parts):
    del parts
    return nothing

  def finish(nothing, merged, reduce_chunks):
    del nothing
    top, log_normaliser = merged.top, merged.log_normaliser
    threshold = find_threshold(
      top_p, vocabulary, top, log_normaliser, reduce_chunks
    )
    value, log_total = entropy_within(threshold, top, reduce_chunks)
    return value, (value, threshold, top + log_total)

  def gradient(saved, chunk, log_p, p, cotangent):
    del log_p, p
    value, threshold, log_total = (x[:, None] for x in saved)
    inside = chunk.new & (chunk.logits >= threshold)
    log_q = chunk.logits - log_total
    q = jnp.where(inside, jnp.exp(log_q), 0)
    return -q * (log_q + value) * cotangent[:, None]

  return Formula(sums, join, finish, gradient)
