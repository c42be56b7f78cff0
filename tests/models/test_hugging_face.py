"""Model folders survive reading and writing; wrong ones are refused."""

import contextlib
import dataclasses
import json
import shutil
import weakref

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from entrojax.models import decoder, hugging_face, lora, read_weights
from entrojax.models.lora import Lora
from entrojax.models.peft import write_adapter
from entrojax.system.sharding import make_mesh, param_shardings
from tests.helpers.paths import GOLDENS
from tests.helpers.tiny_models import random_params

pytestmark = pytest.mark.slow


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
  """Change keys of config.json; a value of None removes the key."""
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
  result = hugging_face.load_params(folder, sizes)
  jax.tree.map(
    lambda a, e: np.testing.assert_array_equal(
      a, e.astype(ml_dtypes.bfloat16).astype(np.float32)
    ),
    result,
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
    ("rope_scaling", {"rope_type": "yarn"}, "rope_scaling: lacks factor"),
    ("rope_parameters", {"rope_type": "linear"}, "rope_parameters: lacks fac"),
    ("rope_parameters", {"rope_type": "longrope"}, "rope_type 'longrope'"),
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
    ("vocab_size", 10**12, r"vocab_size must lie in \[1, 2147483647\]"),
    ("architectures", {"a": 1}, "architectures is {'a': 1}, but it must"),
    ("architectures", [{}], r"architectures is \[{}\], but it must"),
    ("layer_types", 5, "layer_types is 5, not a list"),
    ("num_hidden_layers", 10**9, r"num_hidden_layers must lie in \[1, 1024\]"),
    ("rms_norm_eps", float("nan"), "rms_norm_eps is nan, not a finite number"),
    ("rms_norm_eps", -1.0, "rms_norm_eps must be above 0"),
    ("rope_theta", 0.0, "rope_theta must be above 0"),
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


@pytest.mark.parametrize(
  ("key", "value", "message"),
  [
    ("hidden_activation", "gelu", "hidden_activation is 'gelu'"),
    ("attn_logit_softcapping", 50.0, r"attn_logit_softcapping is 50\.0"),
    ("use_bidirectional_attention", True, "use_bidirectional_attention is"),
    ("rope_parameters", {"rope_theta": 1.0}, "rope_parameters is"),
    ("rope_parameters", None, "lacks rope_theta"),
    ("layer_types", ["full_attention"], "layer_types has 1 layers, num_hid"),
    ("layer_types", ["mamba"] * 2, "layer_types has 'mamba', not one of"),
    ("layer_types", 2, "layer_types is 2, not a list"),
    ("num_hidden_layers", "2", "num_hidden_layers is '2'"),
    ("sliding_window", None, "lacks sliding_window"),
    ("query_pre_attn_scalar", 0, "query_pre_attn_scalar must be at least 1"),
  ],
)
def test_a_gemma_3_that_would_compute_something_else_is_refused(
  key, value, message, tmp_path
):
  shutil.copy(PARITY / "gemma3" / "config.json", tmp_path)
  edit_config(tmp_path, **{key: value})
  with pytest.raises(ValueError, match=message) as raised:
    hugging_face.read_config(tmp_path)
  assert str(tmp_path / "config.json") in str(raised.value)


@pytest.mark.parametrize("pattern", [0, "6", 2.0])
def test_a_pattern_of_windows_that_is_none_is_refused(pattern, tmp_path):
  shutil.copy(PARITY / "gemma3" / "config.json", tmp_path)
  edit_config(tmp_path, layer_types=None, sliding_window_pattern=pattern)
  with pytest.raises(ValueError, match="sliding_window_pattern is"):
    hugging_face.read_config(tmp_path)


# -- shards, types, meshes ----------------------------------------------------

PARITY = GOLDENS / "parity"
INDEX = "model.safetensors.index.json"


@pytest.fixture
def shards(tmp_path):
  """Return a tiny Qwen2 in shards, as transformers writes it."""
  return shutil.copytree(PARITY / "qwen2", tmp_path / "qwen2")


def edit_index(folder, change):
  raw = json.loads((folder / INDEX).read_text())
  change(raw["weight_map"])
  (folder / INDEX).write_text(json.dumps(raw))


def as_one_file(folder):
  """Return the tensors of all shards."""
  tensors = {}
  for shard in folder.glob("model-*.safetensors"):
    tensors |= safetensors.numpy.load_file(shard)
  return tensors


def test_shards_are_read_as_one_file_is(shards, tmp_path):
  sizes, result = hugging_face.load(shards)
  (tmp_path / "one").mkdir()
  safetensors.numpy.save_file(
    as_one_file(shards), tmp_path / "one" / "model.safetensors"
  )
  expected = hugging_face.load_params(tmp_path / "one", sizes)
  jax.tree.map(np.testing.assert_array_equal, result, expected)
  assert result["layers"]["self_attn"]["q_proj"]["bias"].shape == (2, 16)


@pytest.mark.parametrize("name", ["qwen2", "qwen3", "llama3", "smollm2"])
def test_a_folder_of_transformers_survives_import_and_export(name, tmp_path):
  source = PARITY / name
  dtype = jnp.bfloat16 if name == "smollm2" else jnp.float32
  sizes, params = hugging_face.load(source, dtype=dtype)
  one, two = tmp_path / "one", tmp_path / "two"
  hugging_face.export_folder(one, source, params, max_shard_bytes=4000)
  assert len(list(one.glob("model-*.safetensors"))) > 1
  # float32 in between holds bfloat16 exactly
  again_sizes, again = hugging_face.load(one)
  assert again_sizes == sizes
  hugging_face.export_folder(two, one, again, dtype=dtype, max_shard_bytes=4000)
  names = {path.name for path in one.iterdir()}
  assert names == {path.name for path in two.iterdir()}
  for file in names:
    assert (one / file).read_bytes() == (two / file).read_bytes()
  original = as_one_file(source) | {
    k: v
    for path in source.glob("model.safetensors")
    for k, v in safetensors.numpy.load_file(path).items()
  }
  exported = as_one_file(one)
  assert exported.keys() == original.keys()
  for key, array in exported.items():
    assert array.dtype == original[key].dtype
    np.testing.assert_array_equal(array, original[key])
  assert json.loads((one / "config.json").read_text()) == json.loads(
    (source / "config.json").read_text()
  )
  generation = "generation_config.json"
  assert (one / generation).read_bytes() == (source / generation).read_bytes()


def test_an_export_names_its_own_type_and_leaves_the_rest_of_the_config(
  shards, tmp_path
):
  edit_config(shards, dtype=None, torch_dtype="float32", of_another_tool=[1])
  (shards / "tokenizer.json").write_text("{}")
  _, params = hugging_face.load(shards)
  out = tmp_path / "out"
  hugging_face.export_folder(out, shards, params, dtype=jnp.bfloat16)
  expected = json.loads((shards / "config.json").read_text())
  expected["torch_dtype"] = "bfloat16"
  assert json.loads((out / "config.json").read_text()) == expected
  assert (out / "tokenizer.json").read_text() == "{}"
  tensors = safetensors.numpy.load_file(out / "model.safetensors")
  assert {x.dtype.name for x in tensors.values()} == {"bfloat16"}


def test_an_export_leaves_no_weights_of_an_earlier_one(shards, tmp_path):
  sizes, params = hugging_face.load(shards)
  out, zeros = tmp_path / "out", jax.tree.map(np.zeros_like, params)
  hugging_face.export_folder(out, shards, params)
  hugging_face.export_folder(out, shards, zeros, max_shard_bytes=10_000)
  jax.tree.map(
    np.testing.assert_array_equal, hugging_face.load_params(out, sizes), zeros
  )
  hugging_face.export_folder(out, shards, params)
  jax.tree.map(
    np.testing.assert_array_equal, hugging_face.load_params(out, sizes), params
  )


def test_an_export_leaves_nothing_of_another_model_that_changes_it(
  shards, tmp_path
):
  """The folder may hold an export of a model that had more files."""
  sizes, params = hugging_face.load(shards)
  out = tmp_path / "out"
  adapter = Lora(rank=1, alpha=1.0, projections=("q_proj",))
  _, factors = lora.split(decoder(sizes, lora=adapter).init(jax.random.key(0)))
  write_adapter(out, jax.tree.map(np.ones_like, factors), adapter, "base")
  (out / "chat_template.jinja").write_text("of another model")
  (out / "LICENSE").write_text("mine")
  hugging_face.export_folder(out, shards, params)
  jax.tree.map(
    np.testing.assert_array_equal, hugging_face.load_params(out, sizes), params
  )
  assert not (out / "chat_template.jinja").exists()
  assert (out / "LICENSE").read_text() == "mine"


def test_an_export_over_its_own_source_is_refused(shards):
  _, params = hugging_face.load(shards)
  with pytest.raises(ValueError, match="would overwrite the model"):
    hugging_face.export_folder(shards / ".." / shards.name, shards, params)


def test_an_export_of_another_model_s_parameters_is_refused(shards, tmp_path):
  _, params = hugging_face.load(PARITY / "smollm2")
  with pytest.raises(ValueError, match=r"qwen2: config\.json describes other"):
    hugging_face.export_folder(tmp_path / "out", shards, params)


def test_a_mesh_gets_the_host_s_numbers_where_the_table_says(shards):
  dtype = jnp.bfloat16  # of another type than the file
  sizes = hugging_face.read_config(shards)
  expected = hugging_face.load_params(shards, sizes, dtype=dtype)
  shardings = param_shardings(make_mesh((2, 2, 2)), expected)
  result = hugging_face.load_params(
    shards, sizes, dtype=dtype, shardings=shardings
  )
  jax.tree.map(np.testing.assert_array_equal, result, expected)
  jax.tree.map(
    lambda leaf, sharding: (
      pytest.fail(f"{leaf.sharding} is not {sharding}")
      if not leaf.sharding.is_equivalent_to(sharding, leaf.ndim)
      else None
    ),
    result,
    shardings,
  )
  attention = result["layers"]["self_attn"]
  shapes = {
    name: attention["q_proj"][name].addressable_shards[0].data.shape
    for name in ("kernel", "bias")
  }
  assert shapes == {"kernel": (2, 8, 8), "bias": (2, 8)}


def test_one_tensor_is_held_at_a_time(shards, monkeypatch):
  alive, read = set(), []

  class Watched:
    def __init__(self, tensors):
      self.tensors = tensors

    def __getattr__(self, name):
      return getattr(self.tensors, name)

    def get_tensor(self, name):
      assert not alive, f"{alive} is still held when {name} is read"
      array = self.tensors.get_tensor(name)
      alive.add(name)
      read.append(name)
      weakref.finalize(array, alive.discard, name)
      return array

  open_file = read_weights._open

  @contextlib.contextmanager
  def watched(path):
    with open_file(path) as tensors:
      yield Watched(tensors)

  monkeypatch.setattr(read_weights, "_open", watched)
  sizes = hugging_face.read_config(shards)
  hugging_face.load_params(shards, sizes)
  assert sorted(read) == sorted(as_one_file(shards))


def test_a_missing_shard_is_named(shards):
  (shards / "model-00002-of-00002.safetensors").unlink()
  with pytest.raises(
    ValueError, match=r"model-00002-of-00002\.safetensors: no such file"
  ):
    hugging_face.load(shards)


def test_a_truncated_shard_is_named(shards):
  path = shards / "model-00001-of-00002.safetensors"
  path.write_bytes(path.read_bytes()[:-8])
  with pytest.raises(ValueError, match=r"model-00001-of.*not a whole"):
    hugging_face.load(shards)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (
      lambda places: places.pop("model.norm.weight"),
      r"index\.json: tensor 'model\.norm\.weight' is missing",
    ),
    (
      lambda places: places.update(
        {"model.norm.weight": "model-00001-of-00002.safetensors"}
      ),
      r"00001-of-00002\.safetensors: tensor 'model\.norm\.weight' is missing",
    ),
    (
      lambda places: places.update(
        {"model.norm.weight": "../../model.safetensors"}
      ),
      r"'model\.norm\.weight' is in '\.\./.*not a file of the folder",
    ),
    (
      lambda places: places.update({"model.norm.weight": 3}),
      r"'model\.norm\.weight' is in 3, not a file of the folder",
    ),
  ],
)
def test_an_index_that_lies_is_refused(shards, change, message):
  edit_index(shards, change)
  with pytest.raises(ValueError, match=message):
    hugging_face.load(shards)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"weight_map": []}'])
