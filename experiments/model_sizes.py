"""Sizes of known models, so that a rehearsal needs no model folder."""

import functools
from pathlib import Path

from entrojax.assembly.model import model_folder
from entrojax.models import DecoderConfig, hugging_face
from entrojax.models.sizes import Gemma3

_QWEN25 = functools.partial(
  DecoderConfig,
  vocab_size=152064,
  head_dim=128,
  rope_theta=1e6,
  tie_word_embeddings=False,
  qkv_bias=True,
  qk_norm=False,
)
SIZES = {
  "Qwen2.5-7B": _QWEN25(
    hidden_size=3584,
    intermediate_size=18944,
    num_hidden_layers=28,
    num_attention_heads=28,
    num_key_value_heads=4,
  ),
  "Qwen2.5-32B": _QWEN25(
    hidden_size=5120,
    intermediate_size=27648,
    num_hidden_layers=64,
    num_attention_heads=40,
    num_key_value_heads=8,
  ),
  "Qwen2.5-0.5B-Instruct": _QWEN25(
    vocab_size=151936,
    head_dim=64,
    hidden_size=896,
    intermediate_size=4864,
    num_hidden_layers=24,
    num_attention_heads=14,
    num_key_value_heads=2,
    tie_word_embeddings=True,
  ),
  "Qwen3-0.6B": DecoderConfig(
    vocab_size=151936,
    head_dim=128,
    hidden_size=1024,
    intermediate_size=3072,
    num_hidden_layers=28,
    num_attention_heads=16,
    num_key_value_heads=8,
    rope_theta=1e6,
  ),
  "SmolLM2-135M-Instruct": DecoderConfig(
    vocab_size=49152,
    head_dim=64,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    rope_theta=1e5,
    qk_norm=False,
  ),
  "gemma-3-270m-it": DecoderConfig(
    vocab_size=262144,
    head_dim=256,
    hidden_size=640,
    intermediate_size=2048,
    num_hidden_layers=18,
    num_attention_heads=4,
    num_key_value_heads=1,
    rope_theta=1e6,
    gemma3=Gemma3(
      query_pre_attn_scalar=256,
      sliding_window=512,
      rope_local_base_freq=1e4,
      layer_types=(*["sliding_attention"] * 5, "full_attention") * 3,
    ),
  ),
}


def sizes_of(path: str) -> DecoderConfig:
  """Return the sizes of a model folder, or of a known model of that name."""
  name = Path(path).name
  if name in SIZES and not Path(path).is_dir():
    return SIZES[name]
  try:
    return hugging_face.read_config(model_folder(path))
  except ValueError as error:
    raise ValueError(f"{error}, nor one of {sorted(SIZES)}") from error
