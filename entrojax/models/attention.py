"""Attention, with or without a cache, whole, by chunks of queries or fused.

Shape suffixes as in decoder.py: B rows, L new tokens, S tokens attended to,
N = B * L, D width, H heads, K key-value heads, G = H / K heads that share a
key, X = G * L, C head width.
"""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from entrojax.models import fused
from entrojax.models import rope as rope_lib
from entrojax.models.cache import extended
from entrojax.models.dense import costly
from entrojax.models.norms import Norm, no_norm
from entrojax.models.sizes import DecoderConfig
from entrojax.types import Array

_HIDDEN_SCORE = -1e30  # finite, so that a row that sees nothing has no NaN


class Attention(nnx.Module):
  """Grouped-query attention (arXiv 2305.13245).

  Written as products with keys as the cache holds them. Against
  jax.nn.dot_product_attention on two cores, 64 rows of 128 tokens, float32, CPU
  time of a layer: 76 and 96 ms forward and backward (4 heads of width 32), 260
  and 322 ms (9 of 64); one decoding step over 128 keys 0.1 and 1.3 ms, 0.9 and
  5.3 ms.
  """

  def __init__(
    self,
    config: DecoderConfig,
    dense: Any,
    dtype: Any,
    query_chunk: int,
    mesh: Mesh | None,
    rngs: nnx.Rngs,
  ):
    width, head = config.hidden_size, config.head_dim
    self.attend = functools.partial(_attend_in_chunks, query_chunk)
    self.attend_fused = functools.partial(fused.attend, mesh)
    query_width = config.num_attention_heads * head
    key_width = config.num_key_value_heads * head
    self.num_kv_heads, self.head_dim = config.num_key_value_heads, head
    divisor = config.gemma3.query_pre_attn_scalar if config.gemma3 else head
    self.query_scale = (head / divisor) ** 0.5  # beside 1 / sqrt(C)
    bias = config.qkv_bias
    self.q_proj = dense("q_proj", width, query_width, use_bias=bias)
    self.k_proj = dense("k_proj", width, key_width, use_bias=bias)
    self.v_proj = dense("v_proj", width, key_width, use_bias=bias)
    self.o_proj = dense("o_proj", query_width, width)
    norm = Norm if config.qk_norm else no_norm
    self.q_norm = norm(head, config, dtype)
    self.k_norm = norm(head, config, dtype)

  def __call__(self, x_ND, rope, visible, cache, index):
    """Returns attention's output [N, D] and the layer's cache.

    Args:
      x_ND: of tokens [B, L], flat.
      rope: the rotations of their positions, [B, L, C / 2] each.
      visible: bool[B, L, S]; without a cache Examples or Branches as well.
      cache: of the layer; None = the tokens see themselves alone.
      index: i32[], the next slot of the cache.
    """
    batch, length, _ = rope[0].shape
    kv, head = self.num_kv_heads, self.head_dim
    q_BLHC = self.q_norm(self.q_proj(x_ND).reshape(batch, length, -1, head))
    k_BLKC = self.k_norm(self.k_proj(x_ND).reshape(batch, length, kv, head))
    v_BLKC = self.v_proj(x_ND).reshape(batch, length, kv, head)
    q_BLHC, k_BLKC = (rope_lib.rotate(x, rope) for x in (q_BLHC, k_BLKC))
    if self.query_scale != 1:
      q_BLHC = q_BLHC * self.query_scale
    if isinstance(visible, Branches):
      mixed = self._mix_branches(q_BLHC, k_BLKC, v_BLKC, visible)
    else:
      mixed, cache = self._mix(q_BLHC, k_BLKC, v_BLKC, visible, cache, index)
    return self.o_proj(mixed.reshape(batch * length, -1)), cache

  def _mix(self, q_BLHC, k_BLKC, v_BLKC, visible, cache=None, index=None):
    """Returns what queries read, [B, L, H * C], and the cache.

    Keys and values may be of more tokens than queries where there is no cache.
    """
    batch, length, _, head = q_BLHC.shape
    if isinstance(visible, fused.Examples):
      mixed_BLHC = self.attend_fused(q_BLHC, k_BLKC, v_BLKC, visible)
      return mixed_BLHC.reshape(batch, length, -1), cache
    q_BLKGC = q_BLHC.reshape(batch, length, self.num_kv_heads, -1, head)
    # One matrix a key-value head: a batched matmul without singleton axes.
    q_BKXC = costly(
      q_BLKGC.transpose(0, 2, 3, 1, 4).reshape(
        batch, self.num_kv_heads, -1, head
      )
    )
    # Keys lie transposed, so that decoding multiplies without copying them.
    keys_BKCS = k_BLKC.transpose(0, 2, 3, 1)
    values_BKSC = v_BLKC.transpose(0, 2, 1, 3)
    if cache is not None:
      keys_BKCS, values_BKSC, cache = extended(
        cache, keys_BKCS, values_BKSC, index
      )
    mixed_BKXC = self.attend(q_BKXC, keys_BKCS, values_BKSC, visible)
    mixed_BKGLC = mixed_BKXC.reshape(batch, self.num_kv_heads, -1, length, head)
    mixed_BLKGC = mixed_BKGLC.transpose(0, 3, 1, 2, 4)
    return mixed_BLKGC.reshape(batch, length, -1), cache

  def _mix_branches(self, q_BLHC, k_BLKC, v_BLKC, visible):
    """Returns what queries read, [B, L, H * C]: prompts, then responses."""
    (_, length), (rows, _) = (_queries_shape(seen) for seen in visible)
    (prompt_q, q), (prompt_k, k), (prompt_v, v) = (
      split(x, length, rows) for x in (q_BLHC, k_BLKC, v_BLKC)
    )
    times = len(q) // len(prompt_q)
    after = lambda prompt, x: jnp.concatenate(
      [jnp.repeat(prompt, times, axis=0), x], axis=1
    )
    prompt_mixed, _ = self._mix(prompt_q, prompt_k, prompt_v, visible.prompts)
    if not q.size:
      return prompt_mixed
    mixed, _ = self._mix(
      q, after(prompt_k, k), after(prompt_v, v), visible.responses
    )
    return join(prompt_mixed, mixed)