def test_a_malformed_index_is_named(shards, text):
  (shards / INDEX).write_text(text)
  with pytest.raises(ValueError, match=r"model\.safetensors\.index\.json: "):
    hugging_face.load(shards)


def test_a_tensor_of_another_architecture_is_refused(folder, sizes):
  name = "model.layers.0.self_attn.q_proj.bias"
  edit_tensors(
    folder, lambda tensors: tensors.update({name: np.ones(32, np.float32)})
  )
  with pytest.raises(ValueError, match=f"{name}' has no place in the model"):
    hugging_face.load_params(folder, sizes)


def test_what_tied_and_computed_tensors_hold_is_not_read(folder, sizes):
  expected = hugging_face.load_params(folder, sizes)
  spare = {
    "lm_head.weight": np.full((11, 16), np.nan, np.float32),
    "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(4, np.float32),
  }
  edit_tensors(folder, lambda tensors: tensors.update(spare))
  result = hugging_face.load_params(folder, sizes)
  jax.tree.map(np.testing.assert_array_equal, result, expected)


def test_a_tensor_of_integers_is_refused(folder, sizes):
  name = "model.norm.weight"
  edit_tensors(
    folder, lambda tensors: tensors.update({name: np.ones(16, np.int8)})
  )
  with pytest.raises(ValueError, match=rf"{name}' is I8, only F32, BF16, F16"):
    hugging_face.load_params(folder, sizes)


