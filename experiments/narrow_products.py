r"""Time the products of a dense layer with operands in float32 and in bfloat16.

`python -m experiments.benchmark --products` prints, for some layers, the rate
of y = x W and of the gradients of x and of W, in GFLOP/s, and how many times as
fast each is with operands in bfloat16. Both take turns in the same run. See
entrojax/models/dense.py.
"""

from collections.abc import Callable, Iterator
import functools
from typing import Any

import jax

from entrojax.models.dense import dot_general
from experiments.scale import seconds_in_turn

_PLAIN = (((1,), (0,)), ((), ()))
# (tokens, inputs, outputs) of SmolLM2-135M's layers in an update of 64 rows of
# 192 tokens, and in a decoding step of 64 rows
LAYERS = ((12_288, 576, 1536), (12_288, 1536, 576), (64, 576, 1536))

Call = Callable[[], Any]


def products(
  tokens: int, inputs: int, outputs: int, *, narrow: bool
) -> Iterator[tuple[str, Call]]:
  """Yield the three products of a layer, by name, as compiled calls.

  Args:
    tokens: rows of x.
    inputs: columns of x.
    outputs: columns of y.
    narrow: round the operands to bfloat16.
  """
  keys = jax.random.split(jax.random.key(0), 3)
  shapes = (tokens, inputs), (inputs, outputs), (tokens, outputs)
  x, kernel, g = map(jax.random.normal, keys, shapes)
  layer = functools.partial(dot_general, dimensions=_PLAIN, narrow=narrow)
  gradient = lambda which, arrays: jax.vjp(layer, *arrays)[1](g)[which]
  yield "y", functools.partial(jax.jit(layer), x, kernel)
  for which, name in enumerate(("gradient of x", "gradient of W")):
    run = jax.jit(functools.partial(gradient, which))
    yield name, functools.partial(run, (x, kernel))


def print_products(repeats: int) -> None:
  """Print the rates of all layers' products.

  Args:
    repeats: timed turns.
  """
  for tokens, inputs, outputs in LAYERS:
    print(f"{tokens} tokens, W of {inputs} x {outputs}, GFLOP/s")
    pairs = zip(
      products(tokens, inputs, outputs, narrow=False),
      products(tokens, inputs, outputs, narrow=True),
      strict=True,
    )
    work = 2e-9 * tokens * inputs * outputs
    for (name, wide), (_, narrow) in pairs:
      jax.block_until_ready((wide(), narrow()))  # compiled
      first, second, ratio = seconds_in_turn(wide, narrow, repeats)
      rates = f"float32 {work / first:5.0f}, bfloat16 {work / second:5.0f}"
      print(f"  {name:<14} {rates}: {ratio:.1f} times")
