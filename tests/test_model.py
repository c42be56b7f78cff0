"""The decoder against a float64 twin and itself; model folders on disk."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from entrojax.models import DecoderConfig, decoder, hugging_face

# Logits are of size 1 to 5 and sums of some 100 float32 products, each rounded
# by 1e-7 of its size: two orders of summation differ by some 1e-6.
ROUNDING = {"rtol": 1e-5, "atol": 1e-5}


def close(actual, expected):
  jax.tree.map(
    lambda a, e: np.testing.assert_allclose(a, e, **ROUNDING), actual, expected
  )


def random_rows(seed):
  """Returns tokens and positions of 3 rows of 8 tokens; one shape for all."""
  tokens = np.random.default_rng(seed).integers(11, size=(3, 8))
  positions = np.broadcast_to(np.arange(8), tokens.shape)
  return jnp.asarray(tokens, jnp.int32), jnp.asarray(positions, jnp.int32)


def pad_left(tokens, positions, columns, content=7):
  """Returns the rows behind `columns` columns of padding."""
  pad = lambda x, value: jnp.pad(
    x, ((0, 0), (columns, 0)), constant_values=value
  )
  return pad(tokens, content), pad(positions, -1)


# One model for each set of options, so that each shape is compiled once.
model_of = functools.cache(decoder)


@functools.partial(jax.jit, static_argnums=0)
def apply(model, params, tokens, positions, cache=None):
  """Returns (logits, cache)."""
  hidden, cache = model.apply(params, tokens, positions, cache)
  return model.unembed(params, hidden), cache


def logits_of(model, params, tokens, positions):
  return apply(model, params, tokens, positions)[0]


def decoded(model, params, tokens, positions, prompt_length):
  """Returns the logits of a prefill and of one step for each later token."""
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
  """Returns Qwen3's logits [L, V] of one row, from tensors as on disk."""
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


def random_params(sizes, seed=0):
  """Returns parameters none of which is 0 or 1, norm scales included."""
  shapes = jax.eval_shape(decoder(sizes).init, jax.random.key(0))
  leaves, structure = jax.tree.flatten(shapes)
  rng = np.random.default_rng(seed)
  return jax.tree.unflatten(
    structure,
    [
      jnp.asarray(rng.normal(0.2, 0.4, leaf.shape), jnp.float32)
      for leaf in leaves
    ],
  )


@pytest.mark.parametrize("tied", [True, False])
def test_the_decoder_on_disk_is_qwen3_written_out(sizes, tied, tmp_path):
  sizes = dataclasses.replace(
    sizes, tie_word_embeddings=tied, rope_theta=100.0, rms_norm_eps=0.01
  )
  params = random_params(sizes)
  hugging_face.save_params(tmp_path, params)
  tensors = safetensors.numpy.load_file(tmp_path / "model.safetensors")
  tokens, positions = random_rows(0)
  found = logits_of(model_of(sizes), params, tokens, positions)
  for row, actual in zip(tokens, found, strict=True):
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


def test_cached_decoding_with_ragged_padding_is_the_full_forward_pass(
  tiny_model,
):
  model, params = tiny_model
  tokens, _ = random_rows(2)
  padding = jnp.array([[0], [2], [3]])
  positions = jnp.maximum(jnp.arange(8)[None] - padding, -1)
  real = positions >= 0
  found = decoded(model, params, tokens, positions, 4)
  expected = logits_of(model, params, tokens, positions)
  close(found[real], expected[real])


@pytest.mark.parametrize("scan_layers", [False, True])
def test_a_shared_cache_decodes_as_each_row_alone(
  sizes, tiny_model, scan_layers
):
  _, params = tiny_model
  model = model_of(sizes, scan_layers=scan_layers)
  tokens, positions = random_rows(3)
  cache = model.init_cache(*tokens.shape)
  _, cache = apply(model, params, tokens[:, :4], positions[:, :4], cache)
  cache = model.share_cache(cache, 2)
  last = jnp.arange(6, dtype=jnp.int32)[:, None]  # 2 continuations of each
  found, _ = apply(model, params, last, jnp.full_like(last, 4), cache)
  for continuation in (0, 1):
    whole = tokens.at[:, 4].set(last[continuation::2, 0])
    expected = logits_of(model, params, whole, positions)
    close(found[continuation::2, 0], expected[:, 4])


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
def test_scanning_and_rematerialising_change_no_value_and_no_gradient(
  sizes, tiny_model, options
):
  plain, params = tiny_model
  tokens, positions = random_rows(8)

  def value_and_gradients(model):
    def total(params):
      logits = logits_of(model, params, tokens, positions)
      return jnp.mean(jax.nn.log_softmax(logits)[..., 3]), logits

    return jax.jit(jax.value_and_grad(total, has_aux=True))(params)

  close(
    value_and_gradients(model_of(sizes, **options)), value_and_gradients(plain)
  )


