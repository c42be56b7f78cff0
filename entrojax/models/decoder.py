"""A decoder-only transformer as functions of plain parameters.

    x_0     = embedding of the tokens                           [N, D]
    x_{i+1} = layer_i(x_i)      attention and feed-forward      [N, D]
    hidden  = norm(x_depth)                                     [B, L, D]

Logits are not computed here: entropy/token_stats.py goes from hidden states to
log-probabilities and entropies without the logits of all tokens in memory.

The families that load differ in few things. Qwen2 has a bias in the query, key
and value projections. Qwen3 normalises queries and keys. Llama 3 and SmolLM2
have neither, and Llama 3.1 and 3.2 stretch the RoPE wavelengths. Gemma 3
normalises queries and keys too, has more norms, scales its embeddings, has a
GELU gate, and most of its layers use sliding-window attention.

One layer is a flax.nnx module (layers.py). Here the parameters of all layers
are stacked, [depth, ...], and a layer's code is applied to each of them
(layer_loops.py). Outside this package a model is plain data and the functions
of `types.Model`.

Shape suffixes: B rows, L tokens, N = B * L, D width, C head width.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any, NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np

from entrojax.arguments import require_one_of
from entrojax.models import cache as cache_lib
from entrojax.models import fused, kept, layer_loops
from entrojax.models import rope as rope_lib
from entrojax.models.attention import View
from entrojax.models.fusion_barrier import compute_once
from entrojax.models.layers import Gemma3Layer, Layer, LayerOptions
from entrojax.models.lora import Lora
from entrojax.models.norms import Norm
from entrojax.models.sizes import DecoderConfig
from entrojax.models.visibility import (
  join_branches,
  split_branches,
  visible_before,
  visible_branches,
  visible_keys,
)
from entrojax.system.sharding import (
  num_row_shards,
  split_activations,
  split_rows,
)
from entrojax.types import Array, Cache, Model, Params


def decoder(
  config: DecoderConfig,
  *,
  dtype: Any = jnp.float32,
  product_dtype: Any = jnp.float32,
  scan_layers: bool = False,
  rematerialise: bool | str = False,
  query_chunk: int = 0,
  fused_attention: bool = False,
  lora: Lora | None = None,
  mesh: Mesh | None = None,
) -> Model:
  """Build a model; its parameters are stacked over layers, [depth, ...].

  Args:
    config: the sizes.
    dtype: type of activations and of the cache. Parameters keep their own type.
    product_dtype: operands of the layers' dense products are rounded to it if
      it is bfloat16; sums and results are as without it.
    scan_layers: loop over one compiled layer, so that the time to compile does
      not grow with depth. Unrolled layers are 1.5 to 2 times as fast for a
      small model on a CPU.
    rematerialise: what a layer keeps for the backward pass, one of
      kept.OF_A_LAYER. True: only its input; the rest is computed again.
    query_chunk: number of queries whose attention weights, [B, H, chunk, S],
      exist at one time; 0: all. For responses of many thousand tokens.
    fused_attention: compute attention in the TPU kernels of fused.py wherever
      there is no cache. No attention weights exist outside of them.
    lora: adds low-rank terms to projections, and their factors A and B to the
      parameters. `lora.on_base` freezes the other parameters.
    mesh: activations are split by rows over this mesh, except while decoding
      token by token. Without it the compiler may split parameters instead, and
      hold the activations of all rows on every device. None: a single device.

  Raises:
    ValueError: the attention of this model cannot be fused, or `rematerialise`
      has another value.
  """
  require_one_of("model.rematerialise", rematerialise, kept.OF_A_LAYER)
  if fused_attention:
    fused.check(config, mesh)
  options = LayerOptions(dtype, query_chunk, lora, mesh, product_dtype)
  layer_class = Gemma3Layer if config.gemma3 else Layer
  build_layer = functools.partial(layer_class, config, options)
  layer_def = _graph(lambda: build_layer(nnx.Rngs(0)))
  run_layer: Callable = functools.partial(_run_layer, layer_def)
  run_layer = kept.rematerialised(run_layer, rematerialise, static_argnums=0)
  kinds, kind_of_layer = _layer_kinds(config)
  read = functools.partial(
    _read,
    _Network(
      config=config,
      dtype=dtype,
      mesh=mesh,
      run_layer=run_layer,
      scan_layers=scan_layers,
      kinds=kinds,
      kind_of_layer=kind_of_layer,
      norm_def=_graph(lambda: Norm(config.hidden_size, config, dtype)),
    ),
  )
  see = fused.examples_of if fused_attention else visible_before
  places = fused.whole_tiles if fused_attention else _unchanged
  apply: Any = functools.partial(_apply, read, see)
  stacked = scan_layers
  for_decoding = functools.partial(
    _for_decoding,
    config.num_hidden_layers,
    rounds=jnp.dtype(product_dtype) == jnp.bfloat16,
  )
  return Model(
    init=functools.partial(_init, config, dtype, build_layer),
    apply=apply,
    apply_branches=functools.partial(_apply_branches, read, see, places),
    unembedding=_unembedding,
    init_cache=functools.partial(
      cache_lib.empty_cache, config=config, dtype=dtype, stacked=stacked
    ),
    share_cache=functools.partial(cache_lib.share_cache, stacked=stacked),
    continue_cache=functools.partial(
      cache_lib.continue_cache, config=config, dtype=dtype, stacked=stacked
    ),
    refill_cache=functools.partial(cache_lib.refill_cache, stacked=stacked),
    for_decoding=_unchanged if scan_layers else for_decoding,
  )


# -- parameters ---------------------------------------------------------------


def _init(
  config: DecoderConfig, dtype: Any, build_layer: Callable, key: Array
) -> Params:
  """Draw parameters: tables from a normal of 0.02, projections from LeCun's."""
  embed_key, layers_key, head_key = jax.random.split(key, 3)
  shape = (config.vocab_size, config.hidden_size)
  draw = jax.nn.initializers.normal(0.02)
  params: dict[str, Any] = {
    "embed_tokens": draw(embed_key, shape),
    "layers": jax.vmap(lambda k: _plain(build_layer(nnx.Rngs(k))))(
      jax.random.split(layers_key, config.num_hidden_layers)
    ),
    "norm": _plain(Norm(config.hidden_size, config, dtype)),
  }
  if not config.tie_word_embeddings:
    params["lm_head"] = draw(head_key, shape)
  return params


