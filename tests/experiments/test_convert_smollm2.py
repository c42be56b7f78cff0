"""The names of SmolLM2's tensors, and of tensors that it has not."""

import pytest

from experiments.convert_smollm2 import name_of


@pytest.mark.parametrize(
  ("tensor", "name", "part"),
  [
    ("token_embd.weight", "model.embed_tokens.weight", ""),
    ("output_norm.weight", "model.norm.weight", ""),
    (
      "blk.12.attn_q.weight",
      "model.layers.12.self_attn.q_proj.weight",
      "attn_q",
    ),
    (
      "blk.0.ffn_down.weight",
      "model.layers.0.mlp.down_proj.weight",
      "ffn_down",
    ),
  ],
)
def test_a_tensor_gets_its_name(tensor, name, part):
  assert name_of(tensor) == (name, part)


@pytest.mark.parametrize(
  "tensor",
  # of models with an unembedding of their own, with biases, with experts
  ["output.weight", "blk.0.attn_q.bias", "blk.0.ffn_gate_inp.weight", ""],
)
def test_a_tensor_of_another_kind_of_model_is_named(tensor):
  with pytest.raises(ValueError, match=f"has the tensor {tensor}, which"):
    name_of(tensor)
