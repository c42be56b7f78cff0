"""The sizes of a decoder, under the field names of Hugging Face's config.json.

`DecoderConfig` describes every family that loads. Its fields qkv_bias, qk_norm
and gemma3 have no key in the file: they follow from the name of the
architecture. The sizes that only Gemma 3 has are in `Gemma3`, so that the other
families do not carry them.
"""

import dataclasses

from entrojax.arguments import require_at_least, require_in
from entrojax.models import rope as rope_lib

MAX_LAYERS = 1024  # more are taken for a damaged file
_MAX_SIZE = 2**31 - 1  # of any axis, a 32-bit integer
_LAYER_TYPES = ("full_attention", "sliding_attention")


@dataclasses.dataclass(frozen=True)
class Gemma3:
  """What distinguishes Gemma 3 (arXiv 2503.19786) from the other decoders.

  Embeddings are scaled by sqrt(hidden_size). The attention half and the
  feed-forward half of a layer each have a norm before and a norm after them.
  The stored weight of a norm is its scale minus 1. The gate is a GELU.
  """

  query_pre_attn_scalar: int  # scores are divided by its square root
  sliding_window: int  # tokens that a sliding layer sees, the query included
  rope_local_base_freq: float  # theta of the sliding layers
  layer_types: tuple[str, ...]  # "full_attention" or "sliding_attention"

  def __post_init__(self):
    for name in ("query_pre_attn_scalar", "sliding_window"):
      require_at_least(name, getattr(self, name), 1)
    for kind in self.layer_types:
      if kind not in _LAYER_TYPES:
        raise ValueError(f"layer_types has {kind!r}, not one of {_LAYER_TYPES}")


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
  """The sizes and the variant of a decoder."""

  vocab_size: int
  hidden_size: int
  intermediate_size: int
  num_hidden_layers: int
  num_attention_heads: int
  num_key_value_heads: int
  head_dim: int
  rope_theta: float = 10_000.0
  rms_norm_eps: float = 1e-6
  rope_scaling: rope_lib.Scaling | None = None
  tie_word_embeddings: bool = True  # unembed with the table of embeddings
  qkv_bias: bool = False  # the query, key and value projections have a bias
  qk_norm: bool = True  # RMSNorm of each head's queries and keys
  max_position_embeddings: int = 4096  # tokens it was trained for
  gemma3: Gemma3 | None = None

  @property
  def context_length(self) -> int:
    """The longest text in tokens that the rotation is made for."""
    scaling = self.rope_scaling
    if not isinstance(scaling, rope_lib.YarnScaling):
      return self.max_position_embeddings
    stretched = scaling.factor * scaling.original_max_position_embeddings
    return max(self.max_position_embeddings, int(stretched))

  def __post_init__(self):
    kinds = self.gemma3 and self.gemma3.layer_types
    if kinds is not None and len(kinds) != self.num_hidden_layers:
      raise ValueError(
        f"layer_types has {len(kinds)} layers, num_hidden_layers is "
        f"{self.num_hidden_layers}"
      )
    for field in dataclasses.fields(self):
      if field.type is int:
        most = MAX_LAYERS if field.name == "num_hidden_layers" else _MAX_SIZE
        require_at_least(field.name, getattr(self, field.name), 1)
        require_in(field.name, getattr(self, field.name), f"[1, {most}]")
    for name in ("rope_theta", "rms_norm_eps"):
      require_in(name, getattr(self, name), "(0, inf)")
    if self.num_attention_heads % self.num_key_value_heads:
      raise ValueError(
        f"num_attention_heads = {self.num_attention_heads} is not a multiple "
        f"of num_key_value_heads = {self.num_key_value_heads}"
      )
    if self.head_dim % 2:
      raise ValueError(f"head_dim must be even for RoPE, got {self.head_dim}")
