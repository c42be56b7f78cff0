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
import functools
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np

from entrojax.models import dense as dense_lib
from entrojax.models import fused
from entrojax.models import rope as rope_lib
from entrojax.models.attention import (
  Attention,
  join,
  split,
  visible_before,
  visible_branches,
  visible_keys,
)
from entrojax.models.cache import refill_rows
from entrojax.models.dense import costly
from entrojax.models.fusion_barrier import made_once
from entrojax.models.lora import Lora, LowRank
from entrojax.models.norms import Norm
from entrojax.models.sizes import DecoderConfig
from entrojax.system.sharding import (
  num_row_shards,
  split_activations,
  split_rows,
)
from entrojax.types import Array, Cache, Model, Params


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


class Layer(nnx.Module):
  """One pre-norm residual layer."""

  def __init__(
    self,
    config: DecoderConfig,
    dtype: Any,
    lora: Lora | None,
    query_chunk: int,
    mesh: Mesh | None,
    rngs: nnx.Rngs,
  ):
    dense = functools.partial(_dense, dtype=dtype, rngs=rngs, lora=lora)
    self.input_layernorm = Norm(config.hidden_size, config, dtype)
    self.self_attn = Attention(config, dense, dtype, query_chunk, mesh, rngs)
    self.post_attention_layernorm = Norm(config.hidden_size, config, dtype)
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
    mesh: Mesh | None,
    rngs: nnx.Rngs,
  ):
    super().__init__(config, dtype, lora, query_chunk, mesh, rngs)
    norm = functools.partial(Norm, config.hidden_size, config, dtype)
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
  fused_attention: bool = False,
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
    fused_attention: on TPUs: no attention weights exist outside the kernels of
      entrojax.models.fused, wherever there is no cache.
    lora: adds low-rank terms to projections, and their A and B to the
      parameters; lora.on_base freezes the rest.
    mesh: over whose rows activations are split wherever several tokens of a
      row are read; None for a single device. Without it the compiler may
      split parameters instead, and hold the activations of all rows.

  Raises:
    ValueError: the model's attention cannot be fused.
  """
  if fused_attention:
    fused.check(config, mesh)
  gemma3, depth = config.gemma3, config.num_hidden_layers
  make_layer = functools.partial(
    Gemma3Layer if gemma3 else Layer, config, dtype, lora, query_chunk, mesh
  )
  layer_def = nnx.graphdef(nnx.eval_shape(lambda: make_layer(nnx.Rngs(0))))
  norm_def = nnx.graphdef(
    nnx.eval_shape(lambda: Norm(config.hidden_size, config, dtype))
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
      "norm": _plain(Norm(config.hidden_size, config, dtype)),
    }
    if not config.tie_word_embeddings:
      params["lm_head"] = draw(head_key, shape)
    return params

  def run_layer(over, params, x_ND, rope, visible, cache, index):
    # Kept split over 'tensor' too, computed with split by rows alone. Asked for
    # here: left to itself XLA's partitioner lost gradients on a mesh (2, 2, 2).
    x_ND = split_rows(x_ND, over)
    return nnx.merge(layer_def, params)(x_ND, rope, visible, cache, index)

  if rematerialise:
    run_layer = jax.checkpoint(run_layer, static_argnums=0)

  def see(window):
    if fused_attention:
      return fused.examples_of
    return functools.partial(visible_before, window=window)

  def apply(params, tokens, positions, cache=None, *, in_place=False):
    visible = lambda window: see(window)(positions, positions)
    layer_caches, index = None, jnp.int32(0)
    if cache is not None:
      index, layer_caches = cache.index, cache.layers
      key_positions = jax.lax.dynamic_update_slice(
        cache.positions, positions, (jnp.zeros((), index.dtype), index)
      )
      visible = lambda window: visible_keys(
        positions, key_positions, index, window
      )
    hidden, layer_caches = read(
      params,
      tokens,
      positions,
      visible,
      layer_caches,
      index,
      in_place,
    )
    if cache is not None:
      cache = Cache(
        layers=layer_caches,
        positions=key_positions,
        index=index + tokens.shape[1],
      )
    return hidden, cache

  def apply_branches(params, prompts, prompt_positions, responses, positions):
    hidden, _ = read(
      params,
      join(prompts, responses),
      join(prompt_positions, positions),
      lambda window: visible_branches(prompt_positions, positions, see(window)),
    )
    return split(hidden, prompts.shape[1], len(responses))

  def read(
    params,
    tokens,
    positions,
    visible,
    layer_caches=None,
    index=None,
    in_place=False,
  ):
    """Returns hidden [B, L, D] of tokens [B, L], and the layers' caches.

    `visible` makes of a window what each token sees.
    """
    batch, length = tokens.shape
    seen = [
      (rope_lib.rotations(positions, radians), visible(window))
      for radians, window in views
    ]
    seen = jax.tree.map(lambda x: costly(made_once(x)), seen)
    many = mesh if length > 1 and _divides(batch, mesh) else None
    spread = functools.partial(split_activations, mesh=many)
    x_ND = params["embed_tokens"][tokens.reshape(-1)].astype(dtype)
    x_ND = split_rows(x_ND, many)
    if gemma3 is not None:
      x_ND = x_ND * jnp.asarray(config.hidden_size**0.5, dtype)
    run_layers = _unrolled
    if scan_layers:
      run_layers = _scanned_in_place if in_place else _scanned
    x_ND, layer_caches = run_layers(
      lambda p, kind, x, c: run_layer(
        many, p, costly(spread(x)), *_chosen(seen, kind), c, index
      ),
      params["layers"],
      kinds,
      x_ND,
      layer_caches,
    )
    hidden = nnx.merge(norm_def, params["norm"])(x_ND)
    return hidden.reshape(batch, length, -1), layer_caches

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
    refill = functools.partial(refill_rows, numbers=numbers, marked=marked)

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
    apply_branches=apply_branches,
    unembedding=unembedding,
    init_cache=init_cache,
    share_cache=share_cache,
    refill_cache=refill_cache,
    for_decoding=for_decoding,
  )


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


def _divides(batch: int, mesh: Mesh | None) -> bool:
  return mesh is not None and batch % num_row_shards(mesh) == 0


def _plain(module: nnx.Module) -> Mapping[str, Any]:
  return nnx.to_pure_dict(nnx.state(module))
