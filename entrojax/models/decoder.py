"""A decoder-only transformer: RoPE, grouped-query attention, RMSNorm, SwiGLU.

Qwen2 is one whose queries, keys and values have a bias; Qwen3 one that
normalises queries and keys; Llama 3 and SmolLM2 have neither, and Llama 3.1
stretches the rotation. Gemma 3 is one like Qwen3 with more norms, and most of
its layers see a window.

The layers are flax.nnx modules; outside this package a model is plain data and
the functions of types.Model. Activations of dense layers are flat, [N, D] with
N = B * L: on a CPU their backward pass is 1.8 times faster than on [B, L, D].

Shape suffixes: B rows, L new tokens, S tokens attended to, N = B * L, D width,
H heads, K key-value heads, G = H / K heads that share a key, X = G * L,
C head width.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any

from flax import nnx
import jax
from jax.ad_checkpoint import checkpoint_name
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np

from entrojax.models import dense as dense_lib
from entrojax.models import rope as rope_lib
from entrojax.models.lora import Lora, LowRank
from entrojax.models.once import made_once
from entrojax.sharding import num_row_shards, split_activations
from entrojax.types import Array, Cache, Model, Params

_costly = functools.partial(checkpoint_name, name=dense_lib.COSTLY)
_HIDDEN_SCORE = -1e30  # finite, so that a row that sees nothing has no NaN


@dataclasses.dataclass(frozen=True)
class Gemma3:
  """What makes a Gemma 3 (arXiv 2503.19786); names as in config.json.

  Embeddings are scaled by sqrt(hidden_size); each half of a layer is
  normalised behind as well as before; a norm's weight is its distance from 1;
  the gate is a GELU.
  """

  query_pre_attn_scalar: int  # scores are divided by its root
  sliding_window: int  # tokens that a sliding layer sees, the query's included
  rope_local_base_freq: float  # theta of sliding layers
  layer_types: tuple[str, ...]  # "full_attention" or "sliding_attention"

  def __post_init__(self):
    for name in ("query_pre_attn_scalar", "sliding_window"):
      if getattr(self, name) < 1:
        raise ValueError(
          f"{name} must be at least 1, got {getattr(self, name)}"
        )
    for kind in self.layer_types:
      if kind not in _LAYER_TYPES:
        raise ValueError(f"layer_types has {kind!r}, not one of {_LAYER_TYPES}")


_LAYER_TYPES = ("full_attention", "sliding_attention")


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
  """Sizes of a decoder; field names as in Hugging Face's config.json."""

  vocab_size: int
  hidden_size: int
  intermediate_size: int
  num_hidden_layers: int
  num_attention_heads: int
  num_key_value_heads: int
  head_dim: int
  rope_theta: float = 10_000.0
  rms_norm_eps: float = 1e-6
  rope_scaling: rope_lib.Llama3Scaling | None = None
  tie_word_embeddings: bool = True
  qkv_bias: bool = False  # of the projections to queries, keys and values
  qk_norm: bool = True  # RMSNorm of each head's queries and keys
  max_position_embeddings: int = 4096  # tokens it was made for; not enforced
  gemma3: Gemma3 | None = None

  def __post_init__(self):
    kinds = self.gemma3 and self.gemma3.layer_types
    if kinds is not None and len(kinds) != self.num_hidden_layers:
      raise ValueError(
        f"layer_types has {len(kinds)} layers, num_hidden_layers is "
        f"{self.num_hidden_layers}"
      )
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if field.type is int and value < 1:
        raise ValueError(f"{field.name} must be at least 1, got {value}")
    if self.num_attention_heads % self.num_key_value_heads:
      raise ValueError(
        f"num_attention_heads = {self.num_attention_heads} is not a multiple "
        f"of num_key_value_heads = {self.num_key_value_heads}"
      )
    if self.head_dim % 2:
      raise ValueError(f"head_dim must be even for RoPE, got {self.head_dim}")


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
    rngs: nnx.Rngs,
  ):
    width, head = config.hidden_size, config.head_dim
    self.attend = functools.partial(_attend_in_chunks, query_chunk)
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
    norm = _norm if config.qk_norm else _no_norm
    self.q_norm = norm(head, config, dtype, rngs)
    self.k_norm = norm(head, config, dtype, rngs)

  def __call__(self, x_ND, rope, visible_BLS, cache, index):
    """Returns attention's output [N, D] and the layer's cache."""
    batch, length, _ = visible_BLS.shape
    kv, head = self.num_kv_heads, self.head_dim
    q_BLHC = self.q_norm(self.q_proj(x_ND).reshape(batch, length, -1, head))
    k_BLKC = self.k_norm(self.k_proj(x_ND).reshape(batch, length, kv, head))
    v_BLKC = self.v_proj(x_ND).reshape(batch, length, kv, head)
    q_BLHC, k_BLKC = (rope_lib.rotate(x, rope) for x in (q_BLHC, k_BLKC))
    if self.query_scale != 1:
      q_BLHC = q_BLHC * self.query_scale
    q_BLKGC = q_BLHC.reshape(batch, length, kv, -1, head)
    # One matrix a key-value head: a batched matmul without singleton axes.
    q_BKXC = _costly(
      q_BLKGC.transpose(0, 2, 3, 1, 4).reshape(batch, kv, -1, head)
    )
    # Keys lie transposed, so that decoding multiplies without copying them.
    keys_BKCS = k_BLKC.transpose(0, 2, 3, 1)
    values_BKSC = v_BLKC.transpose(0, 2, 1, 3)
    if cache is not None:
      keys_BKCS, values_BKSC, cache = _extended(
        cache, keys_BKCS, values_BKSC, index
      )
    mixed_BKXC = self.attend(q_BKXC, keys_BKCS, values_BKSC, visible_BLS)
    mixed_BKGLC = mixed_BKXC.reshape(batch, kv, -1, length, head)
    mixed_ND = mixed_BKGLC.transpose(0, 3, 1, 2, 4).reshape(batch * length, -1)
    return self.o_proj(mixed_ND), cache


