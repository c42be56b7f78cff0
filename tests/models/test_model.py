"""The decoder agrees with a float64 twin, and with itself.

The twin computes one row with loops over tokens and heads. The other tests
compare two ways in which the decoder computes the same numbers.
"""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from entrojax.entropy.token_stats import unembed
from entrojax.models import DecoderConfig, decoder, hugging_face
from entrojax.system.sharding import make_mesh, param_shardings
from tests.helpers.tiny_models import GEMMA3, random_params

pytestmark = pytest.mark.slow

# Logits are between 1 and 5. They are sums of about 100 float32 products, each
# rounded by 1e-7 of its size, so two orders of summation differ by about 1e-6.
ROUNDING = {"rtol": 1e-5, "atol": 1e-5}


def close(actual, expected):
  jax.tree.map(
    lambda a, e: np.testing.assert_allclose(a, e, **ROUNDING), actual, expected
  )


def random_rows(seed):
  """Return tokens and positions i32[3, 8]; all tests share this shape."""
  tokens = np.random.default_rng(seed).integers(11, size=(3, 8))
  positions = np.broadcast_to(np.arange(8), tokens.shape)
  return jnp.asarray(tokens, jnp.int32), jnp.asarray(positions, jnp.int32)


def pad_left(tokens, positions, columns, content=7):
  """Put `columns` columns of padding before the rows."""
  pad = lambda x, value: jnp.pad(
    x, ((0, 0), (columns, 0)), constant_values=value
  )
  return pad(tokens, content), pad(positions, -1)


# There is one model for each set of options, so that it is compiled once.
model_of = functools.cache(decoder)


@functools.partial(jax.jit, static_argnums=0)
def apply(model, params, tokens, positions, cache=None):
  """Return (logits, cache)."""
  hidden, cache = model.apply(params, tokens, positions, cache)
  return unembed(hidden, model.unembedding(params)), cache


def logits_of(model, params, tokens, positions):
  return apply(model, params, tokens, positions)[0]


def decoded(model, params, tokens, positions, prompt_length):
  """Return logits [B, L, V] of a prefill, then of one step per token."""
  cache = model.init_cache(*tokens.shape)
  parts, start = [], 0
  for end in range(prompt_length, tokens.shape[1] + 1):
    at = slice(start, end)
    logits, cache = apply(model, params, tokens[:, at], positions[:, at], cache)
    parts.append(logits)
    start = end
  return jnp.concatenate(parts, axis=1)


# -- a twin -------------------------------------------------------------------


