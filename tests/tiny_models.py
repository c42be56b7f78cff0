"""Random parameters for tests of models and their folders."""

import jax
import jax.numpy as jnp
import numpy as np

from entrojax.models import decoder


def random_params(sizes, seed=0):
  """Returns parameters none of which is 0 or 1, norm scales included."""
  shapes = jax.eval_shape(decoder(sizes).init, jax.random.key(0))
  leaves, structure = jax.tree.flatten(shapes)
  rng = np.random.default_rng(seed)
  return jax.tree.unflatten(
    structure,
    [
      jnp.asarray(rng.normal(0.2, 0.4, leaf.shape), jnp.float32)
      for leaf in leaves
    ],
  )
