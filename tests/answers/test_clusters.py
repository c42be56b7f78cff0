"""Clusters: answers join the first one that matches, and stay there."""

import itertools

import numpy as np
import pytest

from entrojax.answers.clusters import Guarded, cluster, entailment_equivalence
from entrojax.answers.spelling import exact


def near(a, b):
  """Compare integers; not transitive: 1 is near 2, 2 near 3, 1 not near 3."""
  return abs(int(a) - int(b)) <= 1


def test_equal_answers_share_a_cluster_numbered_by_first_appearance():
  assert cluster(["7", "3", "7", "5", "3"], exact) == [0, 1, 0, 2, 1]
  assert cluster([], exact) == []


def test_an_answer_is_compared_with_representatives_only():
  # 3 is near 2, which is not the representative of its cluster
  assert cluster(["1", "2", "3"], near) == [0, 0, 1]


def test_an_answer_is_never_reassigned():
  # 2 is near both representatives; the code of Farquhar et al. moves it to 3
  assert cluster(["1", "3", "2"], near) == [0, 1, 0]
  assert cluster(["1", "2", "3", "2"], near) == [0, 0, 1, 0]


def test_clusters_are_those_of_a_search_through_all_representatives():
  rng = np.random.default_rng(0)
  for _ in range(50):
    answers = [str(n) for n in rng.integers(0, 8, 10)]
    firsts, expected = [], []
    for answer in answers:
      matches = [i for i, first in enumerate(firsts) if near(first, answer)]
      if not matches:
        matches = [len(firsts)]
        firsts.append(answer)
      expected.append(matches[0])
    assert cluster(answers, near) == expected


def test_no_pair_is_compared_twice_and_no_answer_with_itself():
  pairs = []

  def equivalent(a, b):
    pairs.append((a, b))
    return False

  assert cluster(["a", "b", "c"] * 3, equivalent) == [0, 1, 2] * 3
  assert pairs == list(itertools.combinations("abc", 2))


@pytest.mark.parametrize(
  ("unparsed", "expected"),
  [
    ("singleton", [0, 1, 2, 1, 3, 4]),
    ("shared", [0, 1, 2, 1, 0, 0]),
    ("drop", [-1, 0, 1, 0, -1, -1]),
  ],
)
def test_responses_without_an_answer_follow_their_rule(unparsed, expected):
  answers = [None, "4", "5", "4", None, None]
  assert cluster(answers, exact, unparsed=unparsed) == expected


def test_responses_without_an_answer_are_singletons_by_default():
  assert cluster([None] * 4, exact) == [0, 1, 2, 3]


def test_an_unknown_rule_for_responses_without_an_answer_is_refused():
  with pytest.raises(ValueError, match=r"unparsed must be one of.*got 'skip'"):
    cluster(["1"], exact, unparsed="skip")


# -- equivalences that fail ---------------------------------------------------


def broken(a, b):
  if "?" in a + b:
    raise RecursionError("too deep")
  return a == b


def test_answers_whose_comparison_raises_are_different_and_counted():
  equivalent = Guarded(broken)
  with pytest.warns(RuntimeWarning, match=r"RecursionError: too deep") as seen:
    assert cluster(["1", "?", "2", "?"], equivalent) == [0, 1, 2, 1]
  assert len(seen) == 1  # though two comparisons failed
  assert equivalent.failures == 2


def test_an_equivalence_need_not_be_guarded_by_the_caller():
  with pytest.warns(RuntimeWarning, match="could not be compared"):
    assert cluster(["1", "?"], broken) == [0, 1]


# -- entailment ---------------------------------------------------------------

E, N, C = "entailment", "neutral", "contradiction"


@pytest.mark.parametrize(
  ("forth", "back", "strict", "lenient"),
  [
    (E, E, True, True),
    (E, N, False, True),
    (N, E, False, True),
    (N, N, False, False),
    (E, C, False, False),
    (C, E, False, False),
    (N, C, False, False),
    (C, N, False, False),
    (C, C, False, False),
  ],
)
def test_two_directed_labels_make_an_equivalence(forth, back, strict, lenient):
  labels = {("a", "b"): forth, ("b", "a"): back}
  entailment = lambda premise, hypothesis: labels[premise, hypothesis]
  assert entailment_equivalence(entailment)("a", "b") == strict
  lenient_rule = entailment_equivalence(entailment, strict=False)
  assert lenient_rule("a", "b") == lenient


def test_the_question_stands_before_both_answers():
  pairs = []

  def entailment(premise, hypothesis):
    pairs.append((premise, hypothesis))
    return E

  same = entailment_equivalence(entailment, question="Capital of France?")
  assert same("Paris", "It is Paris")
  first, second = "Capital of France? Paris", "Capital of France? It is Paris"
  assert pairs == [(first, second), (second, first)]


def test_an_entailment_function_with_an_unknown_label_is_an_error():
  same = entailment_equivalence(lambda premise, hypothesis: "ENTAILMENT")
  with pytest.raises(ValueError, match=r"must return one of.*'ENTAILMENT'"):
    same("a", "b")
  with pytest.warns(RuntimeWarning, match="entailment must return"):
    assert cluster(["a", "b"], same) == [0, 1]


def test_answers_are_clustered_by_what_they_entail():
  # each answer entails the facts that it mentions
  facts = {
    "Paris": {"paris"},
    "It's Paris": {"paris"},
    "Paris, on the Seine": {"paris", "seine"},
    "Rome": {"rome"},
  }

  def entailment(premise, hypothesis):
    if facts[hypothesis] <= facts[premise]:
      return E
    return N if facts[hypothesis] & facts[premise] else C

  answers = list(facts)
  assert cluster(answers, entailment_equivalence(entailment)) == [0, 0, 1, 2]
  lenient = entailment_equivalence(entailment, strict=False)
  assert cluster(answers, lenient) == [0, 0, 0, 1]
