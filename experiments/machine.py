"""Measure this machine's peak rates; count a decoder's operations and bytes."""

from collections.abc import Callable
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp

from entrojax.models import DecoderConfig

_FLOAT = 4  # bytes of a float32


def seconds(function: Callable[[], Any]) -> float:
  """Return the wall-clock time of a call."""
  start = time.perf_counter()
  jax.block_until_ready(function())
  return time.perf_counter() - start


def median_seconds(function: Callable[[], Any], repeats: int) -> float:
  """Return the median time of a call, after a first one that compiles."""
  jax.block_until_ready(function())
  return statistics.median(seconds(function) for _ in range(repeats))


def make_multiply(size: int) -> Callable[[], jax.Array]:
  """Build a function that multiplies two square float32 matrices.

  One call takes 2 size^3 floating-point operations.
  """
  x = jax.random.normal(jax.random.key(0), (size, size))
  multiply = jax.jit(jnp.dot)
  return lambda: multiply(x, x)


def matmul_peak(
  repeats: int, sizes: tuple[int, ...] = (1024, 2048)
) -> tuple[float, int]:
  """Measure the best float32 matmul rate, FLOP/s; return it and its size."""
  rates = [
    2 * size**3 / median_seconds(make_multiply(size), repeats) for size in sizes
  ]
  best = max(rates)
  return best, sizes[rates.index(best)]


def read_bandwidth(repeats: int, size: int = 2**28) -> float:
  """Measure how fast a sum reads an array of `size` bytes, in bytes/s."""
  x = jnp.ones(size // _FLOAT)
  add = jax.jit(jnp.sum)
  return size / median_seconds(lambda: add(x), repeats)


def forward_flops(
  sizes: DecoderConfig, tokens: float, context: float, predicted: float
) -> float:
  """Compute the FLOPs of a forward pass.

  Args:
    sizes: the decoder's sizes.
    tokens: number of tokens that pass the layers.
    context: number of keys that a token attends to, on average.
    predicted: number of tokens whose logits are computed.
  """
  width = sizes.hidden_size
  query = sizes.num_attention_heads * sizes.head_dim
  attention = 2 * query * context
  layers = sizes.num_hidden_layers * (_layer_weights(sizes) + attention)
  return 2 * (layers * tokens + width * sizes.vocab_size * predicted)


def step_bytes(sizes: DecoderConfig, rows: int, context: float) -> float:
  """Compute the bytes that a decoding step must read: weights and cache.

  Args:
    sizes: the sizes of a float32 decoder.
    rows: number of rows that are decoded at one time.
    context: number of keys in a row's cache.
  """
  key = sizes.num_key_value_heads * sizes.head_dim
  weights = sizes.num_hidden_layers * _layer_weights(sizes)
  weights += sizes.hidden_size * sizes.vocab_size
  cache = sizes.num_hidden_layers * 2 * key * context * rows
  return _FLOAT * (weights + cache)


def _layer_weights(sizes: DecoderConfig) -> int:
  """Return the number of weights in a layer's matrices."""
  head, width = sizes.head_dim, sizes.hidden_size
  query = sizes.num_attention_heads * head
  key = sizes.num_key_value_heads * head
  return width * (2 * query + 2 * key) + 3 * width * sizes.intermediate_size
