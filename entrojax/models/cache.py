"""Lay out, write and copy the cache of keys and values.

Every layer has keys f[B, K, C, S] and values f[B, K, S, C], for S slots of one
token each. In this layout a decoding step needs no copy of them:

    scores [X, S] = queries [X, C] @ keys [C, S]
    mixed  [X, C] = weights [X, S] @ values [S, C]

`types.Cache.layers` is a tuple of one pair (keys, values) per layer, or, for
layers that run in a scan, one pair whose arrays are stacked: f[Z, B, K, C, S]
and f[Z, B, K, S, C] of Z layers.

Shape suffixes: B rows, K key-value heads, C head width, S slots, Z layers,
X queries of all heads that share a key.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from entrojax.models.sizes import DecoderConfig
from entrojax.types import Array, Cache

_SLOT_AXES = (4, 3)  # of stacked keys, of stacked values


class LayerCache(NamedTuple):
  """What one layer reads and writes while a model decodes."""

  keys: Array  # f[B, K, C, S], or f[Z, B, K, C, S] if `layer` is given
  values: Array  # f[B, K, S, C], or f[Z, B, K, S, C]
  layer: Array | None  # i32[], this layer's number in stacked arrays
  slot: Array  # i32[], where the first new token goes
  filled: Array  # i32[], the slots up to the last one ever written
  # keys f[Q, K, C, P] and values f[Q, K, P, C] of prompts, each read before
  # B / Q neighbouring rows; None: there is nothing before the rows
  prompts: tuple[Array, Array] | None

  @property
  def num_slots(self) -> int:
    """S, the slots of a row."""
    return self.values.shape[-2]


def write(
  cache: LayerCache, keys_BKCS: Array, values_BKSC: Array
) -> LayerCache:
  """Write a layer's new keys and values behind those in its cache."""
  zero, slot = jnp.zeros((), cache.slot.dtype), cache.slot
  layer = None if cache.layer is None else cache.layer.astype(slot.dtype)

  def put(stored, new, *start):
    if layer is not None:
      new, start = new[None], (layer, *start)
    return jax.lax.dynamic_update_slice(stored, new, start)

  return cache._replace(
    keys=put(cache.keys, keys_BKCS, zero, zero, zero, slot),
    values=put(cache.values, values_BKSC, zero, zero, slot, zero),
  )


def first_slots(cache: LayerCache, count: int) -> tuple[Array, Array]:
  """Return a layer's keys f[B, K, C, count] and values f[B, K, count, C].

  The layer and its slots are taken in one slice. A product that reads it then
  needs no copy on a TPU.
  """
  if cache.layer is None:
    return cache.keys[..., :count], cache.values[:, :, :count]
  start = (cache.layer, *[jnp.zeros((), cache.layer.dtype)] * 4)

  def part(x, slot_axis):
    sizes = (1, *x.shape[1:slot_axis], count, *x.shape[slot_axis + 1 :])
    return jax.lax.dynamic_slice(x, start, sizes)[0]

  keys_axis, values_axis = _SLOT_AXES
  return part(cache.keys, keys_axis), part(cache.values, values_axis)


def empty_cache(
  batch_size: int,
  length: int,
  *,
  config: DecoderConfig,
  dtype: Any,
  stacked: bool,
) -> Cache:
  """Build a cache that holds no token yet.

  Args:
    batch_size: rows.
    length: S, slots per row.
    config: the sizes of the decoder.
    dtype: type of keys and values.
    stacked: keep the arrays of all layers in one pair.
  """
  heads, head = config.num_key_value_heads, config.head_dim
  depth = config.num_hidden_layers
  pair = (
    jnp.zeros((batch_size, heads, head, length), dtype),
    jnp.zeros((batch_size, heads, length, head), dtype),
  )
  if stacked:
    layers: Any = jax.tree.map(lambda x: jnp.stack([x] * depth), pair)
  else:
    layers = (pair,) * depth
  return Cache(
    layers=layers,
    positions=jnp.full((batch_size, length), -1, jnp.int32),
    index=jnp.int32(0),
    filled=jnp.int32(0),
  )


def share_cache(cache: Cache, times: int, *, stacked: bool) -> Cache:
  """Repeat each row of a cache, for several continuations of one prompt.

  The rows need room for the continuations. For short prompts this is faster
  than `continue_cache`: a step then has one product over all keys of a row.
  """
  axis = 1 if stacked else 0
  return Cache(
    layers=jax.tree.map(
      lambda x: jnp.repeat(x, times, axis=axis), cache.layers
    ),
    positions=jnp.repeat(cache.positions, times, axis=0),
    index=cache.index,
    filled=cache.filled,
  )


