"""Dense layers compute the plain product and gradient, in a CPU's order."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.models.dense import dot_general
from entrojax.models.fusion_barrier import compute_once
from entrojax.system.sharding import make_mesh

PLAIN = (((1,), (0,)), ((), ()))


def arrays(inputs, outputs, tokens=7):
  rng = np.random.default_rng(0)
  shapes = (tokens, inputs), (inputs, outputs), (tokens, outputs)
  return [jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes]


@pytest.mark.parametrize(("inputs", "outputs"), [(5, 3), (3, 5), (4, 4)])
def test_product_and_gradients_are_those_of_numpy(inputs, outputs):
  x, kernel, g = arrays(inputs, outputs)
  result, transpose = jax.vjp(lambda x, k: dot_general(x, k, PLAIN), x, kernel)
  expected = [x @ kernel, g @ kernel.T, x.T @ g]
  for one, other in zip([result, *transpose(g)], expected, strict=True):
    # sums of at most 7 products of numbers below 4, in float32
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


def test_two_gradients_at_once_are_those_of_each():
  x, kernel, g = arrays(6, 4)
  _, transpose = jax.vjp(lambda k: dot_general(x, k, PLAIN), kernel)
  (both,) = jax.vmap(transpose)(jnp.stack([g, 2 * g]))
  # sums of at most 7 products in float32, doubled in the second gradient
  np.testing.assert_allclose(both, [x.T @ g, 2 * x.T @ g], rtol=0, atol=2e-5)


def test_the_kernel_s_gradient_has_the_smaller_side_first():
  x, kernel, g = arrays(512, 128, tokens=64)
  transposed = jax.jit(
    lambda x, k, g: jax.vjp(lambda k: dot_general(x, k, PLAIN), k)[1](g)
  )
  graph = transposed.lower(x, kernel, g).compile().as_text()
  assert re.search(r"f32\[128,512\]\S* dot\(", graph)
  assert not re.search(r"f32\[512,128\]\S* dot\(", graph)


# a mesh, and whether the gradient of W has rounded operands on a CPU
MESHES = [
  (None, True),
  ((1, 1, 1), True),
  ((2, 4, 1), True),
  ((4, 1, 2), False),
]


@pytest.mark.parametrize(("mesh", "rounds_gradient"), MESHES)
@pytest.mark.parametrize(("inputs", "outputs"), [(48, 32), (32, 48)])
def test_narrow_operands_are_rounded_and_sums_are_not(
  inputs, outputs, mesh, rounds_gradient
):
  x, kernel, g = arrays(inputs, outputs, tokens=40)
  if mesh is not None:
    mesh = make_mesh(mesh, jax.devices()[: math.prod(mesh)])
  narrow = functools.partial(
    dot_general, dimensions=PLAIN, narrow=True, mesh=mesh
  )

  @jax.jit
  def run(x, kernel, g):
    result, transpose = jax.vjp(narrow, x, kernel)
    return result, *transpose(g)

  rounded = lambda x: np.asarray(x.astype(jnp.bfloat16), np.float64)
  a, w, b = map(rounded, (x, kernel, g))
  kernel_grad = a.T @ b if rounds_gradient else np.asarray(x.T @ g)
  results = run(x, kernel, g)
  expected = [a @ w, b @ w.T, kernel_grad]
  for one, other in zip(results, expected, strict=True):
    assert one.dtype == jnp.float32
    # sums of at most 48 products of numbers below 5, in float32; bfloat16
    # would be off by 0.02
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)
  assert np.abs(results[0] - x @ kernel).max() > 1e-3  # operands were rounded


def test_all_three_narrow_products_multiply_bfloat16():
  x, kernel, g = arrays(64, 32, tokens=128)
  narrow = functools.partial(dot_general, dimensions=PLAIN, narrow=True)

  @jax.jit
  def run(x, kernel, g):
    result, transpose = jax.vjp(narrow, x, kernel)
    return result, *transpose(g)

  text = run.lower(x, kernel, g).as_text()
  operands = re.findall(r"dot_general .*: \((.*)\) -> tensor<.*f32>", text)
  assert len(operands) == 3
  assert all(pair.count("bf16") == 2 for pair in operands)


def test_another_product_is_refused():
  x, kernel, _ = arrays(4, 4)
  with pytest.raises(ValueError, match="only a plain"):
    dot_general(x, kernel, (((1,), (1,)), ((), ())))
  with pytest.raises(ValueError, match="preferred_element_type"):
    dot_general(x, kernel, PLAIN, preferred_element_type=jnp.float32)


def test_what_many_read_is_computed_once():
  angles = jnp.arange(12.0).reshape(3, 4)

  def reads(once):
    def f(angles, x, y):
      cos = once(jnp.cos(angles))
      return x * cos[:, None], y * cos[None, :, None]

    shapes = jnp.ones((3, 9, 4)), jnp.ones((2, 3, 5, 4))
    return jax.jit(f).lower(angles, *shapes).compile().as_text()

  count = lambda text: len(re.findall(r" cosine\(", text))
  # were it 1, the compiler would need no barrier any more
  assert count(reads(lambda x: x)) == 2
  assert count(reads(compute_once)) == 1
  np.testing.assert_array_equal(compute_once(angles), angles)
