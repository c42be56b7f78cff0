"""Keys and values of a decoder's layers: written, and given to other rows.

Of a layer keys are f[B, K, C, S] and values f[B, K, S, C], so that a decoding
step multiplies both without copying them; stacked, all layers' have the depth
as their first axis. Shape suffixes as in decoder.py.
"""

from typing import Any

import jax
import jax.numpy as jnp

from entrojax.types import Array


def extended(cache, keys_BKCS, values_BKSC, index):
  """Writes new keys and values at slot `index` of a layer's cache.

  Args:
    cache: (keys, values) of the layer, or (keys, values, layer) of all.
    keys_BKCS: the new keys.
    values_BKSC: the new values.
    index: i32[].

  Returns:
    All keys and values of the layer, and the cache.
  """
  zero = jnp.zeros((), index.dtype)
  places = (zero, zero, zero, index), (zero, zero, index, zero)
  write = jax.lax.dynamic_update_slice
  if len(cache) == 2:
    keys, values = map(write, cache, (keys_BKCS, values_BKSC), places)
    return keys, values, (keys, values)
  *stacked, layer = cache
  keys, values = (
    write(old, new[None], (layer.astype(index.dtype), *place))
    for old, new, place in zip(
      stacked, (keys_BKCS, values_BKSC), places, strict=True
    )
  )
  own = [
    jax.lax.dynamic_index_in_dim(x, layer, 0, False) for x in (keys, values)
  ]
  return *own, (keys, values, layer)


def refill_rows(
  source: Array,
  target: Array,
  *,
  numbers: Array,
  marked: Array,
  layer: Any,
  places: int,
) -> Array:
  """Returns `target` with rows of `source` in the first places of some rows.

  Only one layer's rows are gathered at a time. Gathered for all layers they
  would lie rows first on a TPU, and the whole cache be copied to lie so too.

  Args:
    source: f[Z, N * m, ..., P, ...], of Z layers.
    target: f[Z, N * s, ..., S, ...].
    numbers: i32[N, s], of a row of the device's part of source.
    marked: bool[N, s], the rows of target to write.
    layer: i32[], of the Z.
    places: the axis of places.
  """
  own = jax.lax.dynamic_index_in_dim(source, layer, 0, keepdims=False)
  parts = own.reshape(numbers.shape[0], -1, *own.shape[1:])
  chosen = jax.vmap(lambda part, n: part[n])(parts, numbers)
  sizes = (1, *target.shape[1:places], source.shape[places])
  sizes += target.shape[places + 1 :]
  start = (layer, *[0] * (target.ndim - 1))
  written = jnp.where(
    marked.reshape(1, -1, *[1] * (target.ndim - 2)),
    chosen.reshape(sizes),
    jax.lax.dynamic_slice(target, start, sizes),
  )
  return jax.lax.dynamic_update_slice(target, written, start)