class FeedForward(nnx.Module):
  """SwiGLU: down(silu(gate x) * up x), or GEGLU (arXiv 2002.05202)."""

  def __init__(self, config: DecoderConfig, dense: Any):
    width, inner = config.hidden_size, config.intermediate_size
    self.activation = nnx.gelu if config.gemma3 else nnx.silu
    self.gate_proj = dense("gate_proj", width, inner)
    self.up_proj = dense("up_proj", width, inner)
    self.down_proj = dense("down_proj", inner, width)

  def __call__(self, x_ND):
    gate_NF = self.activation(self.gate_proj(x_ND))
    return self.down_proj(gate_NF * self.up_proj(x_ND))


class CentredNorm(nnx.Module):
  """RMSNorm whose scale is stored as its distance from 1, in float32."""

  def __init__(self, width: int, epsilon: float, dtype: Any):
    self.epsilon, self.dtype = epsilon, dtype
    self.scale = nnx.Param(jnp.zeros(width))

  def __call__(self, x):
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    square = jnp.mean(wide * wide, axis=-1, keepdims=True)
    scale = 1 + self.scale.get_value().astype(wide.dtype)
    normed = wide * jax.lax.rsqrt(square + self.epsilon)
    return (normed * jnp.expand_dims(scale, range(x.ndim - 1))).astype(
      self.dtype
    )


class Layer(nnx.Module):
  """One pre-norm residual layer."""

  def __init__(
    self,
    config: DecoderConfig,
    dtype: Any,
    lora: Lora | None,
    query_chunk: int,
    rngs: nnx.Rngs,
  ):
    dense = functools.partial(_dense, dtype=dtype, rngs=rngs, lora=lora)
    self.input_layernorm = _norm(config.hidden_size, config, dtype, rngs)
    self.self_attn = Attention(config, dense, dtype, query_chunk, rngs)
    self.post_attention_layernorm = _norm(
      config.hidden_size, config, dtype, rngs
    )
    self.mlp = FeedForward(config, dense)

  def __call__(self, x_ND, rope, visible_BLS, cache, index):
    mixed_ND, cache = self.self_attn(
      self.input_layernorm(x_ND), rope, visible_BLS, cache, index
    )
    x_ND = x_ND + mixed_ND
    return x_ND + self.mlp(self.post_attention_layernorm(x_ND)), cache


