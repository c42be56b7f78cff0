"""Write tiny model folders and their logits with transformers.

    pip install torch==2.13.0 transformers==5.23.0
    python tests/goldens/parity/make_goldens.py [CASE ...]

Run it again only to add a case, because torch draws the weights. Each folder
holds what `save_pretrained` wrote, and goldens.npz with tokens i32[3, 12], mask
i32[3, 12] (0 = padding, on the left of row 1 and on the right of row 2) and
logits f32[3, 12, V].
"""

from pathlib import Path
import sys

import numpy as np
import torch
from transformers import (
  Gemma3ForCausalLM,
  Gemma3TextConfig,
  LlamaConfig,
  LlamaForCausalLM,
  Qwen2Config,
  Qwen2ForCausalLM,
  Qwen3Config,
  Qwen3ForCausalLM,
)

FOLDER = Path(__file__).parent

SIZES = {
  "vocab_size": 40,
  "hidden_size": 16,
  "intermediate_size": 24,
  "num_hidden_layers": 2,
  "num_attention_heads": 4,
  "num_key_value_heads": 2,
  "max_position_embeddings": 256,
  "rms_norm_eps": 1e-5,
  "bos_token_id": 1,
  "eos_token_id": 2,
  "pad_token_id": 0,
}
# With theta = 100 and heads of width 8 the four waves are 6, 20, 63 and 199
# tokens long. One is kept (< 64 / 4), two are interpolated, and one is
# stretched (> 64 / 1).
LLAMA3 = {
  "rope_type": "llama3",
  "rope_theta": 100.0,
  "factor": 8.0,
  "low_freq_factor": 1.0,
  "high_freq_factor": 4.0,
  "original_max_position_embeddings": 64,
}
CASES = {
  "llama3": (
    LlamaForCausalLM,
    LlamaConfig(
      **{**SIZES, "eos_token_id": [2, 5]},
      head_dim=8,
      tie_word_embeddings=False,
      rope_parameters=LLAMA3,
    ),
  ),
  "qwen2": (
    Qwen2ForCausalLM,
    Qwen2Config(
      **SIZES,
      tie_word_embeddings=True,
      rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
    ),
  ),
  "qwen3": (
    Qwen3ForCausalLM,
    Qwen3Config(
      **SIZES,
      head_dim=8,
      tie_word_embeddings=False,
      rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
    ),
  ),
  "smollm2": (
    LlamaForCausalLM,
    LlamaConfig(
      **SIZES,
      tie_word_embeddings=True,
      rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
    ),
  ),
  "gemma3": (
    Gemma3ForCausalLM,
    Gemma3TextConfig(
      **SIZES,
      head_dim=8,
      query_pre_attn_scalar=5,
      sliding_window=4,
      layer_types=["sliding_attention", "full_attention"],
      rope_parameters={
        "full_attention": {"rope_type": "default", "rope_theta": 1000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
      },
    ),
  ),
}


def make_model(name: str) -> torch.nn.Module:
  """Build a model in which no parameter is 0 or 1, not even a norm or a bias.

  The parameters of SmolLM2 are bfloat16 numbers, like its released files.
  """
  make, config = CASES[name]
  torch.manual_seed(list(CASES).index(name))
  config._attn_implementation = "eager"
  model = make(config).eval()
  with torch.no_grad():
    for parameter in model.parameters():
      parameter.normal_(0.2, 0.4)
      if name == "smollm2":
        parameter.copy_(parameter.to(torch.bfloat16))
  return model


def make_rows(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
  """Return tokens and mask of 3 rows of 12 tokens."""
  tokens = np.random.default_rng(seed).integers(40, size=(3, 12))
  mask = np.ones_like(tokens)
  mask[1, :5] = 0
  mask[2, 9:] = 0
  return tokens, mask


def logits_of(model: torch.nn.Module, tokens, mask) -> np.ndarray:
  """Compute logits f32[B, L, V]; their values at padding mean nothing."""
  positions = np.maximum(np.cumsum(mask, axis=1) - 1, 0)
  with torch.no_grad():
    return model(
      input_ids=torch.tensor(tokens),
      attention_mask=torch.tensor(mask),
      position_ids=torch.tensor(positions),
    ).logits.numpy()


def main() -> None:
  tokens, mask = make_rows()
  for name in sys.argv[1:] or CASES:
    folder = FOLDER / name
    model = make_model(name)
    folder.mkdir(exist_ok=True)
    np.savez_compressed(
      folder / "goldens.npz",
      tokens=tokens.astype(np.int32),
      mask=mask.astype(np.int32),
      logits=logits_of(model, tokens, mask),
    )
    if name == "smollm2":
      model.to(torch.bfloat16)
    model.save_pretrained(
      folder, max_shard_size="10KB" if name == "qwen2" else "1GB"
    )


if __name__ == "__main__":
  main()
