"""The sizes of a decoder, named as in Hugging Face's config.json."""

import dataclasses

from entrojax.models import rope as rope_lib


@dataclasses.dataclass(frozen=True)
class Gemma3:
  """What makes a Gemma 3 (arXiv 2503.19786); names as in config.json.

  Embeddings are scaled by sqrt(hidden_size); each half of a layer is
  normalised behind as well as before; a norm's weight is its distance from 1;
  the gate is a GELU.
  """

  query_pre_attn_scalar: int  # scores are divided by its root
  sliding_window: int  # tokens that a sliding layer sees, the query's included
  rope_local_base_freq: float  # theta of sliding layers
  layer_types: tuple[str, ...]  # "full_attention" or "sliding_attention"

  def __post_init__(self):
    for name in ("query_pre_attn_scalar", "sliding_window"):
      if getattr(self, name) < 1:
        raise ValueError(
          f"{name} must be at least 1, got {getattr(self, name)}"
        )
    for kind in self.layer_types:
      if kind not in _LAYER_TYPES:
        raise ValueError(f"layer_types has {kind!r}, not one of {_LAYER_TYPES}")


_LAYER_TYPES = ("full_attention", "sliding_attention")


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
  """Sizes of a decoder; field names as in Hugging Face's config.json."""

  vocab_size: int
  hidden_size: int
  intermediate_size: int
  num_hidden_layers: int
  num_attention_heads: int
  num_key_value_heads: int
  head_dim: int
  rope_theta: float = 10_000.0
  rms_norm_eps: float = 1e-6
  rope_scaling: rope_lib.Llama3Scaling | None = None
  tie_word_embeddings: bool = True
  qkv_bias: bool = False  # of the projections to queries, keys and values
  qk_norm: bool = True  # RMSNorm of each head's queries and keys
  max_position_embeddings: int = 4096  # tokens it was made for; not enforced
  gemma3: Gemma3 | None = None

  def __post_init__(self):
    kinds = self.gemma3 and self.gemma3.layer_types
    if kinds is not None and len(kinds) != self.num_hidden_layers:
      raise ValueError(
        f"layer_types has {len(kinds)} layers, num_hidden_layers is "
        f"{self.num_hidden_layers}"
      )
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if field.type is int and value < 1:
        raise ValueError(f"{field.name} must be at least 1, got {value}")
    if self.num_attention_heads % self.num_key_value_heads:
      raise ValueError(
        f"num_attention_heads = {self.num_attention_heads} is not a multiple "
        f"of num_key_value_heads = {self.num_key_value_heads}"
      )
    if self.head_dim % 2:
      raise ValueError(f"head_dim must be even for RoPE, got {self.head_dim}")
