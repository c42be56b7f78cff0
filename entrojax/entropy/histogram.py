"""Count entropies in bins.

`entropy_histogram` counts the tokens of an update in 40 bins of entropy, whose
edges are ENTROPY_EDGES, in nats. As the total of a Mean, f32[40], it has the
count 1, so several updates average.
"""

import math

import chex
import jax
import jax.numpy as jnp

from entrojax.types import Array

ENTROPY_HISTOGRAM = "actor/entropy_histogram"

# The edges of 40 bins, in nats. The bins are narrow where most tokens are, and
# reach up to ln(150,000) = 11.9, the entropy of a uniform choice from a large
# vocabulary.
ENTROPY_EDGES: tuple[float, ...] = tuple(
  [round(0.1 * i, 1) for i in range(20)]
  + [round(2 + 0.2 * i, 1) for i in range(10)]
  + [round(4 + 0.8 * i, 1) for i in range(11)]
)


def entropy_histogram(entropy: Array, mask: Array) -> Array:
  """Count the tokens in each bin of `ENTROPY_EDGES`.

  Only comparisons and sums are used, one bin after the other. There is no
  scatter and no array of tokens by bins, and rows on several devices meet in
  one sum at the end.

  Args:
    entropy: f32[...], nats.
    mask: f32[...], 1 = counted.

  Returns:
    f32[bins], exact up to 2**24 tokens. The first bin holds everything below
    its upper edge, the last bin everything from its lower edge on. A NaN is
    counted in no bin.
  """
  chex.assert_equal_shape([entropy, mask])
  lower = jnp.array((-math.inf, *ENTROPY_EDGES[1:-1]), jnp.float32)
  row_counts = jax.lax.map(
    lambda edge: jnp.sum((entropy >= edge) * mask, -1, jnp.float32), lower
  )
  at_least = row_counts.sum(tuple(range(1, row_counts.ndim)))
  return at_least - jnp.append(at_least[1:], 0.0)
