"""The points that curves are fitted to, and a line through the origin."""

import json
import math

import numpy as np
import pytest

from entrojax.entropy.law import fit_entropy_law, predict
from entrojax.reporting.fit_points import (
  entropy_changes,
  law_points,
  line_through_origin,
)
from entrojax.reporting.run_logs import METRICS_FILE, read_run
from tests.helpers.run_logs import STEPS, write_run


def test_the_law_is_fitted_to_the_lines_that_have_both_numbers(tmp_path):
  run = read_run("run", write_run(tmp_path / "run"))
  entropy, reward, metric = law_points(run)
  assert metric == "critic/rewards/mean"
  assert entropy.size == STEPS  # evaluation lines have neither
  law = fit_entropy_law(entropy, reward)
  np.testing.assert_allclose(predict(law, entropy), reward, atol=1e-12)


def test_five_evaluations_make_a_law_of_validation_accuracy(tmp_path):
  few = write_run(tmp_path / "few", evaluated=(0, 10, 20, 30))
  run = write_run(tmp_path / "run", evaluated=(0, 1, 10, 20, 30))
  assert law_points(read_run("few", few)).metric == "critic/rewards/mean"
  entropy, reward, metric = law_points(read_run("run", run))
  assert metric == "val/sums/pass@1"
  np.testing.assert_allclose(reward, [0.2, 0.21, 0.3, 0.4, 0.5])
  # the entropy of the same step; before the first step, the first step's
  np.testing.assert_allclose(entropy, [1.0, 1.0, 1 / 10, 1 / 20, 1 / 30])


def test_evaluations_without_entropies_leave_the_training_reward(tmp_path):
  path = write_run(tmp_path / "run", drop=("actor/",), evaluated=range(9))
  assert law_points(read_run("run", path)).reward.size == 0


def test_entropy_changes_are_between_successive_rollout_steps(tmp_path):
  rows = [
    {"rollout_step": 0, "val/sums/pass@1": 0.5},
    {"rollout_step": 1, "actor/entropy": 1.0, "predicted": -0.5},
    {"rollout_step": 2, "actor/entropy": 0.75, "predicted": -0.25},
    {"rollout_step": 2, "val/sums/pass@1": 0.5},
    {"rollout_step": 3, "actor/entropy": 0.875, "predicted": 0.125},
    {"rollout_step": 5, "actor/entropy": 0.5, "predicted": 0.25},
    {"rollout_step": 6, "actor/entropy": 0.25, "predicted": None},
    {"rollout_step": 7, "actor/entropy": 0.0},
  ]
  with (tmp_path / METRICS_FILE).open("w") as file:
    for row in rows:
      row = {"step": 2 * row["rollout_step"], **row}
      if "predicted" in row:
        row["covariance/predicted_change"] = row.pop("predicted")
      file.write(json.dumps(row) + "\n")
  predicted, measured = entropy_changes(read_run("run", tmp_path))
  # 3 has no next step; 6 has no prediction
  np.testing.assert_array_equal(predicted, [-0.5, -0.25, 0.25])
  np.testing.assert_array_equal(measured, [-0.25, 0.125, -0.25])


def test_a_line_through_the_origin_has_its_textbook_numbers():
  slope, error, correlation = line_through_origin(
    np.array([1.0, 2.0, 3.0]), np.array([2.0, 1.0, 4.0])
  )
  # x y = 16, x x = 14; residuals 6/7, -9/7, 4/7: squares 133/49
  assert slope == pytest.approx(16 / 14)
  assert error == pytest.approx(math.sqrt(133 / 49 / 2 / 14))
  # centred: x -1 0 1, y -1/3 -4/3 5/3: 2 / sqrt(2 * 42/9)
  assert correlation == pytest.approx(2 / math.sqrt(2 * 42 / 9))


@pytest.mark.parametrize(
  ("x", "y"), [([], []), ([1.0], [1.0]), ([0.0, 0.0], [1.0, 2.0])]
)
def test_a_line_through_too_little_is_nan(x, y):
  assert np.isnan(line_through_origin(np.array(x), np.array(y))).all()


def test_constant_values_have_no_correlation():
  slope, error, correlation = line_through_origin(np.ones(3), np.ones(3))
  assert (slope, error) == (1.0, 0.0)
  assert math.isnan(correlation)