def _unembedding(params: Params) -> Array:
  """Return the table f[V, D] whose product with hidden states is the logits."""
  return params.get("lm_head", params["embed_tokens"])


def _for_decoding(depth: int, params: Params, *, rounds: bool) -> Params:
  """Split stacked layers once, not in every step of a decoding loop.

  Decoding steps of 64 rows and 1 M parameters then take 8 % less CPU time. The
  weights of the layers are in memory twice while the model decodes.

  Args:
    depth: the number of layers.
    params: the parameters.
    rounds: round kernels to bfloat16 here, and not in every product. A loop
      over stacked layers gains nothing, because XLA keeps its arrays in float32
      on a CPU.
  """
  layers = params["layers"]
  if rounds:
    layers = jax.tree_util.tree_map_with_path(_rounded_kernel, layers)
  return {**params, "layers": layer_loops.unstack(layers, depth)}


def _rounded_kernel(path: tuple, leaf: Array) -> Array:
  """Round a leaf if it is the kernel of a dense product."""
  return leaf.astype(jnp.bfloat16) if path[-1].key == "kernel" else leaf


def _unchanged(x: Any) -> Any:
  return x


def _plain(module: nnx.Module) -> Mapping[str, Any]:
  """Return the parameters of a module as a nested dict."""
  return nnx.to_pure_dict(nnx.state(module))


