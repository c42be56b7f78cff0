"""pass@k, avg@k and maj@k against brute force and the specification."""

import itertools

import numpy as np
import pytest

from entrojax.answers.agreement import agreement
from entrojax.answers.pass_at_k import pass_at_k
from entrojax.rollouts.evaluation import (
  Evaluation,
  maj_at_k,
  right_answers,
  standard_error,
  summarize,
)
from entrojax.types import Problem, Verdict


def evaluation(answers, right):
  """An evaluation whose right answers are those in `right`."""
  verdicts = [
    [Verdict(float(a in right), "", a) for a in group] for group in answers
  ]
  return Evaluation(answers, verdicts, 1.0, 0.0, 0.5)


def test_an_evaluation_has_the_mean_of_each_part_of_the_verdicts():
  verdict = lambda **parts: Verdict(0.0, "", None, parts)
  rows = [[verdict(back=1.0, form=0.5)], [verdict(back=0.5)]]
  metrics = summarize(Evaluation([["a"], ["b"]], rows, 1.0, 0.0, 0.5), "data")
  assert metrics["val/data/parts/back"] == 0.75
  assert metrics["val/data/parts/form"] == 0.25  # a missing part is 0


@pytest.mark.parametrize(
  ("n", "c", "k", "expected"),
  [
    (8, 2, 4, 0.785714),
    (8, 3, 1, 0.375),
    (4, 2, 2, 0.833333),
    (256, 3, 64, 0.579782),
    (10, 0, 5, 0.0),
    (10, 10, 1, 1.0),
    (10, 3, 8, 1.0),
  ],
)
def test_pass_at_k_of_the_specification(n, c, k, expected):
  assert pass_at_k(n, np.array([c]), k)[0] == pytest.approx(expected, abs=5e-7)


def test_pass_at_k_is_the_mean_over_all_subsets():
  n = 7
  for c in range(n + 1):
    correct = [i < c for i in range(n)]
    for k in range(1, n + 1):
      subsets = [any(s) for s in itertools.combinations(correct, k)]
      assert pass_at_k(n, np.array([c]), k)[0] == pytest.approx(
        np.mean(subsets), abs=1e-12
      )


def test_pass_at_256_does_not_overflow():
  values = pass_at_k(256, np.arange(257), 256)
  np.testing.assert_array_equal(values, [0.0] + [1.0] * 256)


@pytest.mark.parametrize("k", [0, 5])
def test_pass_at_k_needs_k_samples(k):
  with pytest.raises(ValueError, match="needs 1 <= k <= 4"):
    pass_at_k(4, np.array([1]), k)


def test_the_majority_wins_and_silence_does_not_vote():
  answers = [["1", None, "2", "2"], [None, None, None, "1"], [None] * 4]
  correct = np.array(
    [
      [a == "2" for a in answers[0]],
      [a == "1" for a in answers[1]],
      [False] * 4,
    ]
  )
  np.testing.assert_array_equal(maj_at_k(answers, correct, 4), [1, 1, 0])


def test_of_tied_answers_the_first_seen_wins():
  correct = np.array([[True, False], [False, True]])
  np.testing.assert_array_equal(
    maj_at_k([["a", "b"], ["b", "a"]], correct, 2), [1, 0]
  )


def test_of_equal_answers_the_verdict_on_the_first_counts():
  """A reward that also looks at the form may judge equal answers differently.

  Confidence and majority of the run's counts follow the same rule.
  """
  answers = [["7", "7", "7"], ["7", "7", "7"]]
  correct = np.array([[True, True, False], [False, True, True]])
  np.testing.assert_array_equal(maj_at_k(answers, correct, 3), [1, 0])
  majority = agreement(answers, correct).majority_right
  np.testing.assert_array_equal(majority, [True, False])


def test_maj_at_1_is_the_share_of_right_samples():
  """Eight problems: votes r w w w four times, and w w w w four times."""
  votes = [["r", "w1", "w2", "w3"]] * 4 + [["w0", "w1", "w2", "w3"]] * 4
  summary = summarize(evaluation(votes, {"r"}), "toy")
  assert summary["val/toy/maj@1"] == summary["val/toy/avg@4"] == 0.125
  assert summary["val/toy/pass@1"] == pytest.approx(0.125)


def test_pass_at_n_is_there_for_a_number_of_samples_that_is_no_power_of_two():
  summary = summarize(evaluation([["a", "b", "b", "b", "b", "c"]], {"a"}), "t")
  ks = [name for name in summary if "pass@" in name and "stderr" not in name]
  assert ks == ["val/t/pass@1", "val/t/pass@2", "val/t/pass@4", "val/t/pass@6"]
  assert summary["val/t/pass@6"] == 1
  assert summary["val/t/maj@6"] == 0


def test_the_bootstrap_error_is_that_of_a_mean():
  values = np.random.default_rng(1).normal(size=400)
  # a bootstrap of 1000 draws knows its error to about 2 %
  assert standard_error(values) == pytest.approx(
    values.std() / np.sqrt(400), rel=0.1
  )


def test_a_summary_has_every_power_of_two():
  summary = summarize(evaluation([["a", "b", "a", "c"]], {"a"}), "toy")
  for name, value in {
    "pass@1": 0.5,
    "pass@2": 1 - 1 / 6,
    "pass@4": 1.0,
    "maj@4": 1.0,
    "avg@4": 0.5,
    "reward": 0.5,
    "distinct_correct": 1.0,
    "entropy": 0.5,
  }.items():
    assert summary[f"val/toy/{name}"] == pytest.approx(value)
  assert summary["val/toy/pass@1_stderr"] == 0  # one prompt


def test_rewards_below_1_count_in_the_mean_reward_alone():
  verdicts = [[Verdict(x, "", None) for x in (0.75, 0.25, 1.0, 0.0)]]
  partly = evaluation([["a", "b", "c", "d"]], set())._replace(verdicts=verdicts)
  summary = summarize(partly, "toy")
  assert summary["val/toy/reward"] == 0.5
  assert summary["val/toy/pass@1"] == summary["val/toy/avg@4"] == 0.25


def test_distinct_2_is_the_mean_over_prompts_of_their_responses():
  texts = [["a b", "b a", "a b"], ["c d", "c d", "c d"]]
  share = summarize(evaluation(texts, set()), "toy")["val/toy/distinct_2"]
  assert share == pytest.approx((2 / 3 + 1 / 3) / 2)


def test_the_right_answers_to_each_prompt_are_counted():
  problems = [Problem("p", {}), Problem("q", {})]
  results = evaluation([["a", "b", "a"], ["b", "b", "b"]], {"a"})
  counts = right_answers(results, problems, "toy")
  assert counts["right"] == [2, 0]
  assert (counts["data"], counts["num_samples"]) == ("toy", 3)
  swapped = right_answers(results, problems[::-1], "toy")
  assert swapped["prompts"] != counts["prompts"]
