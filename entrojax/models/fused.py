"""Attention whose scores never leave the vector memory of a TPU.

The kernels, forward and backward, are the splash attention that ships with JAX
(FlashAttention, arXiv 2205.14135). Softmax is in float32. No mask of queries x
keys exists in memory: causality is compiled into the kernel, which skips blocks
of keys that come wholly after a block of queries, and the number of each
token's example is an input of the kernel (`Examples`). Queries must be the last
keys, so a decoding loop with its cache does not use these kernels. Sliding
windows are not supported: `check` refuses such models.

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

from entrojax.models.kept import ATTENTION
from entrojax.models.sizes import DecoderConfig
from entrojax.system.sharding import ROWS, num_row_shards
from entrojax.types import Array

_LANES = 128  # vector width of a TPU; lengths of blocks are multiples of it
_SUBLANES = 16  # rows of a tile of bfloat16 numbers
# At most this many queries, and this many keys, are in vector memory at one
# time. For heads of width 128, the compiler of a v5e schedules a forward block
# in 4,563 bundles; its products alone need 4,096 cycles. It would be 4,900
# bundles if the scores of all keys were computed at once instead of in two
# halves. A backward block is 9,081 bundles; its products need 10,240 cycles.
_BLOCK = 1024


class Examples(NamedTuple):
  """The number of each token's example; padding is example 0.

  The queries are the last L of the S keys. A query sees the keys of its own
  example up to itself, so every query sees at least one key.
  """

  queries: Array  # i32[B, L]
  keys: Array  # i32[B, S]


def check(config: DecoderConfig, mesh: Mesh | None) -> None:
  """Raise ValueError if the attention of such a model cannot be fused."""
  if config.gemma3 is not None:
    raise ValueError(
      "model.fused_attention is True, but model.path is a Gemma 3, and the "
      "fused kernels do not support its sliding windows"
    )
  heads = config.num_key_value_heads
  if mesh is not None and heads % mesh.shape["tensor"]:
    raise ValueError(
      f"model.fused_attention is True, but the {heads} key-value heads of "
      "model.path cannot be split evenly over the tensor axis of mesh = "
      f"{tuple(mesh.shape.values())}"
    )


def whole_tiles(length: int) -> int:
  """Round a length up to a multiple of the rows of a tile in memory.

  Rows of a batch whose lengths are such multiples are taken apart without
  copies. A response of 512 tokens has 511 that are read.
  """
  return -(-length // _SUBLANES) * _SUBLANES


def examples_of(
  positions: Array, key_positions: Array, *, window: None = None
) -> Examples:
  """Number the example of each token from its position.

  Args:
    positions: i32[B, L], positions of the queries, which are the last L keys;
      -1 = padding, 0 begins an example.
    key_positions: i32[B, S], positions of all keys.
    window: always None. It is here so that `visible_before` can take this
      function's place; `check` refuses models with windows.
  """
  del window
  keys = jnp.cumsum(key_positions == 0, axis=1, dtype=jnp.int32)
  keys = jnp.where(key_positions >= 0, keys, 0)
  index = keys.shape[1] - positions.shape[1]
  return Examples(queries=keys[:, index:], keys=keys)


def attend(
  mesh: Mesh | None,
  q_BHLC: Array,
  k_BKSC: Array,
  v_BKSC: Array,
  examples: Examples,
) -> Array:
  """Average the values that each query attends to.

  Heads come before tokens, as in the kernels. On a mesh each device computes
  its own rows and heads. If the rows cannot be split evenly, every device
  computes all rows of its heads.

  Returns:
    f[B, H, L, C].
  """
  if mesh is None:
    return _attend(q_BHLC, k_BKSC, v_BKSC, examples)
  divides = q_BHLC.shape[0] % num_row_shards(mesh) == 0
  rows = ROWS if divides else PartitionSpec(None)
  heads = PartitionSpec(*rows, "tensor")
  return jax.shard_map(
    _attend,
    mesh=mesh,
    in_specs=(heads, heads, heads, rows),
    out_specs=heads,
    check_vma=False,
  )(q_BHLC, k_BKSC, v_BKSC, examples)


def _attend(q_BHLC, k_BKSC, v_BKSC, examples):
  """Attend on one device; see `attend`."""
  batch, num_heads, length, head = q_BHLC.shape
  _, kv, num_keys, _ = k_BKSC.shape
  block, count = _blocks(length)
  key_block, key_count = _blocks(num_keys)
  kernel = _kernel(
    num_heads // kv,
    (block, count),
    (key_block, key_count),
    num_keys - length,
  )
  # Rows x key-value heads are one axis, because on a chip with two cores the
  # backward pass is split along such an axis.
  rows, queries, keys = batch * kv, block * count, key_block * key_count
  by_head = lambda x, size: _fill(x, size, axis=2).reshape(rows, -1, size, head)
  ids = lambda x, size: jnp.repeat(_fill(x, size, axis=1), kv, axis=0)
  mixed_ZGLC = jax.vmap(kernel)(
    by_head(q_BHLC * head**-0.5, queries),
    by_head(k_BKSC, keys)[:, 0],
    by_head(v_BKSC, keys)[:, 0],
    splash.SegmentIds(ids(examples.queries, queries), ids(examples.keys, keys)),
  )
  return mixed_ZGLC.reshape(batch, num_heads, -1, head)[:, :, :length]


def _fill(x: Array, size: int, *, axis: int) -> Array:
  """Append zeros, so that an axis has `size` places."""
  padding = [(0, 0)] * x.ndim
  padding[axis] = (0, size - x.shape[axis])
  return jnp.pad(x, padding)


def _blocks(length: int) -> tuple[int, int]:
  """Return (length of a block, number of blocks) for `length` tokens."""
  count = -(-length // _BLOCK)
  return -(-length // (count * _LANES)) * _LANES, count


@functools.lru_cache(maxsize=16)
def _kernel(
  num_heads: int,
  queries: tuple[int, int],
  keys: tuple[int, int],
  index: int,
) -> Any:
  """Build the kernel (q [G, L, C], k [S, C], v [S, C], ids) -> [G, L, C].

  Args:
    num_heads: G.
    queries: length of a block of queries, number of such blocks.
    keys: length of a block of keys, number of such blocks.
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
        # The fused backward pass computes scores once, for the gradients of
        # queries and keys together. It returns a gradient of queries for each
        # of these blocks of keys, in the type of the queries, and these are
        # added up outside of the kernel.
        block_q_dkv=block,
        block_kv_dkv=key_block * (1 + (key_count % 2 == 0)),
        block_kv_dkv_compute=half,
        use_fused_bwd_kernel=True,
      ),
      head_shards=1,
      q_seq_shards=1,
      residual_checkpoint_name=ATTENTION,
    )
  return jax.tree.map(np.asarray, kernel)
