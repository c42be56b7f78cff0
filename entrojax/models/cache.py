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


def pairs(layers: Any) -> list[tuple[Array, Array]]:
  """Returns keys and values of each layer, or of all of them, stacked."""
  return [layers] if isinstance(layers[0], Array) else list(layers)


def refill_rows(
  source: Array,
  target: Array,
  *,
  numbers: Array,
  marked: Array,
  rows: int,
  places: int,
) -> Array:
  """Returns `target` with rows of `source` in the first places of some rows.

  Args:
    source: f[..., N * m, ..., P, ...].
    target: f[..., N * s, ..., S, ...].
    numbers: i32[N, s], of a row of the device's part of source.
    marked: bool[N, s], the rows of target to write.
    rows: the axis of rows.
    places: the axis of places.
  """
  split = lambda x: x.reshape(
    *x.shape[:rows], numbers.shape[0], -1, *x.shape[rows + 1 :]
  )
  take = jax.vmap(lambda part, n: jnp.take(part, n, axis=rows), (rows, 0), rows)
  chosen = take(split(source), numbers)
  chosen = chosen.reshape(*source.shape[:rows], -1, *source.shape[rows + 1 :])
  before = jax.lax.slice_in_dim(target, 0, source.shape[places], axis=places)
  shape = [1] * target.ndim
  shape[rows] = -1
  written = jnp.where(marked.reshape(shape), chosen, before)
  return jax.lax.dynamic_update_slice_in_dim(target, written, 0, axis=places)
