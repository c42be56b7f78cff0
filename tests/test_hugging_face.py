"""Model folders on disk: what is read, what is written, what is refused."""

import dataclasses
import json

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from entrojax.models import hugging_face
from tests.tiny_models import random_params


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