class Branches(NamedTuple):
  """What tokens see where prompts and their responses are read together.

  A row of tokens is a prompt of P tokens and, behind it, its G responses of T
  tokens each: [B, P + G * T, ...]. Each response sees the prompt and itself.
  """

  prompts: Array | fused.Examples  # of P queries and keys, bool[B, P, P]
  responses: Array | fused.Examples  # of P + T keys, bool[B * G, T, P + T]


def _queries_shape(seen: Array | fused.Examples) -> tuple[int, ...]:
  """Returns (B, L) of what B x L queries see."""
  mask = seen.queries if isinstance(seen, fused.Examples) else seen
  return mask.shape[:2]


def join(prompts: Array, responses: Array) -> Array:
  """Returns [B, P + G * T, ...] of [B, P, ...] and [B * G, T, ...]."""
  behind = responses.reshape(len(prompts), -1, *prompts.shape[2:])
  return jnp.concatenate([prompts, behind], axis=1)


def split(x: Array, length: int, rows: int) -> tuple[Array, Array]:
  """Returns [B, P, ...] and [B * G, T, ...] of [B, P + G * T, ...].

  Args:
    x: what `join` made.
    length: P.
    rows: B * G.
  """
  prompts, responses = jnp.split(x, [length], axis=1)
  behind = responses.shape[1] * len(x) // rows
  return prompts, responses.reshape(rows, behind, *x.shape[2:])


