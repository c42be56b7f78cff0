"""Grouped-query attention (arXiv 2305.13245), with or without a cache.

    o_l = sum_s softmax_s(q_l . k_s / sqrt(C)) v_s,   over the keys that l sees

Gemma 3 may divide by another number than sqrt(C). G query heads share a
key-value head. Their queries are stacked, X = G * L, so that each key-value
head needs one matrix product, [X, C] @ [C, S], without singleton axes:

    x                      [N, D]
    q, k, v                [B, L, H, C], [B, L, K, C] twice; q and k are rotated
    q, keys, values        [B, K, X, C], [B, K, C, S], [B, K, S, C]
    scores, weights        [B, K, X, S]
    mixed values, output   [B, K, X, C], [N, D]

By default the weights of all queries exist at once. With `query_chunk`, only
the weights of one chunk of queries exist at a time. With fused attention, which
is used only without a cache, no weights leave the kernels of fused.py, and
queries, keys and values have heads before tokens. Which keys a query sees is
computed by visibility.py.

Shape suffixes: B rows, L new tokens, S tokens attended to, N = B * L, D width,
H heads, K key-value heads, G = H / K heads that share a key, X = G * L, C head
width, Z chunks of queries.
"""

import functools
from typing import Any, NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from entrojax.models import fused
from entrojax.models import rope as rope_lib
from entrojax.models.cache import LayerCache, write
from entrojax.models.cached_attention import attend_to_cache
from entrojax.models.kept import costly
from entrojax.models.norms import Norm
from entrojax.models.sizes import DecoderConfig
from entrojax.models.visibility import (
  Branches,
  hide,
  join_branches,
  num_queries,
  split_branches,
)
from entrojax.types import Array


class View(NamedTuple):
  """How the new tokens see their keys, in layers of one kind."""

  rotation: tuple[Array, Array]  # cosines, sines f[B, L, C / 2] of positions
  # bool[B, L, S], of the keys of shared prompts and of the rows' own; without a
  # cache it may also be Examples or Branches
  visible: Array | fused.Examples | Branches


