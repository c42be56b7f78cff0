"""Metrics: sums that are divided once, and the histogram of entropies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.entropy.histogram import ENTROPY_EDGES, entropy_histogram
from entrojax.masking import finalize
from entrojax.types import Mean

BINS = len(ENTROPY_EDGES) - 1


def mean(total, count):
  return Mean(jnp.float32(total), jnp.float32(count))


def test_the_edges_are_40_rising_bins_up_to_a_large_vocabulary():
  assert BINS == 40
  assert ENTROPY_EDGES[0] == 0.0
  assert all(np.diff(ENTROPY_EDGES) > 0.05)
  assert ENTROPY_EDGES[-1] >= np.log(150_000)


def test_the_histogram_counts_as_a_loop_over_tokens_does():
  entropy = np.random.default_rng(0).exponential(1.0, (5, 64))
  entropy = entropy.astype(np.float32)
  mask = (np.random.default_rng(1).random((5, 64)) < 0.7).astype(np.float32)
  edges = np.float32(ENTROPY_EDGES)
  expected = np.zeros(BINS)
  for value, counted in zip(entropy.flat, mask.flat, strict=True):
    inside = [i for i in range(BINS) if edges[i] <= value < edges[i + 1]]
    expected[inside] += counted

  counts = jax.jit(entropy_histogram)(entropy, mask)

  assert counts.dtype == jnp.float32
  np.testing.assert_array_equal(counts, expected)


def test_values_beyond_the_edges_fall_in_the_outer_bins_and_nan_in_none():
  entropy = jnp.array([-1e-7, 0.0, 11.99, 50.0, jnp.inf, jnp.nan, jnp.nan])
  mask = jnp.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0])
  counts = entropy_histogram(entropy, mask)
  assert counts[0] == 2
  assert counts[-1] == 3
  assert counts.sum() == 5


def test_finalize_divides_each_total_by_its_count():
  values = finalize({"a": mean(3.0, 4.0), "b": mean(-1.0, 2.0)})
  assert values == {"a": 0.75, "b": -0.5}
  assert all(type(value) is float for value in values.values())


def test_finalize_gives_nan_where_nothing_was_counted():
  assert np.isnan(finalize({"a": mean(0.0, 0.0)})["a"])


def test_finalize_divides_a_list_by_its_one_count():
  metrics = {"a": Mean(jnp.array([1.0, 3.0]), jnp.float32(2.0))}
  assert finalize(metrics) == {"a": [0.5, 1.5]}


def test_finalize_names_a_metric_of_another_shape():
  with pytest.raises(ValueError, match="actor/x is not a number"):
    finalize({"actor/x": Mean(jnp.ones((2, 3)), jnp.float32(1))})