def continue_cache(
  prompts: Cache,
  times: int,
  length: int,
  *,
  config: DecoderConfig,
  dtype: Any,
  stacked: bool,
) -> Cache:
  """Build a cache for several continuations of each prompt, without copies.

  Args:
    prompts: the cache of Q prompts; it is not written any more.
    times: G, the number of continuations of a prompt.
    length: the slots of a continuation.
    config: the sizes of the decoder.
    dtype: type of keys and values.
    stacked: keep the arrays of all layers in one pair.

  Returns:
    A cache of Q * G rows. The continuations of a prompt are neighbours.
  """
  rows = len(prompts.positions) * times
  cache = empty_cache(rows, length, config=config, dtype=dtype, stacked=stacked)
  return dataclasses.replace(cache, prompts=prompts)


def refill_cache(
  cache: Cache,
  prompts: Cache,
  source_rows: Array,
  refilled: Array,
  *,
  stacked: bool,
) -> Cache:
  """Put the keys and values of prompts into rows whose response has ended.

  Rows are copied only within a device, so no row travels over the mesh. The N
  devices each have s rows of the cache and m rows of the prompts.

  Args:
    cache: N * s rows of S slots.
    prompts: the cache of N * m prompts, of at most S slots.
    source_rows: i32[N, s], for each row the number of a prompt among its
      device's m.
    refilled: bool[N, s], True = the row is overwritten.
    stacked: the arrays of all layers are in one pair.

  Returns:
    The cache, whose refilled rows have read their prompt and nothing else.
  """
  refill = functools.partial(
    _refill_rows, source_rows=source_rows, refilled=refilled
  )

  def refill_layer(i, pair):
    return tuple(
      refill(new, old, layer=i, slot_axis=axis)
      for new, old, axis in zip(prompts.layers, pair, _SLOT_AXES, strict=True)
    )

  if stacked:
    depth = cache.layers[0].shape[0]
    layers = jax.lax.fori_loop(0, depth, refill_layer, cache.layers)
  else:
    layers = tuple(
      tuple(
        refill(new[None], old[None], layer=0, slot_axis=axis)[0]
        for new, old, axis in zip(*pairs, _SLOT_AXES, strict=True)
      )
      for pairs in zip(prompts.layers, cache.layers, strict=True)
    )
  empty = jnp.full_like(cache.positions, -1)
  positions = jnp.where(refilled.reshape(-1, 1), empty, cache.positions)
  return Cache(
    layers=layers,
    positions=refill(
      prompts.positions[None], positions[None], layer=0, slot_axis=2
    )[0],
    index=cache.index,
    filled=jnp.maximum(cache.filled, prompts.filled),
  )


def _refill_rows(
  source: Array,
  target: Array,
  *,
  source_rows: Array,
  refilled: Array,
  layer: Any,
  slot_axis: int,
) -> Array:
  """Copy rows of `source` into the first slots of refilled rows of `target`.

  It gathers the rows of one layer only. If the rows of all layers were
  gathered at once, a TPU would lay them out with the rows first, and would copy
  the whole cache to lay it out in the same way.

  Args:
    source: f[Z, N * m, ..., P, ...], of Z layers and P slots.
    target: f[Z, N * s, ..., S, ...].
    source_rows: i32[N, s], a row of the device's part of source.
    refilled: bool[N, s], the rows of target to write.
    layer: i32[], which of the Z layers.
    slot_axis: the axis of the P and the S slots.
  """
  own = jax.lax.dynamic_index_in_dim(source, layer, 0, keepdims=False)
  parts = own.reshape(source_rows.shape[0], -1, *own.shape[1:])
  gathered = jax.vmap(lambda part, rows: part[rows])(parts, source_rows)
  sizes = (1, *target.shape[1:slot_axis], source.shape[slot_axis])
  sizes += target.shape[slot_axis + 1 :]
  start = (layer, *[0] * (target.ndim - 1))
  written = jnp.where(
    refilled.reshape(1, -1, *[1] * (target.ndim - 2)),
    gathered.reshape(sizes),
    jax.lax.dynamic_slice(target, start, sizes),
  )
  return jax.lax.dynamic_update_slice(target, written, start)
