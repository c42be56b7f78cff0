"""The points that curves are fitted to, and a line through the origin."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from entrojax.entropy.law import fit_entropy_law, predict
from entrojax.reporting.fit_points import (
  entropy_changes,
  inapplicable,
  interventions,
  law_points,
  line_through_origin,
)
from entrojax.reporting.run_logs import METRICS_FILE, RunLog, read_run
from tests.helpers.run_logs import STEPS, write_run


def log(rows, config=None):
  """Return a run with these lines; each takes one optimizer step."""
  rows = [{"step": i, **row} for i, row in enumerate(rows)]
  return RunLog("run", Path(), rows, config or {})


def test_the_law_s_points_are_blocks_of_steps_that_obey_the_law(tmp_path):
  run = read_run("run", write_run(tmp_path / "run"))
  entropy, reward, metric, block = law_points(run)
  assert (metric, block) == ("critic/rewards/mean", 10)
  # evaluation lines have neither number; H is 1 / step
  steps = np.arange(1, STEPS + 1).reshape(3, 10)
  np.testing.assert_allclose(entropy, np.log(np.exp(1 / steps).mean(axis=1)))
  law = fit_entropy_law(entropy, reward)
  np.testing.assert_allclose(predict(law, entropy), reward, atol=1e-12)


@pytest.mark.parametrize(
  ("steps", "points", "block"),
  [(9, 0, 10), (10, 1, 10), (39, 3, 10), (600, 60, 10), (6000, 60, 100)],
)
def test_a_long_run_has_longer_blocks(steps, points, block):
  row = {"actor/entropy": 0.5, "critic/rewards/mean": 0.25}
  result = law_points(log([row] * steps))
  assert (result.reward.size, result.block) == (points, block)
  np.testing.assert_allclose(result.entropy, 0.5)
  np.testing.assert_allclose(result.reward, 0.25)


def test_eight_evaluations_make_a_law_of_validation_accuracy(tmp_path):
  few = write_run(tmp_path / "few", evaluated=range(0, 28, 4))
  run = write_run(tmp_path / "run", evaluated=range(0, 29, 4))
  assert law_points(read_run("few", few)).metric == "critic/rewards/mean"
  entropy, reward, metric, block = law_points(read_run("run", run))
  assert (metric, block) == ("val/sums/pass@1", 0)
  rate = 0.2 + 0.01 * np.arange(0, 29, 4)
  np.testing.assert_allclose(reward, rate)
  np.testing.assert_allclose(entropy, 1 - rate)  # on the same prompts


def test_a_run_without_entropies_has_no_points(tmp_path):
  path = write_run(tmp_path / "run", drop=("actor/",), evaluated=range(7))
  assert law_points(read_run("run", path)).reward.size == 0


CLIP = {"clip_low": 0.2, "clip_high": 0.2}


@pytest.mark.parametrize(
  ("config", "names"),
  [
    ({}, []),
    (
      {
        "advantage": ["grpo"],
        "objective": ["ppo_clip"],
        "ppo_clip": CLIP,
        "control": {"name": "no_control"},
        "projection": {"enabled": False},
        "offline": {"enabled": False},
      },
      [],
    ),
    (
      {"objective": ["ppo_clip"], "ppo_clip": {**CLIP, "clip_high": 0.28}},
      ["ppo_clip, by its settings"],
    ),
    (
      {
        "objective": ["dynamic_clip"],
        "dynamic_clip": {**CLIP, "low_share": 0.0, "high_share": "linear(1)"},
      },
      ["dynamic_clip, by its settings"],
    ),
    (
      {
        "objective": ["dynamic_clip"],
        "dynamic_clip": {**CLIP, "low_share": 0.0, "high_share": 0.0},
      },
      [],
    ),
    (
      {
        "objective": ["dynamic_clip"],
        "dynamic_clip": {
          **{"clip_low": 0.2, "clip_high": 0.3},
          **{"low_share": 0.0, "high_share": 0.0},
        },
      },
      ["dynamic_clip, by its settings"],
    ),
    (
      {"objective": ["kl_cov"], "kl_cov": {"fraction": 0.002}},
      ["kl_cov, by its settings"],
    ),
    ({"objective": ["kl_cov"], "kl_cov": {"fraction": 0}}, []),
    (
      {
        "objective": ["sapo"],
        "sapo": {"tau_positive": 1.0, "tau_negative": 1.05},
      },
      ["sapo, by its settings"],
    ),
    (
      {"objective": ["mine.py:own"], "own": {**CLIP, "clip_high": 0.3}},
      ["own, by its settings"],
    ),
    ({"advantage": ["grpo", "mine.py:idle"]}, []),
    (
      {
        "advantage": ["grpo", "mine.py:busy"],
        "objective": ["gspo", "kl_cov"],
        "control": {"name": "entropic_pi"},
        "projection": {"enabled": True},
        "offline": {"enabled": True},
      },
      ["entropic_pi", "busy", "kl_cov", "projection", "offline"],
    ),
  ],
)
def test_what_acts_on_the_entropy_is_named(config, names):
  row = {
    "idle/gradient_change": 0.0,
    "busy/gradient_change": 0.1,
    "kl_cov/gradient_change": 0.2,
    "ppo_clip/gradient_change": 0.2,  # a surrogate may clip
  }
  nothing = dict.fromkeys(row, math.nan)
  run = log([nothing, row, row], config)
  assert interventions(run) == names
  assert len(inapplicable(run)) == bool(names)


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
