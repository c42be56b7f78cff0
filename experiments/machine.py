"""What this machine can do, and what a decoder asks of it."""

from collections.abc import Callable
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp

from entrojax.models import DecoderConfig

_FLOAT = 4  # bytes of a float32


def seconds(function: Callable[[], Any]) -> float:
  """Returns the time of a call, by the clock."""
  start = time.perf_counter()
  jax.block_until_ready(function())
  return time.perf_counter() - start


def median_seconds(function: Callable[[], Any], repeats: int) -> float:
  """Returns the median time of a call, after one that compiles."""
  jax.block_until_ready(function())
  return statistics.median(seconds(function) for _ in range(repeats))


def make_multiply(size: int) -> Callable[[], jax.Array]:
  """Makes a float32 product of 2 size^3 operations."""
  x = jax.random.normal(jax.random.key(0), (size, size))
  multiply = jax.jit(jnp.dot)
  return lambda: multiply(x, x)


def matmul_peak(
  repeats: int, sizes: tuple[int, ...] = (1024, 2048)
) -> tuple[float, int]:
  """Returns the best measured float32 matmul rate, FLOP/s, and its size."""
  rates = [
    2 * size**3 / median_seconds(make_multiply(size), repeats) for size in sizes
  ]
  best = max(rates)
  return best, sizes[rates.index(best)]


def read_bandwidth(repeats: int, size: int = 2**28) -> float:
  """Returns bytes a second that a sum reads from an array of `size` bytes."""
  x = jnp.ones(size // _FLOAT)
  add = jax.jit(jnp.sum)
  return size / median_seconds(lambda: add(x), repeats)


def forward_flops(
  sizes: DecoderConfig, tokens: float, seen: float, predicted: float
) -> float:
  """Returns the FLOPs of a forward pass.

  Args:
    sizes: of the decoder.
    tokens: read by the layers.
    seen: keys that a token attends to, on average.
    predicted: tokens whose logits are made.
  """
  width = sizes.hidden_size
  query = sizes.num_attention_heads * sizes.head_dim
  attention = 2 * query * seen
  layers = sizes.num_hidden_layers * (_layer_weights(sizes) + attention)
  return 2 * (layers * tokens + width * sizes.vocab_size * predicted)


def step_bytes(sizes: DecoderConfig, rows: int, seen: float) -> float:
  """Returns the bytes that a decoding step must read: weights and cache.

  Args:
    sizes: of the decoder, in float32.
    rows: decoded at one time.
    seen: keys that a row has.
  """
  key = sizes.num_key_value_heads * sizes.head_dim
  weights = sizes.num_hidden_layers * _layer_weights(sizes)
  weights += sizes.hidden_size * sizes.vocab_size
  cache = sizes.num_hidden_layers * 2 * key * seen * rows
  return _FLOAT * (weights + cache)


def _layer_weights(sizes: DecoderConfig) -> int:
  head, width = sizes.head_dim, sizes.hidden_size
  query = sizes.num_attention_heads * head
  key = sizes.num_key_value_heads * head
  return width * (2 * query + 2 * key) + 3 * width * sizes.intermediate_size