class Gemma3Layer(Layer):
  """One residual layer with norms before and behind each half.

  What Llama calls post_attention_layernorm, before the feed-forward half, is
  pre_feedforward_layernorm here.
  """

  def __init__(
    self,
    config: DecoderConfig,
    dtype: Any,
    lora: Lora | None,
    query_chunk: int,
    rngs: nnx.Rngs,
  ):
    super().__init__(config, dtype, lora, query_chunk, rngs)
    norm = functools.partial(_norm, config.hidden_size, config, dtype, rngs)
    self.pre_feedforward_layernorm = norm()
    self.post_feedforward_layernorm = norm()

  def __call__(self, x_ND, rope, visible_BLS, cache, index):
    mixed_ND, cache = self.self_attn(
      self.input_layernorm(x_ND), rope, visible_BLS, cache, index
    )
    x_ND = x_ND + self.post_attention_layernorm(mixed_ND)
    fed_ND = self.mlp(self.pre_feedforward_layernorm(x_ND))
    return x_ND + self.post_feedforward_layernorm(fed_ND), cache


def decoder(
  config: DecoderConfig,
  *,
  dtype: Any = jnp.float32,
  scan_layers: bool = False,
  rematerialise: bool = False,
  query_chunk: int = 0,
  lora: Lora | None = None,
  mesh: Mesh | None = None,
) -> Model:
  """Makes the model as functions of plain parameters.

  Parameters of all layers are stacked: every leaf under 'layers' begins with
  the axis num_hidden_layers.

  Args:
    config: the sizes.
    dtype: of activations and the cache; parameters keep their own.
    scan_layers: one compiled layer, looped over: compile time that does not
      grow with depth. Unrolled, a small model is 1.5 to 2 times faster on a
      CPU.
    rematerialise: keep only each layer's input for the backward pass.
    query_chunk: queries whose attention weights exist at one time, [B, H,
      chunk, S], 0 = all; for responses of many thousand tokens.
    lora: adds low-rank terms to projections, and their A and B to the
      parameters; lora.on_base freezes the rest.
    mesh: over whose rows activations are split wherever several tokens of a
      row are read; None for a single device. Without it the compiler may
      split parameters instead, and hold the activations of all rows.
  """
  gemma3, depth = config.gemma3, config.num_hidden_layers
  make_layer = functools.partial(
    Gemma3Layer if gemma3 else Layer, config, dtype, lora, query_chunk
  )
  layer_def = nnx.graphdef(nnx.eval_shape(lambda: make_layer(nnx.Rngs(0))))
  norm_def = nnx.graphdef(
    nnx.eval_shape(
      lambda: _norm(config.hidden_size, config, dtype, nnx.Rngs(0))
    )
  )

  full = rope_lib.frequencies(
    config.head_dim, config.rope_theta, config.rope_scaling
  )
  kinds = np.zeros(depth, np.int32)  # of each layer, a row of `views`
  views: list[tuple[np.ndarray, int | None]] = [(full, None)]
  if gemma3 is not None:
    kinds += [kind == "sliding_attention" for kind in gemma3.layer_types]
    local = rope_lib.frequencies(config.head_dim, gemma3.rope_local_base_freq)
    views.append((local, gemma3.sliding_window))

  def init(key: Array) -> Params:
    embed_key, layers_key, head_key = jax.random.split(key, 3)
    shape = (config.vocab_size, config.hidden_size)
    draw = jax.nn.initializers.normal(0.02)
    params: dict[str, Any] = {
      "embed_tokens": draw(embed_key, shape),
      "layers": jax.vmap(lambda k: _plain(make_layer(nnx.Rngs(k))))(
        jax.random.split(layers_key, config.num_hidden_layers)
      ),
      "norm": _plain(_norm(config.hidden_size, config, dtype, nnx.Rngs(0))),
    }
    if not config.tie_word_embeddings:
      params["lm_head"] = draw(head_key, shape)
    return params

  def run_layer(params, x_ND, rope, visible, cache, index):
    return nnx.merge(layer_def, params)(x_ND, rope, visible, cache, index)

  if rematerialise:
    run_layer = jax.checkpoint(run_layer)

  def apply(params, tokens, positions, cache=None, *, in_place=False):
    batch, length = tokens.shape
    if cache is None:
      key_positions, layer_caches, index = positions, None, jnp.int32(0)
    else:
      index, layer_caches = cache.index, cache.layers
      key_positions = jax.lax.dynamic_update_slice(
        cache.positions, positions, (jnp.zeros((), index.dtype), index)
      )
    seen = [
      (
        rope_lib.rotations(positions, radians),
        _visible(positions, key_positions, index, window),
      )
      for radians, window in views
    ]
    seen = jax.tree.map(lambda x: _costly(made_once(x)), seen)
    many = mesh if length > 1 and _divides(batch, mesh) else None
    split = functools.partial(split_activations, mesh=many)
    x_ND = split(params["embed_tokens"][tokens.reshape(-1)].astype(dtype))
    if gemma3 is not None:
      x_ND = x_ND * jnp.asarray(config.hidden_size**0.5, dtype)
    run_layers = _unrolled
    if scan_layers:
      run_layers = _scanned_in_place if in_place else _scanned
    x_ND, layer_caches = run_layers(
      lambda p, kind, x, c: run_layer(
        p, _costly(split(x)), *_chosen(seen, kind), c, index
      ),
      params["layers"],
      kinds,
      x_ND,
      layer_caches,
    )
    hidden = nnx.merge(norm_def, params["norm"])(x_ND)
    if cache is not None:
      cache = Cache(
        layers=layer_caches, positions=key_positions, index=index + length
      )
    return hidden.reshape(batch, length, -1), cache

  def unembedding(params):
    return params.get("lm_head", params["embed_tokens"])

  def init_cache(batch_size: int, length: int) -> Cache:
    heads, head = config.num_key_value_heads, config.head_dim
    pair = (
      jnp.zeros((batch_size, heads, head, length), dtype),
      jnp.zeros((batch_size, heads, length, head), dtype),
    )
    if scan_layers:
      layers: Any = jax.tree.map(lambda x: jnp.stack([x] * depth), pair)
    else:
      layers = (pair,) * depth
    return Cache(
      layers=layers,
      positions=jnp.full((batch_size, length), -1, jnp.int32),
      index=jnp.int32(0),
    )

  def share_cache(cache: Cache, times: int) -> Cache:
    axis = 1 if scan_layers else 0
    return Cache(
      layers=jax.tree.map(
        lambda x: jnp.repeat(x, times, axis=axis), cache.layers
      ),
      positions=jnp.repeat(cache.positions, times, axis=0),
      index=cache.index,
    )

  def refill_cache(
    cache: Cache, prompts: Cache, numbers: Array, marked: Array
  ) -> Cache:
    refill = functools.partial(_refill, numbers=numbers, marked=marked)

    def refill_layer(i, pairs):
      return tuple(
        refill(new, old, layer=i, places=places)
        for new, old, places in zip(prompts.layers, pairs, (4, 3), strict=True)
      )

    if scan_layers:
      layers = jax.lax.fori_loop(0, depth, refill_layer, cache.layers)
    else:
      layers = tuple(
        tuple(
          refill(new[None], old[None], layer=0, places=places)[0]
          for new, old, places in zip(*pairs, (4, 3), strict=True)
        )
        for pairs in zip(prompts.layers, cache.layers, strict=True)
      )
    empty = jnp.full_like(cache.positions, -1)
    positions = jnp.where(marked.reshape(-1, 1), empty, cache.positions)
    return Cache(
      layers=layers,
      positions=refill(
        prompts.positions[None], positions[None], layer=0, places=2
      )[0],
      index=cache.index,
    )

  def for_decoding(params: Params) -> Params:
    """Takes unrolled layers apart here, not in every step of a loop.

    Steps of 64 rows of a model of 1 M parameters so take 8 % less of a CPU;
    the layers' weights are there twice while it decodes.
    """
    if scan_layers:
      return params
    return {**params, "layers": _layers_apart(params["layers"], depth)}

  return Model(
    init=init,
    apply=apply,
    unembedding=unembedding,
    init_cache=init_cache,
    share_cache=share_cache,
    refill_cache=refill_cache,
    for_decoding=for_decoding,
  )


