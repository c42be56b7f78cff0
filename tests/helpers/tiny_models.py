"""Sizes and random parameters of tiny models."""

import jax
import jax.numpy as jnp
import numpy as np

from entrojax.models import decoder
from entrojax.models.sizes import Gemma3

# for 2 layers with heads of width 8
GEMMA3 = Gemma3(
  query_pre_attn_scalar=8,
  sliding_window=3,
  rope_local_base_freq=1e4,
  layer_types=("sliding_attention", "full_attention"),
)


def random_params(sizes, seed=0):
  """Draw parameters; none is exactly 0 or 1, not even a norm's scale."""
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
