"""How far answers agree, worked out by hand."""

import numpy as np
import pytest

from entrojax.answers.agreement import agreement


def of(answers, right):
  correct = np.array([[a in right for a in row] for row in answers])
  return agreement(answers, correct)


def test_confidence_is_the_share_of_the_most_frequent_answer():
  votes = of([["1", "2", "1", None]], {"1"})
  assert votes.confidence[0] == 0.5
  assert votes.majority_right[0]


def test_entropy_is_over_the_answers_that_parse():
  votes = of([["a", "a", "b", "b"], ["a", None, "a", None]], set())
  np.testing.assert_allclose(votes.entropy, [np.log(2), 0.0], atol=1e-15)


def test_of_tied_answers_the_first_counts():
  assert of([["a", "b"]], {"a"}).majority_right[0]
  assert not of([["b", "a"]], {"a"}).majority_right[0]


def test_without_any_answer_there_is_no_confidence():
  votes = of([[None, None]], {None})
  assert (votes.confidence[0], votes.entropy[0]) == (0, 0)
  assert not votes.majority_right[0]


def test_the_entropy_is_at_most_the_logarithm_of_the_samples():
  votes = of([[str(i) for i in range(8)]], set())
  assert votes.entropy[0] == pytest.approx(np.log(8))
