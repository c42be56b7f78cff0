"""Name the arrays that a backward pass may keep instead of computing again.

jax.checkpoint keeps arrays by their names. Every array that is worth keeping
has one of these names:

    LAYER_INPUT  the input of each layer, f[N, D]
    LAST_OUTPUT  the output of the last layer, f[N, D]
    ATTENTION    what fused attention returns: f[N, H C], and f[N, H]
    COSTLY       every other array that costs more to compute than to keep, such
                 as the products of dense layers and the scores of attention

The setting `rematerialise` of a model decides what is kept of a micro-batch
during its own backward pass, and the setting of the micro-batches
(update/scoring.py) what is kept of all micro-batches:

    value         a layer keeps           micro-batches keep
    False         everything              LAYER_INPUT, ATTENTION, COSTLY
    "attention"   its input, ATTENTION    LAYER_INPUT, LAST_OUTPUT, ATTENTION
    "layers"      -                       LAYER_INPUT, LAST_OUTPUT
    True          its input               nothing

If both are True, an update runs the forward pass of a layer three times: for
the loss, for the inputs of all layers of a micro-batch, and for the gradient of
the layer. With "layers" or "attention" of the micro-batches it runs twice,
because the inputs of the layers are there. One micro-batch alone is not
rematerialised, so that its layers decide.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name

from entrojax.types import Array

LAYER_INPUT = "layer_input"
LAST_OUTPUT = "last_output"
ATTENTION = "attention"
COSTLY = "costly"
LAYERS = "layers"

# leaves the choice to assembly/rematerialisation.py
AUTO = "auto"
# the values of the settings, from the one that keeps most to the one that keeps
# least
OF_A_LAYER = (False, ATTENTION, True)
OF_MICROBATCHES = (False, ATTENTION, LAYERS, True)


def costly(x: Array) -> Array:
  """Name x, unchanged, as a value that is better kept than computed again."""
  return checkpoint_name(x, COSTLY)


def layer_input(x: Array) -> Array:
  """Name x, unchanged, as the input of a layer."""
  return checkpoint_name(x, LAYER_INPUT)


def last_output(x: Array) -> Array:
  """Name x, unchanged, as the output of the last layer."""
  return checkpoint_name(x, LAST_OUTPUT)


def rematerialised(
  run: Callable, value: bool | str, **options: Any
) -> Callable:
  """Return a layer whose backward pass keeps what the setting says.

  Args:
    run: the function of a layer.
    value: one of OF_A_LAYER.
    **options: passed to jax.checkpoint.
  """
  if not value:
    return run
  names = (ATTENTION,) if value == ATTENTION else ()
  policy = jax.checkpoint_policies.save_only_these_names(*names)
  return jax.checkpoint(run, policy=policy, **options)


def kept_of_microbatches(value: bool | str) -> tuple[str, ...]:
  """Return the names that are kept of all micro-batches.

  Args:
    value: one of OF_MICROBATCHES.
  """
  return {
    True: (),
    LAYERS: (LAYER_INPUT, LAST_OUTPUT),
    ATTENTION: (LAYER_INPUT, LAST_OUTPUT, ATTENTION),
    False: (LAYER_INPUT, ATTENTION, COSTLY),
  }[value]
