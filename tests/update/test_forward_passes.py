"""How often a layer is computed in the gradient of micro-batches.

The matrix products of the traced gradient are counted; nothing is compiled.
"""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from entrojax.models import decoder
from entrojax.update.scoring import score_in_microbatches
from experiments import hlo
from tests.helpers.system import SIZES


def flops(layers, microbatches, *, depth, scan=True):
  """Count the FLOPs of a gradient of 4 micro-batches.

  Args:
    layers: what a layer keeps.
    microbatches: what all micro-batches keep.
    depth: number of layers.
    scan: whether layers run in a loop.
  """
  sizes = dataclasses.replace(SIZES, num_hidden_layers=depth)
  model = decoder(sizes, scan_layers=scan, rematerialise=layers)
  tokens = jax.ShapeDtypeStruct((16, 24), jnp.int32)

  def total(params, tokens, positions):
    log_probs, entropy = score_in_microbatches(
      model,
      params,
      tokens,
      positions,
      response_length=16,
      group_size=4,
      temperature=1.0,
      num_microbatches=4,
      rematerialise=microbatches,
    )
    return jnp.sum(log_probs) + jnp.sum(entropy)

  params = jax.eval_shape(model.init, jax.random.key(0))
  return hlo.flops(
    jax.make_jaxpr(jax.grad(total))(params, tokens, tokens)
  ).total


def of_a_layer(layers, microbatches, **options):
  """Count the FLOPs of one layer, without embedding and unembedding."""
  return sum(
    sign * flops(layers, microbatches, depth=depth, **options)
    for sign, depth in ((1, 3), (-1, 2))
  )


@pytest.mark.parametrize("scan", [True, False])
def test_kept_layer_inputs_save_a_forward_pass(scan):
  once = of_a_layer(False, False, scan=scan)
  forward = once / 3  # a backward pass has twice the products
  passes = lambda *kept: 1 + (of_a_layer(*kept, scan=scan) - once) / forward
  assert passes(False, True) == 2
  # the last product of a layer is not needed for the layer's gradient
  down = 2 * SIZES.hidden_size * SIZES.intermediate_size
  down *= 4 * 4 * (24 - 16) // 4 + 4 * 4 * 15  # prompts once, responses
  again = 1 - down / forward
  assert passes(True, "layers") == pytest.approx(1 + again)
  assert passes(True, "attention") == passes(True, "layers")  # it is not fused
  assert passes(True, True) == pytest.approx(2 + again)
