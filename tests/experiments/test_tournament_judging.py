"""What means with intervals over seeds decide."""

import numpy as np
import pytest

from entrojax.reporting.differences import Estimate
from experiments.tournament.judging import (
  discoveries,
  estimate_over_seeds,
  over_seeds,
  p_value,
  shrink,
)


def p_of(numbers):
  return p_value(estimate_over_seeds(numbers))


def test_an_interval_ends_at_zero_where_the_p_value_is_five_per_cent():
  own = np.array([0.1, 0.2, 0.4])
  low = over_seeds(own).low
  assert p_of(own - low) == pytest.approx(0.05, abs=1e-4)


def test_with_two_degrees_of_freedom_the_p_value_has_a_closed_form():
  own = np.array([0.3, 0.1, 0.5])
  t = own.mean() / (own.std(ddof=1) / 3**0.5)
  expected = 1 - t / (2 + t**2) ** 0.5
  assert p_of(own) == pytest.approx(expected, rel=1e-4)
  assert p_of(-own) == pytest.approx(expected, rel=1e-4)


def test_seeds_that_are_all_alike_decide():
  assert p_of([0.0, 0.0, 0.0]) == 1.0
  assert p_of([0.25, 0.25, 0.25]) == 0.0


def test_discoveries_are_those_of_the_paper():
  """Benjamini and Hochberg's example: four of fifteen remain."""
  p_values = [
    *(0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344),
    *(0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000),
  ]
  own = {f"p={p:g}": p for p in reversed(p_values)}
  assert discoveries(own) == {f"p={p:g}" for p in p_values[:4]}


def test_a_later_small_p_value_keeps_the_ones_before_it():
  own = {"a": 0.03, "b": 0.035, "c": 0.04}  # bounds 0.0167, 0.033, 0.05
  assert discoveries(own) == {"a", "b", "c"}
  assert discoveries({"a": 0.06}) == set()
  assert discoveries({}) == set()


def estimates(true_variances, seed=1, n=2):
  """Return estimates whose variances have n degrees of freedom."""
  chi2 = np.random.default_rng(seed).chisquare(n, len(true_variances))
  variances = true_variances * chi2 / n
  return {str(i): Estimate(0.1, float(v), n) for i, v in enumerate(variances)}


def test_variances_that_differ_are_shrunk_as_much_as_they_were_drawn():
  d, v = 4.0, 2e-4
  chi2 = np.random.default_rng(0).chisquare(d, 4000)
  own = estimates(v * d / chi2)
  shrunk = shrink(own)
  freedom = {x.freedom for x in shrunk.values()}
  assert len(freedom) == 1
  assert freedom.pop() - 2 == pytest.approx(d, rel=0.1)
  for name, x in own.items():
    expected = (d * v + 2 * x.variance) / (d + 2)
    assert shrunk[name].variance == pytest.approx(expected, rel=0.1)
    assert shrunk[name].mean == 0.1


def test_variances_that_are_equal_become_their_common_one():
  shrunk = shrink(estimates(np.full(500, 3e-4)))
  assert min(x.freedom for x in shrunk.values()) > 50
  assert np.std([x.variance for x in shrunk.values()]) < 3e-5
  assert shrunk["0"].variance == pytest.approx(3e-4, rel=0.1)


def test_a_variance_of_zero_and_a_few_estimates_are_left_as_they_are():
  own = estimates(np.full(10, 3e-4)) | {"twin": Estimate(0.0, 0.0, 2)}
  assert shrink(own)["twin"] == own["twin"]
  two = {name: own[name] for name in ("0", "1", "twin")}
  assert shrink(two) == two