def visible_branches(
  prompts: Array, responses: Array, see: Callable[[Array, Array], Any]
) -> Branches:
  """Returns who sees whom, of positions i32[B, P] and i32[B * G, T].

  Args:
    prompts: their positions.
    responses: likewise.
    see: makes of the positions of queries and of keys, the last of which are
      the queries, what they see.
  """
  before = jnp.repeat(prompts, len(responses) // len(prompts), axis=0)
  keys = jnp.concatenate([before, responses], axis=1)
  return Branches(prompts=see(prompts, prompts), responses=see(responses, keys))


def visible_before(
  positions: Array, key_positions: Array, *, window: int | None
) -> Array:
  """Returns visible_keys of queries that are the last keys."""
  index = jnp.int32(key_positions.shape[1] - positions.shape[1])
  return visible_keys(positions, key_positions, index, window)


def visible_keys(
  positions: Array, key_positions: Array, index: Array, window: int | None
) -> Array:
  """Returns bool[B, L, S]: may query l, in slot index + l, see key s?

  Padding is seen by none, and an example by no other: position 0 begins one.
  A window is the number of tokens seen, the query's included.
  """
  keys, queries = key_positions[:, None, :], positions[:, :, None]
  before = (keys >= 0) & (keys <= queries)
  if window is not None:
    before &= keys > queries - window
  if positions.shape[1] == 1:
    return before  # token by token, a row is one example
  examples = jnp.cumsum(key_positions == 0, axis=1)
  own = jax.lax.dynamic_slice_in_dim(examples, index, positions.shape[1], 1)
  return before & (examples[:, None, :] == own[:, :, None])


def _attend_in_chunks(size, q_BKXC, keys_BKCS, values_BKSC, visible_BLS):
  """Returns what _attend does, `size` queries at a time where size > 0.

  The backward pass makes each chunk's weights again, and sums the gradients of
  keys and values over chunks in float32.
  """
  length = visible_BLS.shape[1]
  if not 0 < size < length:
    return _attend(q_BKXC, keys_BKCS, values_BKSC, visible_BLS)
  batch, kv, _, head = q_BKXC.shape
  count = -(-length // size)
  padding = count * size - length
  q_BKGLC = jnp.pad(
    q_BKXC.reshape(batch, kv, -1, length, head),
    ((0, 0), (0, 0), (0, 0), (0, padding), (0, 0)),
  )
  visible_BLS = jnp.pad(visible_BLS, ((0, 0), (0, padding), (0, 0)))
  dtype = keys_BKCS.dtype
  wide = jnp.promote_types(dtype, jnp.float32)
  keys_BKCS, values_BKSC = (x.astype(wide) for x in (keys_BKCS, values_BKSC))

  @jax.checkpoint
  def chunk(i):
    part = functools.partial(
      jax.lax.dynamic_slice_in_dim, start_index=i * size, slice_size=size
    )
    mixed_BKXC = _attend(
      part(q_BKGLC, axis=3).reshape(batch, kv, -1, head),
      keys_BKCS.astype(dtype),
      values_BKSC.astype(dtype),
      part(visible_BLS, axis=1),
    )
    return mixed_BKXC.reshape(batch, kv, -1, size, head)

  mixed_ZBKGLC = jax.lax.map(chunk, jnp.arange(count))
  mixed_BKGZLC = jnp.moveaxis(mixed_ZBKGLC, 0, 3)
  mixed_BKGLC = mixed_BKGZLC.reshape(batch, kv, -1, count * size, head)
  return mixed_BKGLC[:, :, :, :length].reshape(q_BKXC.shape)


def _attend(q_BKXC, keys_BKCS, values_BKSC, visible_BLS):
  """Returns the mean of the values that each query attends to."""
  scale = q_BKXC.shape[-1] ** -0.5
  scores = costly(jnp.einsum("bkxc,bkcs->bkxs", q_BKXC, keys_BKCS)) * scale
  weights = _masked_softmax(scores, visible_BLS).astype(values_BKSC.dtype)
  return costly(jnp.einsum("bkxs,bksc->bkxc", weights, values_BKSC))


def _masked_softmax(scores_BKXS: Array, visible_BLS: Array) -> Array:
  """Returns attention weights in float32; X = heads of a group x queries."""
  batch, kv, _, keys = scores_BKXS.shape
  scores = scores_BKXS.astype(jnp.promote_types(scores_BKXS.dtype, jnp.float32))
  scores = scores.reshape(batch, kv, -1, *visible_BLS.shape[1:])
  scores = jnp.where(visible_BLS[:, None, None], scores, _HIDDEN_SCORE)
  return jax.nn.softmax(scores, axis=-1).reshape(batch, kv, -1, keys)
