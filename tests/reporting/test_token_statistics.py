"""Statistics of tokens against values worked out by hand."""

import numpy as np
import pytest

from entrojax.reporting.token_statistics import (
  by_position,
  candidates,
  change_by_percentile,
  entropy_curve,
  forks,
  highest,
  overlap,
  pool,
  shares_above,
)
from tests.helpers.token_logs import make_samples


def tokens(pieces, **arrays):
  return pool([make_samples(pieces, **arrays)])


def test_forks_are_sorted_by_the_entropy_that_they_carry():
  sample = forks(tokens([["a", "b", "a"], ["b", "c"]], entropy=[1, 3, 1, 1, 2]))
  # a carries 2 of 8 nats at 2 places, b 4 at 2, c 2 at 1; a is before c
  assert [(f.token, f.times) for f in sample] == [(1, 2), (0, 2), (2, 1)]
  assert [f.mean_entropy for f in sample] == [2, 1, 2]
  assert [f.share for f in sample] == [0.5, 0.25, 0.25]


def test_overlap_is_the_share_of_forks_that_the_base_has_too():
  entropy = np.arange(10.0)  # forks: 8, 9
  base = np.where(entropy == 8, 0.0, entropy)  # its forks: 7, 9
  assert overlap(
    tokens([["a"] * 10], entropy=entropy, base_entropy=base)
  ) == pytest.approx(0.5)


def test_of_equal_values_the_first_are_the_highest():
  np.testing.assert_array_equal(
    highest(np.ones(10)), [True, True, *[False] * 8]
  )


def test_shares_above_thresholds():
  sample = shares_above(tokens([["a"] * 4], entropy=[0.01, 0.05, 0.6, 3.0]))
  # thresholds 0.01, 0.1, 0.5, 1, 2; a value at a threshold is not above it
  np.testing.assert_allclose(sample, [0.75, 0.5, 0.5, 0.25, 0.25])


def test_the_change_by_percentile_follows_the_order_of_the_base():
  base = np.arange(40.0)[::-1]
  x, change = change_by_percentile(
    tokens([["a"] * 40], entropy=0.5 * base, base_entropy=base)
  )
  np.testing.assert_allclose(x, 2.5 + 5 * np.arange(20))
  np.testing.assert_allclose(change, -0.5 * (2 * np.arange(20) + 0.5))


def test_positions_count_from_one_in_each_response():
  sample = tokens([["a", "b", "c"], ["a", "b"]], entropy=[1, 2, 3, 5, 6])
  x, y = by_position(sample, sample.entropy)
  np.testing.assert_array_equal(x, [1, 2, 3])
  np.testing.assert_array_equal(y, [3, 4, 3])


def test_long_responses_are_averaged_over_bins_of_positions():
  sample = tokens([["a"] * 120], entropy=np.arange(120))
  x, y = by_position(sample, sample.entropy)  # 50 bins at most: 3 tokens each
  np.testing.assert_array_equal(x, 1 + 3 * np.arange(40))
  np.testing.assert_array_equal(y, 3 * np.arange(40) + 1)


def test_the_curve_of_entropy_begins_at_0_and_ends_at_100():
  percent, held = entropy_curve(tokens([["a"] * 4], entropy=[0, 4, 0, 4]))
  assert [held[0], held[25], held[50], held[100]] == [0, 50, 100, 100]
  assert percent[-1] == 100


def test_candidates_are_averaged_over_the_marked_tokens():
  top = np.log([[0.5, 0.25], [0.9, 0.05]])
  sample = tokens([["a", "b"]], entropy=[1, 0], top=top)
  np.testing.assert_allclose(candidates(sample), [0.7, 0.15], rtol=1e-6)
  np.testing.assert_allclose(
    candidates(sample, np.array([True, False])), [0.5, 0.25], rtol=1e-6
  )


def test_pooled_seeds_count_by_tokens():
  one = make_samples([["a", "b"]], entropy=[1, 2])
  two = make_samples([["a"]], entropy=[6])
  sample = pool([one, two])
  assert sample.entropy.mean() == 3
  np.testing.assert_array_equal(sample.position, [0, 1, 0])


def test_no_token_gives_no_number():
  sample = tokens([[]], entropy=[])
  assert forks(sample) == []
  assert np.isnan(overlap(sample))
  assert np.isnan(shares_above(sample)).all()
  assert change_by_percentile(sample)[0].size == 0
  assert np.isnan(candidates(sample)).all()