def test_a_folder_with_pickled_weights_alone_is_refused(folder, sizes):
  path = folder / "model.safetensors"
  path.rename(folder / "pytorch_model.bin")
  with pytest.raises(ValueError, match=r"model\.safetensors: no such file"):
    hugging_face.load_params(folder, sizes)


@pytest.mark.parametrize(
  ("name", "changes", "message"),
  [
    (
      "llama3",
      {"rope_scaling": {"factor": 2.0}},
      "rope_scaling and rope_parameters differ",
    ),
    ("qwen2", {"num_attention_heads": 3}, "hidden_size = 16 is not a multiple"),
    ("qwen3", {"head_dim": None}, "lacks head_dim"),
    (
      "llama3",
      {
        "rope_parameters": {
          "rope_type": "llama3",
          "factor": 8.0,
          "low_freq_factor": 4.0,
          "high_freq_factor": 1.0,
          "original_max_position_embeddings": 64,
        }
      },
      r"rope_parameters: low_freq_factor = 4\.0 must lie between",
    ),
  ],
)
def test_a_config_that_contradicts_itself_is_named(
  name, changes, message, tmp_path
):
  shutil.copy(PARITY / name / "config.json", tmp_path)
  edit_config(tmp_path, **changes)
  with pytest.raises(ValueError, match=message) as raised:
    hugging_face.read_config(tmp_path)
  assert str(tmp_path / "config.json") in str(raised.value)


def test_sizes_of_no_known_architecture_are_not_written(sizes, tmp_path):
  both = dataclasses.replace(sizes, qkv_bias=True, qk_norm=True)
  with pytest.raises(ValueError, match="qkv_bias = True with qk_norm = True"):
    hugging_face.write_config(tmp_path, both, eos_token_id=2, pad_token_id=0)
