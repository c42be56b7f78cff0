"""Run a stack of layers, in one of three ways.

`unrolled` compiles every layer by itself: a small model is 1.5 to 2 times as
fast on a CPU as with the other two. `scanned` compiles one layer and loops over
it, so that the time to compile does not grow with depth. `scanned_in_place`
does the same without a second copy of the cache. It cannot run without a cache,
and it must not be differentiated. decoder.py chooses among the three.

All three have the same arguments:

    run     (params of a layer, kind, x, LayerCache or None)
              -> (x, the layer's stored keys and values or None)
    layers  parameters, every leaf [depth, ...]; `unrolled` also takes the tuple
            that `unstack` returns
    kinds   i32[depth], the kind of each layer
    x       f[N, D], the activations
    cache   a Cache whose layers are stacked in the scans and a tuple in
            `unrolled`; or None, but not in `scanned_in_place`

They return the activations and the new value of `Cache.layers`, in the form in
which it came. It is None without a cache.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from entrojax.models.cache import LayerCache
from entrojax.types import Array, Cache, Params


def unrolled(
  run: Callable,
  layers: Params,
  kinds: np.ndarray,
  x: Array,
  cache: Cache | None,
) -> tuple[Array, Any]:
  """Run layer after layer.

  `layers` may also be a tuple of the parameters of each layer, from `unstack`.
  """
  split = layers if isinstance(layers, tuple) else unstack(layers, len(kinds))
  stored = []
  for i, (params, kind) in enumerate(zip(split, kinds, strict=True)):
    own = None
    if cache is not None:
      before = _before(cache)
      before = None if before is None else before[i]
      own = _layer_cache(cache, cache.layers[i], before)
    with jax.named_scope(f"layer_{i}"):
      x, pair = run(params, kind, x, own)
    stored.append(pair)
  return x, None if cache is None else tuple(stored)


def scanned(
  run: Callable,
  layers: Params,
  kinds: np.ndarray,
  x: Array,
  cache: Cache | None,
) -> tuple[Array, Any]:
  """Loop over one compiled layer; the cache that it returns is a copy."""

  def one_layer(x, inputs):
    params, kind, pair, before = inputs
    own = None if cache is None else _layer_cache(cache, pair, before)
    return run(params, kind, x, own)

  pairs = None if cache is None else cache.layers
  with jax.named_scope("layers"):
    return jax.lax.scan(one_layer, x, (layers, kinds, pairs, _before(cache)))


def scanned_in_place(
  run: Callable, layers: Params, kinds: np.ndarray, x: Array, cache: Cache
) -> tuple[Array, Any]:
  """Loop over one compiled layer that writes into the stacked cache.

  The cache is carried from layer to layer, so that the compiler can update its
  buffers.
  """

  def one_layer(carry, inputs):
    x, (keys, values) = carry
    params, kind, layer, before = inputs
    own = _layer_cache(cache, (keys, values), before, layer)
    x, pair = run(params, kind, x, own)
    return (x, pair), None

  depth = jnp.arange(cache.layers[0].shape[0], dtype=jnp.int32)
  with jax.named_scope("layers"):
    (x, pair), _ = jax.lax.scan(
      one_layer, (x, cache.layers), (layers, kinds, depth, _before(cache))
    )
  return x, pair


def unstack(layers: Params, depth: int) -> tuple[Params, ...]:
  """Split stacked parameters into the parameters of each layer."""
  return tuple(
    jax.tree.map(lambda leaf, i=i: leaf[i], layers) for i in range(depth)
  )


def _before(cache: Cache | None) -> Any:
  """Return the keys and values of shared prompts, None if there are none."""
  if cache is None or cache.prompts is None:
    return None
  return cache.prompts.layers


def _layer_cache(
  cache: Cache,
  pair: tuple[Array, Array],
  before: tuple[Array, Array] | None,
  layer: Array | None = None,
) -> LayerCache:
  """Build the cache of a layer.

  Args:
    cache: the cache of all layers.
    pair: the layer's own keys and values, or those of all layers.
    before: the layer's keys and values of shared prompts, None without.
    layer: the layer's number in `pair`; None: the arrays are its own.
  """
  keys, values = pair
  return LayerCache(keys, values, layer, cache.index, cache.filled, before)
