"""Runs that differ only by their seed are one variant."""

from pathlib import Path

import numpy as np
import pytest

from entrojax.reporting.run_logs import RunLog
from entrojax.reporting.variants import (
  band,
  differing_settings,
  group_runs,
  metric_band,
  running_mean,
)


def run(name, seed=0, rows=(), **config):
  settings = {"seed": seed, **config} if config else {}
  return RunLog(name, Path(name), list(rows), settings)


def names(runs):
  return {v.name: [r.name for r in v.runs] for v in group_runs(runs)}


def test_runs_that_differ_by_seed_or_by_logging_are_one_variant():
  runs = [
    run("pi-s1", 1, lr=1, log={"every": 1}),
    run("grpo-s0", 0, lr=2),
    run("pi-s0", 0, lr=1, log={"every": 9}),
  ]
  assert names(runs) == {"pi": ["pi-s0", "pi-s1"], "grpo-s0": ["grpo-s0"]}


def test_runs_on_other_meshes_are_one_variant_and_of_another_method_are_not():
  runs = [
    run("a-0", 0, mesh=[1, 1, 1], seed_grpo={"alpha": 0.1}),
    run("a-1", 1, mesh=[8, 1, 1], seed_grpo={"alpha": 0.1}),
    run("b-2", 2, mesh=[1, 1, 1], seed_grpo={"alpha": 0.2}),
  ]
  assert names(runs) == {"a": ["a-0", "a-1"], "b-2": ["b-2"]}
  assert differing_settings(group_runs(runs)) == {"seed_grpo.alpha": [0.1, 0.2]}


def test_runs_without_a_config_are_not_put_together():
  assert names([run("a-0"), run("a-1")]) == {"a-0": ["a-0"], "a-1": ["a-1"]}


def test_runs_of_equal_settings_and_seed_are_told_apart_by_their_names():
  before = [run(f"old_{seed}", seed, lr=1) for seed in range(2)]
  after = [run(f"new_{seed}", seed, lr=1) for seed in range(2)]
  again = [run("third", 0, lr=1), run("fourth", 0, lr=1)]
  assert names(before + after + again) == {
    "old": ["old_0", "old_1"],
    "new": ["new_0", "new_1"],
    "third": ["third"],
    "fourth": ["fourth"],
  }


@pytest.mark.parametrize(
  ("runs", "name"),
  [
    (("grpo,seed=10", "grpo,seed=11"), "grpo"),
    (("seed=0,lr=1", "seed=1,lr=1"), "lr=1"),
    (("runs/grpo/0", "runs/grpo/1"), "runs/grpo"),
    (("bias0", "bias1"), "bias"),
    (("lr1e-4_seed10", "lr1e-4_seed20"), "lr1e-4"),
    (("0", "1"), "0 and 1 more"),
  ],
)
def test_a_variant_is_named_by_what_its_runs_share(runs, name):
  runs = [run(text, seed, lr=1) for seed, text in enumerate(runs)]
  assert list(names(runs)) == [name]


def test_the_settings_in_which_variants_differ_are_listed():
  variants = group_runs(
    [
      run("a", 0, control={"target": 0.3}, lr=1, log={"every": 1}),
      run("b", 5, control={"target": 0.4}, lr=1),
      run("c"),
    ]
  )
  assert differing_settings(variants) == {"control.target": [0.3, 0.4, None]}


def test_a_band_is_the_mean_and_the_range_of_the_seeds_that_have_a_value():
  x = np.arange(3)
  curves = [
    (x, np.array([1.0, 2.0, np.nan])),
    (x[1:], np.array([4.0, np.nan])),
    (np.array([1, 5]), np.array([3.0, 7.0])),
  ]
  curve = band(curves)
  np.testing.assert_array_equal(curve.x, [0, 1, 5])  # none has a value at 2
  np.testing.assert_array_equal(curve.mean, [1.0, 3.0, 7.0])
  np.testing.assert_array_equal(curve.low, [1.0, 2.0, 7.0])
  np.testing.assert_array_equal(curve.high, [1.0, 4.0, 7.0])
  np.testing.assert_array_equal(curve.seeds, [1, 3, 1])


def test_a_metric_that_no_run_logged_has_an_empty_band():
  (variant,) = group_runs([run("a", rows=[{"step": 1}], lr=1)])
  assert metric_band(variant, "x").x.size == 0


def test_a_running_mean_cuts_its_window_at_the_ends_and_skips_nan():
  values = np.array([1.0, 2.0, np.nan, 6.0])
  np.testing.assert_allclose(running_mean(values, 3), [1.5, 1.5, 4.0, 6.0])
  np.testing.assert_array_equal(running_mean(values, 1), values)
  alone = running_mean(np.array([1.0, np.nan, np.nan, np.nan, 2.0]), 3)
  np.testing.assert_allclose(alone, [1.0, 1.0, np.nan, 2.0, 2.0])