def twin_logits(tensors, sizes: DecoderConfig, tokens):
  """Compute the logits [L, V] of a Qwen3 for one row of tokens.

  Args:
    tensors: the weights, with names and shapes as on disk.
    sizes: the sizes of the model.
    tokens: i32[L].
  """
  weight = lambda name: np.float64(tensors[f"{name}.weight"])
  head = sizes.head_dim
  group = sizes.num_attention_heads // sizes.num_key_value_heads

  def norm(x, scale):
    mean_square = np.mean(x**2, axis=-1, keepdims=True)
    return x / np.sqrt(mean_square + sizes.rms_norm_eps) * scale

  def rotate(x, position):
    half = head // 2
    turned = np.empty(head)
    for i in range(half):
      angle = position * sizes.rope_theta ** (-2 * i / head)
      cos, sin = np.cos(angle), np.sin(angle)
      turned[i] = x[i] * cos - x[i + half] * sin
      turned[i + half] = x[i + half] * cos + x[i] * sin
    return turned

  def softmax(scores):
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()

  def attention(x, layer):
    part = lambda name: weight(f"{layer}.self_attn.{name}")
    split = lambda name: (x @ part(name).T).reshape(len(x), -1, head)
    q = norm(split("q_proj"), part("q_norm"))
    k = norm(split("k_proj"), part("k_norm"))
    v = split("v_proj")
    mixed = np.zeros((len(x), sizes.num_attention_heads, head))
    for at in range(len(x)):
      for h in range(sizes.num_attention_heads):
        query = rotate(q[at, h], at)
        keys = [rotate(k[s, h // group], s) for s in range(at + 1)]
        weights = softmax(np.array(keys) @ query / np.sqrt(head))
        mixed[at, h] = weights @ v[: at + 1, h // group]
    return mixed.reshape(len(x), -1) @ part("o_proj").T

  def feed_forward(x, layer):
    gate, up, down = (
      weight(f"{layer}.mlp.{name}_proj") for name in ("gate", "up", "down")
    )
    gated = x @ gate.T
    return (gated / (1 + np.exp(-gated)) * (x @ up.T)) @ down.T

  x = weight("model.embed_tokens")[np.asarray(tokens)]
  for i in range(sizes.num_hidden_layers):
    layer = f"model.layers.{i}"
    x = x + attention(norm(x, weight(f"{layer}.input_layernorm")), layer)
    x = x + feed_forward(
      norm(x, weight(f"{layer}.post_attention_layernorm")), layer
    )
  tied = "lm_head.weight" not in tensors
  table = weight("model.embed_tokens" if tied else "lm_head")
  return norm(x, weight("model.norm")) @ table.T


@pytest.mark.parametrize("tied", [True, False])
def test_the_decoder_on_disk_is_qwen3_written_out(sizes, tied, tmp_path):
  sizes = dataclasses.replace(
    sizes, tie_word_embeddings=tied, rope_theta=100.0, rms_norm_eps=0.01
  )
  params = random_params(sizes)
  hugging_face.save_params(tmp_path, params)
  tensors = safetensors.numpy.load_file(tmp_path / "model.safetensors")
  tokens, positions = random_rows(0)
  result = logits_of(model_of(sizes), params, tokens, positions)
  for row, actual in zip(tokens, result, strict=True):
    expected = twin_logits(tensors, sizes, row)
    # float32 over 2 layers of sums; logits of size 10
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


# -- the decoder and itself ---------------------------------------------------


@pytest.mark.parametrize("scan_layers", [False, True])
@pytest.mark.parametrize("prompt_length", [1, 4])
def test_cached_decoding_is_the_full_forward_pass(
  sizes, tiny_model, scan_layers, prompt_length
):
  _, params = tiny_model
  model = model_of(sizes, scan_layers=scan_layers)
  tokens, positions = random_rows(1)
  close(
    decoded(model, params, tokens, positions, prompt_length),
    logits_of(model, params, tokens, positions),
  )


@pytest.mark.parametrize("product_dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("scan_layers", [False, True])
def test_parameters_for_decoding_are_the_same_model(
  sizes, tiny_model, scan_layers, product_dtype
):
  _, params = tiny_model
  model = model_of(sizes, scan_layers=scan_layers, product_dtype=product_dtype)
  tokens, positions = random_rows(9)
  np.testing.assert_array_equal(
    decoded(model, model.for_decoding(params), tokens, positions, 4),
    decoded(model, params, tokens, positions, 4),
  )


def test_kernels_are_rounded_once_for_decoding(sizes, tiny_model):
  _, params = tiny_model
  model = model_of(sizes, product_dtype="bfloat16")
  layers = model.for_decoding(params)["layers"]
  for path, leaf in jax.tree_util.tree_leaves_with_path(layers):
    is_kernel = path[-1].key == "kernel"
    assert leaf.dtype == (jnp.bfloat16 if is_kernel else jnp.float32), path


def test_cached_decoding_with_ragged_padding_is_the_full_forward_pass(
  tiny_model,
):
  model, params = tiny_model
  tokens, _ = random_rows(2)
  padding = jnp.array([[0], [2], [3]])
  positions = jnp.maximum(jnp.arange(8)[None] - padding, -1)
  real = positions >= 0
  result = decoded(model, params, tokens, positions, 4)
  expected = logits_of(model, params, tokens, positions)
  close(result[real], expected[real])


@pytest.mark.parametrize("is_copied", [False, True])
@pytest.mark.parametrize("scan_layers", [False, True])
def test_a_shared_cache_decodes_as_each_row_alone(
  sizes, tiny_model, scan_layers, is_copied
):
  _, params = tiny_model
  model = model_of(sizes, scan_layers=scan_layers)
  tokens, positions = random_rows(3)
  cache = model.init_cache(len(tokens), 7 if is_copied else 4)
  _, cache = apply(model, params, tokens[:, :4], positions[:, :4], cache)
  if is_copied:
    cache = model.share_cache(cache, 2)
  else:
    cache = model.continue_cache(cache, 2, 3)
  last = jnp.arange(6, dtype=jnp.int32)[:, None]  # 2 continuations per row
  result, _ = apply(model, params, last, jnp.full_like(last, 4), cache)
  for continuation in (0, 1):
    whole = tokens.at[:, 4].set(last[continuation::2, 0])
    expected = logits_of(model, params, whole, positions)
    close(result[continuation::2, 0], expected[:, 4])


@pytest.mark.parametrize(
  ("gemma3", "options", "length"),
  [
    (None, {}, 5),
    (None, {}, 1),
    (None, {}, 0),
    (None, {"scan_layers": True, "rematerialise": True}, 5),
    (GEMMA3, {"query_chunk": 2}, 5),
    (GEMMA3, {"scan_layers": True}, 5),
  ],
)
def test_branches_are_each_response_behind_its_prompt(
  sizes, float64, gemma3, options, length
):
  layers = 2 if gemma3 or options else 1  # two kinds, or a loop
  sizes = dataclasses.replace(sizes, gemma3=gemma3, num_hidden_layers=layers)
  params = jax.tree.map(
    lambda x: x.astype(jnp.float64), dict(random_params(sizes))
  )
  model = decoder(sizes, dtype=jnp.float64, **options)
  tokens = jnp.asarray(np.random.default_rng(3).integers(11, size=(6, 9)))
  tokens = tokens.at[:, :4].set(jnp.repeat(tokens[::3, :4], 3, axis=0))
  # one of the first prompt's 4 tokens is padding; one response ends early
  positions = jnp.tile(jnp.arange(9), (6, 1)).at[:3].add(-1).at[4, 7:].set(-1)
  tokens, positions = tokens[:, : 4 + length], positions[:, : 4 + length]
  weights = jnp.asarray(np.random.default_rng(4).normal(size=(6, 9, 16)))
  weights = jnp.where(positions[..., None] >= 0, weights[:, : 4 + length], 0)

  def by_branches(params):
    prompts, responses = model.apply_branches(
      params,
      tokens[::3, :4],
      positions[::3, :4],
      tokens[:, 4:],
      positions[:, 4:],
    )
    whole = jnp.concatenate([jnp.repeat(prompts, 3, 0), responses], axis=1)
    return jnp.sum(weights * whole), weights * whole

  def by_rows(params):
    whole, _ = model.apply(params, tokens, positions)
    return jnp.sum(weights * whole), weights * whole

  jax.tree.map(
    # float64 sums in another order
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10),
    *(
      jax.jit(jax.value_and_grad(f, has_aux=True))(params)
      for f in (by_branches, by_rows)
    ),
  )


@pytest.mark.parametrize("content", [0, 7])
def test_padding_on_the_left_changes_nothing(tiny_model, content):
  model, params = tiny_model
  rows = [x[:, :5] for x in random_rows(4)]
  padded = pad_left(*rows, 3, content)
  close(
    logits_of(model, params, *padded)[:, 3:], logits_of(model, params, *rows)
  )


def test_no_token_sees_a_later_one(tiny_model):
  model, params = tiny_model
  tokens, positions = random_rows(5)
  changed = tokens.at[:, 4].set((tokens[:, 4] + 1) % 11)
  before = logits_of(model, params, tokens, positions)
  after = logits_of(model, params, changed, positions)
  np.testing.assert_array_equal(after[:, :4], before[:, :4])
  assert np.all(np.any(np.asarray(after != before)[:, 4:], axis=-1))


def test_only_the_distance_of_positions_matters(tiny_model):
  model, params = tiny_model
  tokens, positions = random_rows(6)
  close(
    logits_of(model, params, tokens, positions + 5),
    logits_of(model, params, tokens, positions),
  )


def test_a_row_of_padding_is_finite_with_finite_gradients(tiny_model):
  model, params = tiny_model
  tokens, positions = random_rows(7)
  positions = positions.at[0].set(-1)

  def total(params):
    return jnp.sum(logits_of(model, params, tokens, positions) ** 2)

  value, gradients = jax.jit(jax.value_and_grad(total))(params)
  assert jnp.isfinite(value)
  assert all(jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(gradients))


@pytest.mark.parametrize(
  "options",
  [
    {"scan_layers": True},
    {"rematerialise": True},
    {"scan_layers": True, "rematerialise": True},
  ],
)
def test_how_it_is_computed_changes_no_value_and_no_gradient(
  sizes, tiny_model, options
):
  plain, params = tiny_model
  tokens, positions = pad_left(*random_rows(8), 2)
  real = positions >= 0

  def value_and_gradients(model):
    def total(params):
      logits = logits_of(model, params, tokens, positions)
      logits = jnp.where(real[..., None], logits, 0)
      return jnp.mean(jax.nn.log_softmax(logits)[..., 3]), logits

    return jax.jit(jax.value_and_grad(total, has_aux=True))(params)

  close(
    value_and_gradients(model_of(sizes, **options)), value_and_gradients(plain)
  )


def test_attending_in_chunks_changes_no_value_and_no_gradient(
  float64, sizes, tiny_model
):
  sizes = dataclasses.replace(sizes, num_hidden_layers=1)
  params = {**tiny_model[1]}
  params["layers"] = jax.tree.map(lambda x: x[:1], params["layers"])
  params = jax.tree.map(lambda x: x.astype(jnp.float64), params)
  tokens, positions = pad_left(*random_rows(8), 2)
  weights = jnp.asarray(np.random.default_rng(9).normal(size=(3, 10, 11)))

  def run(**options):
    model = decoder(sizes, dtype=jnp.float64, **options)

    def total(params):
      logits = logits_of(model, params, tokens, positions)
      return jnp.sum(jnp.where(positions[..., None] >= 0, logits * weights, 0))

    return jax.jit(jax.value_and_grad(total))(params)

  expected = run()
  for size in (1, 3, 7):
    jax.tree.map(
      lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-10, atol=1e-10),
      run(query_chunk=size),
      expected,
    )


@pytest.mark.parametrize("shape", [(8, 1, 1), (1, 8, 1), (1, 1, 8), (2, 2, 2)])
def test_a_mesh_changes_no_value_and_no_gradient_and_splits_what_is_kept(
  shape, float64, sizes, tiny_model
):
  params = jax.tree.map(lambda x: x.astype(jnp.float64), tiny_model[1])
  tokens = jnp.asarray(np.random.default_rng(0).integers(0, 11, (8, 6)))
  positions = jnp.tile(jnp.arange(6), (8, 1))
  options = {"scan_layers": True, "rematerialise": True}
  mesh = make_mesh(shape)

  def run(mesh):
    model = decoder(sizes, dtype=jnp.float64, mesh=mesh, **options)
    return jax.jit(
      jax.value_and_grad(
        lambda p: jnp.sum(jnp.sin(model.apply(p, tokens, positions)[0]))
      )
    )

  placed = jax.device_put(params, param_shardings(mesh, params))
  compiled = run(mesh).lower(placed).compile()
  jax.tree.map(
    # float64 sums in another order
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12),
    compiled(placed),
    run(None)(params),
  )
  rows, width = 48 // (shape[0] * shape[1]), 16 // shape[2]
  kept = set(re.findall(r"f64\[2,(\d+),(\d+)\]", compiled.as_text()))
  assert (str(rows), str(width)) in kept
  assert not kept & ({("48", "16")} - {(str(rows), str(width))})


def test_bfloat16_activations_give_float32_logits(sizes, tiny_model):
  plain, params = tiny_model
  rows = random_rows(9)
  model = model_of(sizes, dtype=jnp.bfloat16)
  hidden, _ = jax.eval_shape(model.apply, params, *rows)
  assert hidden.dtype == jnp.bfloat16
  logits = logits_of(model, params, *rows)
  assert logits.dtype == jnp.float32
  # bfloat16 has 8 bits: 0.4 % of the largest logit, over 2 layers
  expected = logits_of(plain, params, *rows)
  assert jnp.max(jnp.abs(logits - expected)) < 0.05 * jnp.max(jnp.abs(expected))


def test_the_same_key_draws_the_same_parameters(sizes):
  init = jax.jit(decoder(sizes).init)
  one, same, other = (init(jax.random.key(k)) for k in (1, 1, 2))
  jax.tree.map(np.testing.assert_array_equal, one, same)
  assert jnp.any(one["embed_tokens"] != other["embed_tokens"])


def test_each_layer_has_its_own_parameters(sizes):
  params = jax.jit(decoder(sizes).init)(jax.random.key(0))
  kernel = params["layers"]["mlp"]["up_proj"]["kernel"]
  assert jnp.any(kernel[0] != kernel[1])


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"num_key_value_heads": 3}, "num_attention_heads = 4 .* = 3"),
    ({"head_dim": 7}, "head_dim .* 7"),
  ],
)
def test_sizes_that_cannot_work_are_refused(sizes, change, message):
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(sizes, **change)
