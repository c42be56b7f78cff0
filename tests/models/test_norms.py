"""RMSNorm has the values and the gradients of its formula."""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.models.norms import Norm, rms_norm
from tests.helpers.tiny_models import GEMMA3

pytestmark = pytest.mark.slow


def written_out(x, scale, epsilon):
  normaliser = jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True) + epsilon)
  return jnp.einsum("...c,c->...c", x / normaliser, scale)


def arrays(*shape, seed=0):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.normal(size=shape)), jnp.asarray(rng.normal(size=6))


@pytest.mark.parametrize("rows", [(5,), (4, 3, 2)])
def test_values_and_gradients_are_those_of_the_formula(rows, float64):
  x, scale = arrays(*rows, 6)
  g, _ = arrays(*rows, 6, seed=1)
  result, transpose = jax.vjp(lambda *a: rms_norm(*a, 1e-3), x, scale)
  expected, plain = jax.vjp(lambda *a: written_out(*a, 1e-3), x, scale)
  jax.tree.map(
    # float64 sums in another order
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12),
    (result, transpose(g)),
    (expected, plain(g)),
  )


def test_a_row_of_zeros_has_finite_gradients():
  gradients = jax.grad(lambda x, s: jnp.sum(rms_norm(x, s, 1e-6)), (0, 1))(
    jnp.zeros((2, 6)), jnp.ones(6)
  )
  assert all(jnp.all(jnp.isfinite(g)) for g in gradients)


@pytest.mark.parametrize("gemma3", [None, GEMMA3])
def test_a_new_norm_is_flax_s(sizes, gemma3):
  norm = Norm(6, dataclasses.replace(sizes, gemma3=gemma3), jnp.float32)
  x = arrays(5, 6)[0].astype(jnp.float32)
  expected = nnx.RMSNorm(6, epsilon=sizes.rms_norm_eps, rngs=nnx.Rngs(0))(x)
  # float32 sums of 6 squares in another order
  np.testing.assert_allclose(norm(x), expected, rtol=1e-6)


def test_bfloat16_is_computed_in_float32(sizes):
  x = arrays(5, 6)[0].astype(jnp.bfloat16)
  wide = Norm(6, sizes, jnp.float32)(x.astype(jnp.float32))
  result = Norm(6, sizes, jnp.bfloat16)(x)
  assert result.dtype == jnp.bfloat16
  np.testing.assert_array_equal(result, wide.astype(jnp.bfloat16))