def _refill(
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


def _scanned(
  run: Callable, layers: Params, kinds: np.ndarray, x: Array, caches: Any
):
  return jax.lax.scan(
    lambda x, of: run(of[0], of[1], x, of[2]), x, (layers, kinds, caches)
  )


def _scanned_in_place(
  run: Callable, layers: Params, kinds: np.ndarray, x: Array, caches: Any
):
  """Writes into the stacked cache, of which _scanned makes a second one."""

  def one(carry, of):
    x, (keys, values) = carry
    params, kind, layer = of
    x, (keys, values, _) = run(params, kind, x, (keys, values, layer))
    return (x, (keys, values)), None

  depth = caches[0].shape[0]
  (x, caches), _ = jax.lax.scan(
    one, (x, caches), (layers, kinds, jnp.arange(depth, dtype=jnp.int32))
  )
  return x, caches


def _unrolled(
  run: Callable, layers: Params, kinds: np.ndarray, x: Array, caches: Any
):
  written = []
  apart = (
    layers if isinstance(layers, tuple) else _layers_apart(layers, len(kinds))
  )
  for i, (params, kind) in enumerate(zip(apart, kinds, strict=True)):
    x, cache = run(params, kind, x, None if caches is None else caches[i])
    written.append(cache)
  return x, None if caches is None else tuple(written)


def _layers_apart(layers: Params, depth: int) -> tuple[Params, ...]:
  """Returns each layer's parameters, of stacked ones."""
  return tuple(
    jax.tree.map(lambda leaf, i=i: leaf[i], layers) for i in range(depth)
  )


def _chosen(seen: list, kind: Any):
  """Returns what a layer of a kind sees; in a scan the kind is traced."""
  if len(seen) == 1:
    return seen[0]
  return jax.tree.map(lambda *x: jax.lax.select_n(kind, *x), *seen)


def _dense(
  name: str,
  inputs: int,
  outputs: int,
  *,
  use_bias: bool = False,
  dtype: Any,
  rngs: nnx.Rngs,
  lora: Lora | None,
) -> nnx.Linear:
  """Makes a projection, with a low-rank term where one is asked for."""
  make: Callable[..., nnx.Linear] = nnx.Linear
  if lora is not None and name in lora.projections:
    make = functools.partial(LowRank, lora=lora)
  return make(
    inputs,
    outputs,
    use_bias=use_bias,
    dtype=dtype,
    dot_general=dense_lib.dot_general,
    rngs=rngs,
  )


def _norm(width: int, config: DecoderConfig, dtype: Any, rngs: nnx.Rngs):
  if config.gemma3:
    return CentredNorm(width, config.rms_norm_eps, dtype)
  return nnx.RMSNorm(width, epsilon=config.rms_norm_eps, dtype=dtype, rngs=rngs)


def _no_norm(width: int, config: DecoderConfig, dtype: Any, rngs: nnx.Rngs):
  del width, config, dtype, rngs
  return _unchanged


def _unchanged(x: Array) -> Array:
  return x


def _divides(batch: int, mesh: Mesh | None) -> bool:
  return mesh is not None and batch % num_row_shards(mesh) == 0


def _plain(module: nnx.Module) -> Mapping[str, Any]:
  return nnx.to_pure_dict(nnx.state(module))


def _visible(
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


def _extended(cache, keys_BKCS, values_BKSC, index):
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


def _attend(q_BKXC, keys_BKCS, values_BKSC, visible_BLS):
  """Returns the mean of the values that each query attends to."""
  scale = q_BKXC.shape[-1] ** -0.5
  scores = _costly(jnp.einsum("bkxc,bkcs->bkxs", q_BKXC, keys_BKCS)) * scale
  weights = _masked_softmax(scores, visible_BLS).astype(values_BKSC.dtype)
  return _costly(jnp.einsum("bkxs,bksc->bkxc", weights, values_BKSC))


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


def _masked_softmax(scores_BKXS: Array, visible_BLS: Array) -> Array:
  """Returns attention weights in float32; X = heads of a group x queries."""
  batch, kv, _, keys = scores_BKXS.shape
  scores = scores_BKXS.astype(jnp.promote_types(scores_BKXS.dtype, jnp.float32))
  scores = scores.reshape(batch, kv, -1, *visible_BLS.shape[1:])
  scores = jnp.where(visible_BLS[:, None, None], scores, _HIDDEN_SCORE)
  return jax.nn.softmax(scores, axis=-1).reshape(batch, kv, -1, keys)
