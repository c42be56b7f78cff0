"""Attend to the tokens in a cache, and only to the part of it that is filled.

A decoding step has one query per row and head, so that its time is the time to
read keys and values. Two things spare most of this reading:

*   The S slots of a row are filled one after the other. The step is compiled
    for a few numbers of slots, `lengths(S)`, and runs with the smallest one
    that covers all filled slots. This is for layers in a scan: they take their
    slots out of stacked arrays anyway. A layer that has its own arrays reads
    all slots, because on a CPU a part of them would have to be copied first
    (7 % more time for 512 slots).
*   A long prompt is in the cache once, although G rows continue it. The queries
    of these rows read it together, in one product. Attention to the prompt and
    to the row's own tokens are two parts, which have a common softmax:

        m = max(m_1, m_2)                   largest scores
        o = (e^(m_1 - m) o_1 + e^(m_2 - m) o_2) / (e^(m_1 - m) z_1 + ...)

    with z_i = sum_s e^(score_s - m_i) and o_i = sum_s e^(score_s - m_i) v_s.

The slots that are left out are empty, so the result is the same up to the order
of sums.

Shape suffixes: B rows, L new tokens, S slots, Q prompts of P slots, G = B / Q
rows that continue a prompt, K key-value heads, C head width, X queries of all
heads that share a key.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from entrojax.models.cache import LayerCache, first_slots
from entrojax.models.visibility import hide
from entrojax.types import Array

_BLOCK = 128  # slots; a TPU reads keys in blocks of this many
_MAX_LENGTHS = 8
_MIN_SLOTS = 257  # a cache of fewer slots is always read as a whole

# (q f[B, K, X, C], keys f[B, K, C, S], values f[B, K, S, C], visible
# bool[B, L, S]) -> mixed values f[B, K, X, C]
Attend = Callable[[Array, Array, Array, Array], Array]


def lengths(num_slots: int) -> tuple[int, ...]:
  """Return the numbers of slots that a decoding step is compiled for.

  Args:
    num_slots: S, the slots of a row; the last length.
  """
  if num_slots < _MIN_SLOTS:
    return (num_slots,)
  blocks = -(-num_slots // _BLOCK)
  step = -(-blocks // _MAX_LENGTHS) * _BLOCK
  return (*range(step, num_slots, step), num_slots)


def attend_to_cache(
  attend: Attend, q_BKXC: Array, cache: LayerCache, visible_BLS: Array
) -> Array:
  """Average the values that each query attends to.

  Args:
    attend: computes attention to given keys and values.
    q_BKXC: f[B, K, X, C], the queries of L tokens per row.
    cache: the layer's cache, in which the new tokens have been written.
    visible_BLS: bool[B, L, P + S], the slots of shared prompts, and then the
      slots of the rows themselves, that each token sees.

  Returns:
    f[B, K, X, C].
  """

  def over(count, q_BKXC, cache, visible_BLS):
    keys, values = first_slots(cache, count)
    if cache.prompts is None:
      return attend(q_BKXC, keys, values, visible_BLS[..., :count])
    places = cache.prompts[1].shape[2]
    own = visible_BLS[..., places : places + count]
    return _merge(
      _attend_to_prompts(q_BKXC, *cache.prompts, visible_BLS[..., :places]),
      _part(q_BKXC, keys, values, own),
    ).astype(q_BKXC.dtype)

  counts = lengths(cache.num_slots)
  is_step = visible_BLS.shape[1] == 1 and cache.layer is not None
  if not is_step or len(counts) == 1:
    return over(cache.num_slots, q_BKXC, cache, visible_BLS)
  return jax.lax.switch(
    jnp.searchsorted(jnp.asarray(counts), cache.filled),
    [functools.partial(over, count) for count in counts],
    q_BKXC,
    cache,
    visible_BLS,
  )


class _Part(NamedTuple):
  """Attention to some of the keys, before the weights are normalised."""

  largest: Array  # f32[B, K, X, 1], the largest score
  total: Array  # f32[B, K, X, 1], sum of e^(score - largest)
  mixed: Array  # f32[B, K, X, C], sum of e^(score - largest) times the value


def _part(
  q_BKXC: Array, keys_BKCS: Array, values_BKSC: Array, visible_BLS: Array
) -> _Part:
  """Attend to some of the keys."""
  scale = q_BKXC.shape[-1] ** -0.5
  raw = jnp.einsum("bkxc,bkcs->bkxs", q_BKXC, keys_BKCS) * scale
  scores = hide(raw, visible_BLS).reshape(raw.shape)
  largest = jnp.max(scores, axis=-1, keepdims=True)
  weights = jnp.exp(scores - largest)
  mixed = jnp.einsum(
    "bkxs,bksc->bkxc",
    weights.astype(values_BKSC.dtype),
    values_BKSC,
    preferred_element_type=scores.dtype,
  )
  return _Part(largest, jnp.sum(weights, axis=-1, keepdims=True), mixed)


def _attend_to_prompts(
  q_BKXC: Array, keys_QKCP: Array, values_QKPC: Array, visible_BLP: Array
) -> _Part:
  """Attend to prompts, with the queries of all rows that continue a prompt."""
  rows, length, places = visible_BLP.shape
  prompts, kv, head, _ = keys_QKCP.shape
  together = (prompts, rows // prompts, kv, -1, length, head)
  q_QGKHLC = q_BKXC.reshape(together)
  q_QKXC = q_QGKHLC.transpose(0, 2, 3, 1, 4, 5).reshape(prompts, kv, -1, head)
  visible_QLP = visible_BLP.reshape(prompts, -1, places)
  part = _part(q_QKXC, keys_QKCP, values_QKPC, visible_QLP)

  def by_row(x):
    x = x.reshape(prompts, kv, -1, rows // prompts, length, x.shape[-1])
    return x.transpose(0, 3, 1, 2, 4, 5).reshape(rows, kv, -1, x.shape[-1])

  return _Part(*map(by_row, part))


def _merge(one: _Part, other: _Part) -> Array:
  """Normalise attention to two sets of keys: f32[B, K, X, C]."""
  largest = jnp.maximum(one.largest, other.largest)
  first, second = (jnp.exp(part.largest - largest) for part in (one, other))
  total = first * one.total + second * other.total
  return (first * one.mixed + second * other.mixed) / total