class Attention(nnx.Module):
  """The attention half of a layer.

  The products are written out because on a CPU they are faster than
  jax.nn.dot_product_attention. CPU time of one layer on two cores, 64 rows,
  float32:

      forward and backward, 128 tokens, 4 heads of width 32    76 against 96 ms
      the same, 9 heads of width 64                          260 against 322 ms
      one decoding step over 128 keys, 4 heads of width 32   0.1 against 1.3 ms
      the same, 9 heads of width 64                          0.9 against 5.3 ms
  """

  def __init__(
    self,
    config: DecoderConfig,
    projection: Any,
    *,
    dtype: Any,
    query_chunk: int,
    mesh: Mesh | None,
  ):
    width, head = config.hidden_size, config.head_dim
    self.attend = functools.partial(_attend_in_chunks, query_chunk)
    self.attend_fused = functools.partial(fused.attend, mesh)
    query_width = config.num_attention_heads * head
    key_width = config.num_key_value_heads * head
    self.num_kv_heads, self.head_dim = config.num_key_value_heads, head
    divisor = config.gemma3.query_pre_attn_scalar if config.gemma3 else head
    self.query_scale = (head / divisor) ** 0.5  # on top of 1 / sqrt(C)
    bias = config.qkv_bias
    self.q_proj = projection("q_proj", width, query_width, use_bias=bias)
    self.k_proj = projection("k_proj", width, key_width, use_bias=bias)
    self.v_proj = projection("v_proj", width, key_width, use_bias=bias)
    self.o_proj = projection("o_proj", query_width, width)
    self.q_norm = Norm(head, config, dtype) if config.qk_norm else _identity
    self.k_norm = Norm(head, config, dtype) if config.qk_norm else _identity

  @jax.named_scope("attention")
  def __call__(self, x_ND: Array, view: View, cache: LayerCache | None):
    """Compute attention of B rows of L tokens.

    Args:
      x_ND: f[N, D], activations of the tokens, row after row.
      view: the rotation of the tokens and the keys that they see.
      cache: keys and values of earlier tokens; None: there are no earlier
        tokens.

    Returns:
      (f[N, D], the stored arrays of the cache or None).
    """
    if _is_fused(view.visible):
      return self._fused(x_ND, view), None
    batch, length, _ = view.rotation[0].shape
    kv, head = self.num_kv_heads, self.head_dim
    q_BLHC = self.q_norm(self.q_proj(x_ND).reshape(batch, length, -1, head))
    k_BLKC = self.k_norm(self.k_proj(x_ND).reshape(batch, length, kv, head))
    v_BLKC = self.v_proj(x_ND).reshape(batch, length, kv, head)
    q_BLHC, k_BLKC = (
      rope_lib.rotate(x, view.rotation) for x in (q_BLHC, k_BLKC)
    )
    if self.query_scale != 1:
      q_BLHC = q_BLHC * self.query_scale
    stored = None
    if isinstance(view.visible, Branches):
      mixed = self._mix_branches(q_BLHC, k_BLKC, v_BLKC, view.visible)
    else:
      mixed, stored = self._mix(q_BLHC, k_BLKC, v_BLKC, view.visible, cache)
    return self.o_proj(mixed.reshape(batch * length, -1)), stored

  def _mix(self, q_BLHC, k_BLKC, v_BLKC, visible, cache=None):
    """Average the values that each query attends to.

    Without a cache there may be more keys and values than queries.

    Returns:
      (f[B, L, H * C], the stored arrays of the cache or None).
    """
    batch, length, _, head = q_BLHC.shape
    q_BLKGC = q_BLHC.reshape(batch, length, self.num_kv_heads, -1, head)
    q_BKXC = costly(
      q_BLKGC.transpose(0, 2, 3, 1, 4).reshape(
        batch, self.num_kv_heads, -1, head
      )
    )
    keys_BKCS = k_BLKC.transpose(0, 2, 3, 1)
    values_BKSC = v_BLKC.transpose(0, 2, 1, 3)
    stored = None
    if cache is None:
      mixed_BKXC = self.attend(q_BKXC, keys_BKCS, values_BKSC, visible)
    else:
      cache = write(cache, keys_BKCS, values_BKSC)
      mixed_BKXC = attend_to_cache(self.attend, q_BKXC, cache, visible)
      stored = cache.keys, cache.values
    mixed_BKGLC = mixed_BKXC.reshape(batch, self.num_kv_heads, -1, length, head)
    mixed_BLKGC = mixed_BKGLC.transpose(0, 3, 1, 2, 4)
    return mixed_BLKGC.reshape(batch, length, -1), stored

  def _mix_branches(self, q_BLHC, k_BLKC, v_BLKC, visible):
    """Average values for prompts, and for responses behind their prompt.

    The keys and values of a prompt are computed once and used by all of its
    responses.

    Returns:
      f[B, L, H * C] with L = P + G * T, as `join_branches` lays out tokens.
    """
    (_, length), (rows, _) = (num_queries(part) for part in visible)
    (prompt_q, q), (prompt_k, k), (prompt_v, v) = (
      split_branches(x, length, rows) for x in (q_BLHC, k_BLKC, v_BLKC)
    )
    times = len(q) // len(prompt_q)
    behind_prompt = lambda prompt, x: jnp.concatenate(
      [jnp.repeat(prompt, times, axis=0), x], axis=1
    )
    prompt_mixed, _ = self._mix(prompt_q, prompt_k, prompt_v, visible.prompts)
    if not q.size:
      return prompt_mixed
    mixed, _ = self._mix(
      q,
      behind_prompt(prompt_k, k),
      behind_prompt(prompt_v, v),
      visible.responses,
    )
    return join_branches(prompt_mixed, mixed)

  def _fused(self, x_ND, view):
    """Run the attention half in the fused kernels; see `__call__`.

    Prompts and responses are taken apart before the projections. The kernels
    read heads before tokens, and a projection can write them so: afterwards,
    both would be copied several times.

    Returns:
      f[N, D].
    """
    rotation, visible = view
    batch, length, _ = rotation[0].shape
    if isinstance(visible, fused.Examples):
      q, k, v = self._heads_first(x_ND, rotation)
      return self._output(self.attend_fused(q, k, v, visible))
    (_, places), (rows, _) = (num_queries(part) for part in visible)
    x_BLD = x_ND.reshape(batch, length, -1)
    prompt_x, x = split_branches(x_BLD, places, rows)
    prompt_at, at = zip(
      *(split_branches(r, places, rows) for r in rotation), strict=True
    )
    prompt_q, prompt_k, prompt_v = self._heads_first(prompt_x, prompt_at)
    prompt_mixed = self._output(
      self.attend_fused(prompt_q, prompt_k, prompt_v, visible.prompts)
    )
    if not x.size:
      return prompt_mixed
    q, k, v = self._heads_first(x, at)
    behind_prompt = lambda prompt, x: jnp.concatenate(
      [jnp.repeat(prompt, len(x) // len(prompt), axis=0), x], axis=2
    )
    keys, values = behind_prompt(prompt_k, k), behind_prompt(prompt_v, v)
    mixed = self._output(self.attend_fused(q, keys, values, visible.responses))
    joined = join_branches(
      prompt_mixed.reshape(prompt_x.shape), mixed.reshape(x.shape)
    )
    return joined.reshape(x_ND.shape)

  def _heads_first(self, x, rotation):
    """Return queries f[B, H, L, C], and keys and values f[B, K, L, C].

    Args:
      x: f[B, L, D] or f[N, D], activations.
      rotation: cosines, sines f[B, L, C / 2] of the tokens' positions.
    """
    batch, length, _ = rotation[0].shape
    x_ND = x.reshape(batch * length, -1)

    def heads(projection):
      x_BLHC = projection(x_ND).reshape(batch, length, -1, self.head_dim)
      return x_BLHC.transpose(0, 2, 1, 3)

    q, k = self.q_norm(heads(self.q_proj)), self.k_norm(heads(self.k_proj))
    q, k = (rope_lib.rotate_by_product(x, rotation) for x in (q, k))
    return q, k, heads(self.v_proj)

  def _output(self, mixed_BHLC):
    """Project the mixed values of all heads: f[N, D]."""
    mixed_BLHC = mixed_BHLC.transpose(0, 2, 1, 3)
    batch, length, _, _ = mixed_BLHC.shape
    return self.o_proj(mixed_BLHC.reshape(batch * length, -1))


def _is_fused(visible: Array | fused.Examples | Branches) -> bool:
  """Return whether the kernels of fused.py compute attention."""
  if isinstance(visible, Branches):
    visible = visible.prompts
  return isinstance(visible, fused.Examples)


def _attend_in_chunks(size, q_BKXC, keys_BKCS, values_BKSC, visible_BLS):
  """Attend for `size` queries at a time; for all at once if size is 0.

  The backward pass recomputes the weights of each chunk, and sums the gradients
  of keys and values over the chunks in float32.
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
  # The gradient of a cast back to `dtype` is a sum in the wider type.
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
  """Average the values that each query attends to: f[B, K, X, C]."""
  scale = q_BKXC.shape[-1] ** -0.5
  scores = costly(jnp.einsum("bkxc,bkcs->bkxs", q_BKXC, keys_BKCS)) * scale
  weights = jax.nn.softmax(hide(scores, visible_BLS), axis=-1)
  weights = weights.reshape(scores.shape).astype(values_BKSC.dtype)
  return costly(jnp.einsum("bkxs,bksc->bkxc", weights, values_BKSC))


def _identity(x: Array) -> Array:
  return x
