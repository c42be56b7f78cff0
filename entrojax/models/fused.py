"""Attention whose scores never leave a TPU's vector memory.

The kernels, forward and backward, are those that ship with JAX (splash
attention; FlashAttention, arXiv 2205.14135): softmax in float32, and blocks of
scores that no query sees are skipped. They know which slots a query may see
before they run, and which examples tokens are of when they run; so no mask of
queries x keys is made.

Shape suffixes: B rows, L queries, S keys, H heads, K key-value heads, G = H / K
heads that share a key, C head width, Z rows x heads or rows x key-value heads.
"""

import functools
from typing import Any, NamedTuple

import jax
from jax.experimental.pallas.ops.tpu import splash_attention as splash
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
import numpy as np

from entrojax.models.dense import COSTLY
from entrojax.models.sizes import DecoderConfig
from entrojax.system.sharding import ROWS, num_row_shards
from entrojax.types import Array

_LANES = 128  # a TPU's vector width; lengths of blocks are multiples
# Queries, and keys, that are in vector memory at one time, at most. A v5e's
# compiler schedules a forward block of heads of width 128, whose products are
# 4,096 cycles, in 4,563 bundles, and in 4,900 where all of its scores are made
# at one time, not for half of its keys; a backward one in 9,081, which is less
# than its products take, 10,240 cycles.
_BLOCK = 1024


class Examples(NamedTuple):
  """Which example each token is of; 0 = padding, an example of its own.

  A query sees the keys of its example up to itself: the queries are the last L
  of the S keys. So no query sees nothing.
  """

  queries: Array  # i32[B, L]
  keys: Array  # i32[B, S]


def check(config: DecoderConfig, mesh: Mesh | None) -> None:
  """Raises ValueError if the attention of such a model cannot be fused."""
  if config.gemma3 is not None:
    raise ValueError(
      "model.fused_attention is True, and model.path is a Gemma 3: its windows "
      "are not fused"
    )
  heads = config.num_key_value_heads
  if mesh is not None and heads % mesh.shape["tensor"]:
    raise ValueError(
      f"model.fused_attention is True, and {heads} key-value heads of "
      f"model.path do not divide over the tensor axis of mesh = "
      f"{tuple(mesh.shape.values())}"
    )


def examples_of(positions: Array, key_positions: Array) -> Examples:
  """Returns the examples of tokens at positions i32[B, L] and i32[B, S].

  Args:
    positions: of the last L keys; -1 = padding, 0 begins an example.
    key_positions: of all.
  """
  keys = jnp.cumsum(key_positions == 0, axis=1, dtype=jnp.int32)
  keys = jnp.where(key_positions >= 0, keys, 0)
  index = keys.shape[1] - positions.shape[1]
  return Examples(queries=keys[:, index:], keys=keys)


def attend(
  mesh: Mesh | None, q_BLHC: Array, k_BSKC: Array, v_BSKC: Array, seen: Examples
) -> Array:
  """Returns the means f[B, L, H, C] of the values that queries attend to.

  On a mesh each device has its own rows and heads; rows that do not divide are
  on every device.
  """
  if mesh is None:
    return _attend(q_BLHC, k_BSKC, v_BSKC, seen)
  divides = q_BLHC.shape[0] % num_row_shards(mesh) == 0
  rows = ROWS if divides else PartitionSpec(None)
  heads = PartitionSpec(*rows, None, "tensor")
  return jax.shard_map(
    _attend,
    mesh=mesh,
    in_specs=(heads, heads, heads, rows),
    out_specs=heads,
    check_vma=False,
  )(q_BLHC, k_BSKC, v_BSKC, seen)


def _attend(q_BLHC, k_BSKC, v_BSKC, seen):
  """Returns what `attend` does, on one device."""
  batch, length, num_heads, head = q_BLHC.shape
  _, num_keys, kv, _ = k_BSKC.shape
  block, count = _blocks(length)
  key_block, key_count = _blocks(num_keys)
  kernel = _kernel(
    num_heads // kv,
    (block, count),
    (key_block, key_count),
    num_keys - length,
  )
  fill = lambda x, size: jnp.pad(
    x, [(0, 0), (0, size - x.shape[1])] + [(0, 0)] * (x.ndim - 2)
  )
  queries = lambda x: fill(x, block * count)
  keys = lambda x: fill(x, key_block * key_count)
  # Rows x key-value heads are one axis: where a chip has two cores, it is by
  # such an axis that the backward pass is split.
  by_head = lambda x: x.transpose(0, 2, 1, 3).reshape(-1, x.shape[1], head)
  ids = lambda x: jnp.repeat(x, kv, axis=0)
  q_ZLC = by_head(queries(q_BLHC * head**-0.5))
  mixed_ZGLC = jax.vmap(kernel)(
    q_ZLC.reshape(batch * kv, -1, block * count, head),
    by_head(keys(k_BSKC)),
    by_head(keys(v_BSKC)),
    splash.SegmentIds(ids(queries(seen.queries)), ids(keys(seen.keys))),
  )
  mixed_BHLC = mixed_ZGLC.reshape(batch, num_heads, -1, head)
  return mixed_BHLC.transpose(0, 2, 1, 3)[:, :length]


def _blocks(length: int) -> tuple[int, int]:
  """Returns the length of blocks and how many hold `length` tokens."""
  count = -(-length // _BLOCK)
  return -(-length // (count * _LANES)) * _LANES, count


@functools.lru_cache(maxsize=16)
def _kernel(
  num_heads: int,
  queries: tuple[int, int],
  keys: tuple[int, int],
  index: int,
) -> Any:
  """Makes (q [G, L, C], k [S, C], v [S, C], segment ids) -> [G, L, C].

  Args:
    num_heads: G.
    queries: the length of their blocks, and how many there are.
    keys: likewise.
    index: the slot of the first query among the keys.
  """
  (block, count), (key_block, key_count) = queries, keys
  half = key_block // 2 if key_block % (2 * _LANES) == 0 else key_block
  mask = splash.CausalMask((block * count, key_block * key_count), index)
  with jax.ensure_compile_time_eval():
    kernel = splash.make_splash_mqa(
      splash.MultiHeadMask([mask] * num_heads),
      block_sizes=splash.BlockSizes(
        block_q=block,
        block_kv=key_block,
        block_kv_compute=half,
        # The backward pass makes scores once, not once for queries and once for
        # keys. Its gradients of queries come one for each of these blocks of
        # keys, in the queries' type, and are added up outside.
        block_q_dkv=block,
        block_kv_dkv=key_block * (1 + (key_count % 2 == 0)),
        block_kv_dkv_compute=half,
        use_fused_bwd_kernel=True,
      ),
      head_shards=1,
      q_seq_shards=1,
      residual_checkpoint_name=COSTLY,
    )
  return jax.tree.map(np.asarray, kernel)
