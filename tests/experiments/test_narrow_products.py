"""The products whose types of operands are compared are a dense layer's."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments import narrow_products


def test_the_three_products_are_those_of_a_layer():
  keys = jax.random.split(jax.random.key(0), 3)
  x, kernel, g = map(jax.random.normal, keys, [(7, 4), (4, 6), (7, 6)])
  expected = {
    "y": x @ kernel,
    "gradient of x": g @ kernel.T,
    "gradient of W": x.T @ g,
  }
  for narrow, error in ((False, 1e-5), (True, 0.1)):
    calls = dict(narrow_products.products(7, 4, 6, narrow=narrow))
    assert list(calls) == list(expected)
    for name, call in calls.items():
      result = call()
      assert result.dtype == jnp.float32
      # bfloat16 rounds operands below 3 by up to 0.4 %, and sums have 7 terms
      np.testing.assert_allclose(result, expected[name], rtol=0, atol=error)


def test_each_product_has_a_line(capsys, monkeypatch):
  monkeypatch.setattr(narrow_products, "LAYERS", ((7, 4, 6),))
  narrow_products.print_products(1)
  title, *lines = capsys.readouterr().out.splitlines()
  assert title == "7 tokens, W of 4 x 6, GFLOP/s"
  assert len(lines) == 3
  assert all(line.endswith(" times") for line in lines)