def _graph(build: Callable[[], nnx.Module]) -> nnx.GraphDef:
  """Return the code of a module, without drawing its parameters."""
  return nnx.graphdef(nnx.eval_shape(build))


# -- reading tokens -----------------------------------------------------------


class _Kind(NamedTuple):
  """A kind of layer: full attention or, in Gemma 3, a sliding window."""

  radians: np.ndarray  # f32[C / 2], frequencies of the rotation
  window: int | None  # tokens that a query sees, itself included; None: all
  factor: float = 1.0  # of queries and keys; see rope.YarnScaling


class _Network(NamedTuple):
  """What is fixed when a model is built."""

  config: DecoderConfig
  dtype: Any
  mesh: Mesh | None
  run_layer: Callable  # (mesh, params, x, View, LayerCache) -> (x, stored)
  scan_layers: bool
  kinds: tuple[_Kind, ...]
  kind_of_layer: np.ndarray  # i32[depth], a place in `kinds`
  norm_def: nnx.GraphDef  # the norm behind the last layer


class _Inputs(NamedTuple):
  """What one forward pass reads: tokens, and the keys that they may see."""

  tokens: Array  # i32[B, L]
  positions: Array  # i32[B, L], -1 = padding
  # a layer's window -> the keys that its queries see; see visibility.py
  visible: Callable[[int | None], Any]
  cache: Cache | None = None  # its positions include the new tokens
  in_place: bool = False  # write into the cache, without a copy of it


def _layer_kinds(
  config: DecoderConfig,
) -> tuple[tuple[_Kind, ...], np.ndarray]:
  """List the kinds of layers, and say which kind each layer is."""
  full = rope_lib.frequencies(
    config.head_dim, config.rope_theta, config.rope_scaling
  )
  scaling = config.rope_scaling
  factor = 1.0 if scaling is None else scaling.attention_factor
  kind_of_layer = np.zeros(config.num_hidden_layers, np.int32)
  gemma3 = config.gemma3
  if gemma3 is None:
    return (_Kind(full, None, factor),), kind_of_layer
  kind_of_layer += [kind == "sliding_attention" for kind in gemma3.layer_types]
  local = rope_lib.frequencies(config.head_dim, gemma3.rope_local_base_freq)
  kinds = (_Kind(full, None, factor), _Kind(local, gemma3.sliding_window))
  return kinds, kind_of_layer


def _read(
  network: _Network, params: Params, inputs: _Inputs
) -> tuple[Array, Any]:
  """Run the network.

  Returns:
    Hidden states f[B, L, D], and the new `Cache.layers` if there is a cache.
  """
  batch, length = inputs.tokens.shape
  views = [
    View(
      rope_lib.rotations(inputs.positions, kind.radians, kind.factor),
      inputs.visible(kind.window),
    )
    for kind in network.kinds
  ]
  views = jax.tree.map(lambda x: kept.costly(compute_once(x)), views)
  mesh = network.mesh
  if mesh is not None and (length == 1 or batch % num_row_shards(mesh)):
    mesh = None

  def run(layer_params, kind, x_ND, cache):
    x_ND = kept.layer_input(split_activations(x_ND, mesh=mesh))
    view = _select_view(views, kind)
    return network.run_layer(mesh, layer_params, x_ND, view, cache)

  loop: Callable = layer_loops.unrolled
  if network.scan_layers:
    loop = layer_loops.scanned
    if inputs.in_place:
      loop = layer_loops.scanned_in_place
  x_ND = _embed(network, params["embed_tokens"], inputs.tokens, mesh)
  x_ND, stored = loop(
    run, params["layers"], network.kind_of_layer, x_ND, inputs.cache
  )
  x_ND = kept.last_output(x_ND)
  hidden_ND = nnx.merge(network.norm_def, params["norm"])(x_ND)
  return hidden_ND.reshape(batch, length, -1), stored


