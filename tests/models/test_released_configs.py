"""The configs of released models are read, and give models of their sizes."""

import json

import jax
import pytest

from entrojax.models import decoder, hugging_face
from tests.helpers.paths import ROOT

# For each released model: the number of parameters on its model card, and the
# keys of its config.json that matter.
RELEASED = {
  "Qwen2.5-0.5B": (
    494_032_768,
    {
      "architectures": ["Qwen2ForCausalLM"],
      "hidden_act": "silu",
      "hidden_size": 896,
      "intermediate_size": 4864,
      "max_position_embeddings": 32768,
      "max_window_layers": 24,
      "num_attention_heads": 14,
      "num_hidden_layers": 24,
      "num_key_value_heads": 2,
      "rms_norm_eps": 1e-06,
      "rope_theta": 1000000.0,
      "sliding_window": 32768,
      "tie_word_embeddings": True,
      "use_mrope": False,
      "use_sliding_window": False,
      "vocab_size": 151936,
    },
  ),
  "Qwen3-0.6B": (
    596_049_920,
    {
      "architectures": ["Qwen3ForCausalLM"],
      "attention_bias": False,
      "head_dim": 128,
      "hidden_act": "silu",
      "hidden_size": 1024,
      "intermediate_size": 3072,
      "max_position_embeddings": 40960,
      "num_attention_heads": 16,
      "num_hidden_layers": 28,
      "num_key_value_heads": 8,
      "rms_norm_eps": 1e-06,
      "rope_scaling": None,
      "rope_theta": 1000000,
      "sliding_window": None,
      "tie_word_embeddings": True,
      "use_sliding_window": False,
      "vocab_size": 151936,
    },
  ),
  "gemma-3-1b": (
    999_885_952,
    {
      "architectures": ["Gemma3ForCausalLM"],
      "attention_bias": False,
      "attn_logit_softcapping": None,
      "final_logit_softcapping": None,
      "head_dim": 256,
      "hidden_activation": "gelu_pytorch_tanh",
      "hidden_size": 1152,
      "intermediate_size": 6912,
      "max_position_embeddings": 32768,
      "num_attention_heads": 4,
      "num_hidden_layers": 26,
      "num_key_value_heads": 1,
      "query_pre_attn_scalar": 256,
      "rms_norm_eps": 1e-06,
      "rope_local_base_freq": 10000,
      "rope_scaling": None,
      "rope_theta": 1000000,
      "sliding_window": 512,
      "sliding_window_pattern": 6,
      "vocab_size": 262144,
    },
  ),
  "Llama-3.2-1B": (
    1_235_814_400,
    {
      "architectures": ["LlamaForCausalLM"],
      "attention_bias": False,
      "head_dim": 64,
      "hidden_act": "silu",
      "hidden_size": 2048,
      "intermediate_size": 8192,
      "max_position_embeddings": 131072,
      "mlp_bias": False,
      "num_attention_heads": 32,
      "num_hidden_layers": 16,
      "num_key_value_heads": 8,
      "pretraining_tp": 1,
      "rms_norm_eps": 1e-05,
      "rope_scaling": {
        "factor": 32.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
      },
      "rope_theta": 500000.0,
      "tie_word_embeddings": True,
      "vocab_size": 128256,
    },
  ),
  "SmolLM2-135M": (
    134_515_008,
    {
      "architectures": ["LlamaForCausalLM"],
      "attention_bias": False,
      "hidden_act": "silu",
      "hidden_size": 576,
      "intermediate_size": 1536,
      "max_position_embeddings": 8192,
      "mlp_bias": False,
      "num_attention_heads": 9,
      "num_hidden_layers": 30,
      "num_key_value_heads": 3,
      "pretraining_tp": 1,
      "rms_norm_eps": 1e-05,
      "rope_interleaved": False,
      "rope_scaling": None,
      "rope_theta": 100000,
      "tie_word_embeddings": True,
      "vocab_size": 49152,
    },
  ),
}

# Larger models of these families: the number of parameters on their cards, the
# model whose keys they share, and the keys that differ.
LARGER = {
  "Qwen3-1.7B": (
    1_720_574_976,
    "Qwen3-0.6B",
    {"hidden_size": 2048, "intermediate_size": 6144},
  ),
  "Qwen3-4B": (
    4_022_468_096,
    "Qwen3-0.6B",
    {
      "hidden_size": 2560,
      "intermediate_size": 9728,
      "num_attention_heads": 32,
      "num_hidden_layers": 36,
    },
  ),
  "Qwen3-8B": (
    8_190_735_360,
    "Qwen3-0.6B",
    {
      "hidden_size": 4096,
      "intermediate_size": 12288,
      "num_attention_heads": 32,
      "num_hidden_layers": 36,
      "tie_word_embeddings": False,
    },
  ),
  "Llama-3.2-3B": (
    3_212_749_824,
    "Llama-3.2-1B",
    {
      "head_dim": 128,
      "hidden_size": 3072,
      "num_attention_heads": 24,
      "num_hidden_layers": 28,
    },
  ),
  "gemma-3-270m": (
    268_098_176,
    "gemma-3-1b",
    {"hidden_size": 640, "intermediate_size": 2048, "num_hidden_layers": 18},
  ),
  "SmolLM2-360M": (
    361_821_120,
    "SmolLM2-135M",
    {
      "hidden_size": 960,
      "intermediate_size": 2560,
      "num_attention_heads": 15,
      "num_hidden_layers": 32,
      "num_key_value_heads": 5,
    },
  ),
  "SmolLM2-1.7B": (
    1_711_376_384,
    "SmolLM2-135M",
    {
      "hidden_size": 2048,
      "intermediate_size": 8192,
      "num_attention_heads": 32,
      "num_hidden_layers": 24,
      "num_key_value_heads": 32,
      "rope_theta": 130000,
    },
  ),
}
RELEASED |= {
  name: (number, {**RELEASED[smaller][1], **keys})
  for name, (number, smaller, keys) in LARGER.items()
}


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_config_makes_a_model_of_the_published_size(name, tmp_path):
  num_parameters, raw = RELEASED[name]
  (tmp_path / "config.json").write_text(json.dumps(raw))
  sizes = hugging_face.read_config(tmp_path)
  shapes = jax.eval_shape(decoder(sizes).init, jax.random.key(0))
  assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == num_parameters


def test_the_page_of_the_models_names_each_released_config():
  page = (ROOT / "entrojax" / "models" / "README.md").read_text()
  for name, (number, _) in RELEASED.items():
    assert f"| {name} | {number:,} |" in page


def test_a_model_without_rotation_in_some_layers_is_refused(tmp_path):
  raw = {**RELEASED["SmolLM2-1.7B"][1], "architectures": ["SmolLM3ForCausalLM"]}
  (tmp_path / "config.json").write_text(json.dumps(raw))
  with pytest.raises(ValueError, match="SmolLM3ForCausalLM"):
    hugging_face.read_config(tmp_path)