def test_bfloat16_activations_give_float32_logits(sizes, tiny_model):
  plain, params = tiny_model
  rows = random_rows(9)
  model = model_of(sizes, dtype=jnp.bfloat16)
  hidden, _ = jax.eval_shape(model.apply, params, *rows)
  assert hidden.dtype == jnp.bfloat16
  logits = logits_of(model, params, *rows)
  assert logits.dtype == jnp.float32
  # 8 bits: 0.4 % of the largest logit, over 2 layers
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


# -- model folders ------------------------------------------------------------


@pytest.fixture
def folder(sizes, tmp_path):
  hugging_face.write_folder(
    tmp_path,
    sizes,
    random_params(sizes),
    {"eos_token_id": 2, "pad_token_id": 0},
  )
  return tmp_path


def edit_config(folder, **changes):
  """Changes keys of config.json; None removes one."""
  path = folder / "config.json"
  raw = {**json.loads(path.read_text()), **changes}
  path.write_text(json.dumps({k: v for k, v in raw.items() if v is not None}))


def edit_tensors(folder, change):
  path = folder / "model.safetensors"
  tensors = safetensors.numpy.load_file(path)
  change(tensors)
  safetensors.numpy.save_file(tensors, path, {"format": "pt"})


@pytest.mark.parametrize("tied", [True, False])
def test_a_folder_survives_the_round_trip_byte_for_byte(sizes, tied, tmp_path):
  sizes = dataclasses.replace(sizes, tie_word_embeddings=tied)
  params = random_params(sizes)
  ids = {"eos_token_id": 2, "pad_token_id": 0}
  hugging_face.write_folder(tmp_path / "first", sizes, params, ids)
  read_sizes, read = hugging_face.load(tmp_path / "first")
  assert read_sizes == sizes
  jax.tree.map(np.testing.assert_array_equal, read, params)
  hugging_face.write_folder(tmp_path / "second", read_sizes, read, ids)
  for name in ("config.json", "model.safetensors"):
    first, second = (tmp_path / f / name for f in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


def test_tensors_bear_hugging_face_s_names_and_shapes(folder, sizes):
  tensors = safetensors.numpy.load_file(folder / "model.safetensors")
  layer = {
    "input_layernorm": (16,),
    "mlp.down_proj": (16, 24),
    "mlp.gate_proj": (24, 16),
    "mlp.up_proj": (24, 16),
    "post_attention_layernorm": (16,),
    "self_attn.k_norm": (8,),
    "self_attn.k_proj": (16, 16),
    "self_attn.o_proj": (16, 32),
    "self_attn.q_norm": (8,),
    "self_attn.q_proj": (32, 16),
    "self_attn.v_proj": (16, 16),
  }
  expected = {
    "model.embed_tokens.weight": (11, 16),
    "model.norm.weight": (16,),
    **{
      f"model.layers.{i}.{name}.weight": shape
      for i in range(sizes.num_hidden_layers)
      for name, shape in layer.items()
    },
  }
  assert {name: x.shape for name, x in tensors.items()} == expected


def test_bfloat16_tensors_are_read(folder, sizes):
  def to_bfloat16(tensors):
    for name, array in tensors.items():
      tensors[name] = array.astype(ml_dtypes.bfloat16)

  expected = hugging_face.load_params(folder, sizes)
  edit_tensors(folder, to_bfloat16)
  found = hugging_face.load_params(folder, sizes)
  jax.tree.map(
    lambda a, e: np.testing.assert_array_equal(
      a, e.astype(ml_dtypes.bfloat16).astype(np.float32)
    ),
    found,
    expected,
  )


def test_the_rotation_s_base_is_read_from_its_own_section(folder):
  edit_config(folder, rope_theta=None, rope_parameters={"rope_theta": 5e5})
  assert hugging_face.read_config(folder).rope_theta == 5e5


def test_a_missing_tensor_is_named_with_its_file(folder, sizes):
  name = "model.layers.1.self_attn.k_norm.weight"
  edit_tensors(folder, lambda tensors: tensors.pop(name))
  with pytest.raises(
    ValueError, match=rf"model\.safetensors: tensor '{name}' is missing"
  ):
    hugging_face.load_params(folder, sizes)


@pytest.mark.parametrize("shape", [(24, 15), (16, 24), (24,), ()])
def test_a_tensor_of_another_shape_is_named_with_both_shapes(
  folder, sizes, shape
):
  name = "model.layers.0.mlp.up_proj.weight"
  edit_tensors(
    folder,
    lambda tensors: tensors.update({name: np.zeros(shape, np.float32)}),
  )
  with pytest.raises(ValueError) as error:
    hugging_face.load_params(folder, sizes)
  for part in ("model.safetensors", name, str(shape), "(24, 16)"):
    assert part in str(error.value)


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_truncated_file_is_named(folder, sizes, kept):
  path = folder / "model.safetensors"
  path.write_bytes(path.read_bytes()[:kept])
  with pytest.raises(
    ValueError, match=r"model\.safetensors: not a whole safetensors file"
  ):
    hugging_face.load_params(folder, sizes)


def test_a_missing_weights_file_is_named(folder, sizes):
  (folder / "model.safetensors").unlink()
  with pytest.raises(ValueError, match=r"model\.safetensors: no such file"):
    hugging_face.load_params(folder, sizes)


@pytest.mark.parametrize("key", ["hidden_size", "num_key_value_heads"])
def test_a_missing_key_of_the_config_is_named_with_its_file(folder, key):
  edit_config(folder, **{key: None})
  with pytest.raises(ValueError, match=rf"config\.json: lacks {key}"):
    hugging_face.read_config(folder)


@pytest.mark.parametrize(
  "architectures", [["MistralForCausalLM"], [], None, "Qwen3ForCausalLM"]
)
def test_another_architecture_is_refused(folder, architectures):
  edit_config(folder, architectures=architectures)
  with pytest.raises(
    ValueError, match=r"config\.json: architectures .*'Qwen3ForCausalLM'"
  ):
    hugging_face.read_config(folder)


def test_a_config_that_is_not_json_is_named(folder):
  (folder / "config.json").write_text('{"architectures": [')
  with pytest.raises(ValueError, match=r"config\.json: not JSON"):
    hugging_face.read_config(folder)


def test_a_folder_without_a_config_is_named(tmp_path):
  with pytest.raises(ValueError, match=r"config\.json: no such file"):
    hugging_face.read_config(tmp_path)


@pytest.mark.parametrize(
  ("key", "value", "message"),
  [
    ("rope_scaling", {"rope_type": "yarn"}, "rope_scaling is"),
    ("rope_parameters", {"rope_type": "linear"}, "rope_type 'linear'"),
    ("rope_parameters", {"rope_type": "llama3"}, "rope_parameters: lacks fac"),
    ("rope_parameters", {"rope_theta": "1e4"}, "rope_theta is '1e4'"),
    ("rope_scaling", "llama3", "rope_scaling is 'llama3'"),
    ("layer_types", ["sliding_attention"], "layer_types is"),
    ("quantization_config", {"bits": 4}, "quantization_config is"),
    ("hidden_size", 0, "hidden_size must be at least 1, got 0"),
    ("attention_bias", True, "attention_bias is True"),
    ("hidden_act", "gelu", "hidden_act is 'gelu'"),
    ("use_sliding_window", True, "use_sliding_window is True"),
    ("head_dim", None, "head_dim is None"),
    ("vocab_size", "11", "vocab_size is '11'"),
  ],
)
def test_a_config_that_would_compute_something_else_is_refused(
  key, value, message, sizes, tmp_path
):
  hugging_face.write_config(tmp_path, sizes, eos_token_id=2, pad_token_id=0)
  path = tmp_path / "config.json"
  path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
  with pytest.raises(ValueError, match=message) as raised:
    hugging_face.read_config(tmp_path)
  assert str(path) in str(raised.value)
