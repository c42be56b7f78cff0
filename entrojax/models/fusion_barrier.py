"""Stop XLA:CPU from recomputing a cheap array in every consumer.

XLA fuses cheap arithmetic into every operation that reads it, and computes it
again there: once for each layer and each head. To XLA, cosines and comparisons
are cheap. It does not do this with the operand of a gather, so the barrier is a
gather that copies every element to its own place. Other platforms need none.
"""

import jax
import jax.numpy as jnp

from entrojax.types import Array


def compute_once(x: Array) -> Array:
  """Return x unchanged, computed only once on a CPU."""
  return jax.lax.platform_dependent(x, cpu=_gather_all, default=lambda x: x)


def _gather_all(x: Array) -> Array:
  # along the last axis, which no mesh splits
  everything = jnp.arange(x.shape[-1])
  return jnp.take(x, everything, axis=-1, mode="clip")