@jax.named_scope("embed")
def _embed(
  network: _Network, table: Array, tokens: Array, mesh: Mesh | None
) -> Array:
  """Look up the embeddings f[N, D] of tokens i32[B, L]."""
  x_ND = table[tokens.reshape(-1)].astype(network.dtype)
  x_ND = split_rows(x_ND, mesh)
  if network.config.gemma3 is not None:
    scale = network.config.hidden_size**0.5
    x_ND = x_ND * jnp.asarray(scale, network.dtype)
  return x_ND


def _run_layer(layer_def, mesh, params, x_ND, view, cache):
  """Apply the code of a layer to the parameters of one layer."""
  # A layer's input is kept split over 'tensor' too, but computed with split by
  # rows alone. This must be explicit: left to itself, XLA's partitioner lost
  # gradients on a mesh of shape (2, 2, 2).
  x_ND = split_rows(x_ND, mesh)
  return nnx.merge(layer_def, params)(x_ND, view, cache)


def _select_view(views: list[View], kind: Any) -> View:
  """Return the view of a layer's kind, which is traced in a scan."""
  if len(views) == 1:
    return views[0]
  return jax.tree.map(lambda *x: jax.lax.select_n(kind, *x), *views)


# -- the model's two ways to read ---------------------------------------------


def _apply(
  read: Callable,
  see: Callable,
  params: Params,
  tokens: Array,
  positions: Array,
  cache: Cache | None = None,
  *,
  in_place: bool = False,
) -> tuple[Array, Cache | None]:
  """Read tokens alone, or behind the tokens of a cache; see types.Apply."""
  if cache is None:
    visible = lambda window: see(positions, positions, window=window)
    return read(params, _Inputs(tokens, positions, visible))
  index = cache.index
  key_positions = jax.lax.dynamic_update_slice(
    cache.positions, positions, (jnp.zeros((), index.dtype), index)
  )
  all_positions, first = key_positions, index
  if cache.prompts is not None:
    before = cache.prompts.positions
    before = jnp.repeat(before, len(positions) // len(before), axis=0)
    all_positions = jnp.concatenate([before, key_positions], axis=1)
    first = index + before.shape[1]
  visible = lambda window: visible_keys(positions, all_positions, first, window)
  end = index + tokens.shape[1]
  filled = jnp.maximum(cache.filled, end)
  cache = dataclasses.replace(cache, positions=key_positions, filled=filled)
  hidden, layers = read(
    params, _Inputs(tokens, positions, visible, cache, in_place)
  )
  return hidden, dataclasses.replace(cache, layers=layers, index=end)


def _apply_branches(
  read: Callable,
  see: Callable,
  places: Callable[[int], int],
  params: Params,
  prompts: Array,
  prompt_positions: Array,
  responses: Array,
  positions: Array,
) -> tuple[Array, Array]:
  """Read B prompts once, and behind each of them its G responses.

  Args:
    read: `_read` of the model.
    see: `visible_before`, or `fused.examples_of` for the fused kernels.
    places: length of a response -> the places that it takes in a row.
    params: the parameters.
    prompts: i32[B, P].
    prompt_positions: i32[B, P].
    responses: i32[B * G, T]; the responses to a prompt are neighbours.
    positions: i32[B * G, T], continuing the positions of the prompt.

  Returns:
    Hidden states (f[B, P, D], f[B * G, T, D]).
  """
  length = responses.shape[1]
  padding = ((0, 0), (0, places(length) - length))
  responses = jnp.pad(responses, padding)
  positions = jnp.pad(positions, padding, constant_values=-1)
  hidden, _ = read(
    params,
    _Inputs(
      join_branches(prompts, responses),
      join_branches(prompt_positions, positions),
      lambda window: visible_branches(
        prompt_positions, positions, functools.partial(see, window=window)
      ),
    ),
  )
  before, behind = split_branches(hidden, prompts.shape[1], len(responses))
  return before, behind[:, :length]
