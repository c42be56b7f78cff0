"""Fifths of the tokens of a batch, by hand."""

import jax.numpy as jnp
import numpy as np

from entrojax.entropy.token_groups import entropy_fifth, position_fifth


def test_fifths_of_entropy_hold_equally_many_tokens():
  entropy = jnp.array([[3.0, 1, 4, 1.5, 5], [9, 2, 6, 5.5, 3.5]])
  mask = jnp.ones((2, 5))
  # in order: 1 1.5 | 2 3 | 3.5 4 | 5 5.5 | 6 9
  np.testing.assert_array_equal(
    entropy_fifth(entropy, mask), [[1, 0, 2, 0, 3], [4, 1, 4, 3, 2]]
  )


def test_padding_is_in_no_fifth():
  entropy = jnp.array([[5.0, 1, 2, 3, 4, jnp.nan, -1e30]])
  mask = jnp.array([[1.0, 1, 1, 1, 1, 0, 0]])
  fifths = entropy_fifth(entropy, mask)
  np.testing.assert_array_equal(fifths[0, :5], [4, 0, 1, 2, 3])


def test_fifths_of_position_are_relative_to_the_response():
  mask = jnp.array([[1.0] * 10, [1.0, 1, 1, 0, 0, 0, 0, 0, 0, 0]])
  fifths = position_fifth(mask)
  np.testing.assert_array_equal(fifths[0], np.repeat(np.arange(5), 2))
  np.testing.assert_array_equal(fifths[1, :3], [0, 1, 3])  # 0, 5/3, 10/3
