"""Support, difficulty and calibration against values worked out by hand."""

import itertools
import json

import numpy as np
import pytest

from entrojax import report
from entrojax.reporting.coverage import (
  by_difficulty,
  calibration,
  support,
)
from entrojax.reporting.run_logs import RightAnswers, read_run
from tests.helpers.run_logs import write_run


def counts(right, n=4, **votes):
  votes = {name: np.array(values) for name, values in votes.items()}
  return RightAnswers("sums", 0, n, "p", np.array(right), **votes)


def test_support_counts_the_problems_that_some_sample_solves():
  problems = support(counts([0, 0, 2, 4]), counts([0, 1, 0, 3]))
  assert (problems.start, problems.end) == (2, 2)
  assert (problems.gained, problems.lost) == (1, 1)


def test_chance_is_the_share_of_all_ways_to_deal_out_the_right_answers():
  n0, n1, right = 3, 4, 2  # right answers among all 7 samples
  deals = list(itertools.combinations(range(n0 + n1), right))
  gained = np.mean([all(i >= n0 for i in deal) for deal in deals])
  lost = np.mean([all(i < n0 for i in deal) for deal in deals])
  problems = support(counts([1], n0), counts([1], n1))
  assert problems.gained_by_chance == pytest.approx(gained)
  assert problems.lost_by_chance == pytest.approx(lost)


def test_a_problem_that_nobody_solves_is_not_gained_by_chance():
  problems = support(counts([0, 4]), counts([0, 4]))
  # all 8 samples right: they are never all among 4
  assert (problems.gained_by_chance, problems.lost_by_chance) == (0, 0)


def test_problems_are_sorted_by_how_often_the_base_solves_them():
  base, policy = counts([4, 3, 2, 1, 0]), counts([0, 1, 2, 3, 4])
  np.testing.assert_allclose(
    by_difficulty(base, policy, 1), [1, 0.75, 0.5, 0.25, 0]
  )


def test_fewer_problems_than_fifths_leave_fifths_without_a_value():
  shares = by_difficulty(counts([0, 1]), counts([1, 1]), 1)
  np.testing.assert_array_equal(np.isnan(shares), [False, False, *[True] * 3])


def test_calibration_compares_votes_and_accuracy_bin_by_bin():
  bins = calibration(
    [
      counts(
        [1, 1, 1],
        confidence=[0.25, 0.25, 1.0],
        majority_right=[True, False, False],
      )
    ]
  )
  np.testing.assert_allclose(bins.confidence, [0.25, 1.0])
  np.testing.assert_allclose(bins.accuracy, [0.5, 0.0])
  np.testing.assert_array_equal(bins.prompts, [2, 1])
  assert bins.error == pytest.approx((2 * 0.25 + 1 * 1.0) / 3)


def test_an_older_run_without_votes_has_no_calibration():
  assert calibration([counts([1])]) is None


def write_counts(path, rights, **more):
  lines = [
    {"step": step, "data": "sums", "num_samples": 4, "prompts": "p"}
    | {"right": right, **more}
    for step, right in rights.items()
  ]
  text = "".join(json.dumps(line) + "\n" for line in lines)
  (path / "evaluations.jsonl").write_text(text)


def test_the_report_has_the_support_of_a_run(tmp_path):
  path = write_run(tmp_path / "run")
  write_counts(path, {0: [0, 0, 2, 4], 30: [0, 1, 0, 3]})
  page = tmp_path / "r.html"
  report.write_report({"run": path}, page)
  text = page.read_text(encoding="utf-8")
  assert "Problems gained and lost: sums" in text
  # C(4, 1) / C(8, 1) + C(4, 2) / C(8, 2) = 1/2 + 6/28 = 0.71
  cells = "</td><td>".join(["4", "2", "2", "1", "1", "0.71", "0.71"])
  assert cells in text


def test_votes_of_another_length_name_the_line(tmp_path):
  path = write_run(tmp_path / "run")
  write_counts(path, {0: [0, 1]}, confidence=[0.5])
  with pytest.raises(ValueError, match=r"evaluations\.jsonl:1: not the right"):
    read_run("run", path)
