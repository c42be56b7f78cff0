"""The methods that experiments compare, and the experiments' verdicts."""

import numpy as np
import pytest

from entrojax.assembly.check_methods import check_overrides
from entrojax.assembly.check_settings import check
from experiments import domains, negative_samples
from experiments.directions import mean_and_error, verdict
from experiments.methods import (
  METHODS,
  method_config,
  select_methods,
)


@pytest.mark.filterwarnings("ignore:training.updates_per_rollout")
@pytest.mark.parametrize("name", METHODS)
def test_the_overrides_of_a_method_are_settings_that_act(name):
  method, config = METHODS[name], method_config(name)
  before = config.to_json()
  config.update_from_flattened_dict(dict(method.overrides))
  check(config)
  check_overrides(config, method.overrides)
  assert (config.to_json() != before) == bool(method.overrides)
  assert method.direction in (-1, 0, 1)
  assert method.why or (method.direction != 0 and not method.overrides)


def test_no_name_means_all_methods_and_an_unknown_one_names_the_nearest():
  assert select_methods([]) == METHODS
  assert list(select_methods(["steer"])) == ["steer"]
  with pytest.raises(ValueError, match="did you mean 'kl_cov'"):
    select_methods(["kl_cof"])


@pytest.mark.parametrize(
  ("mean", "error", "direction", "result"),
  [
    (3.0, 1.0, 1, "as claimed"),
    (-3.0, 1.0, 1, "OPPOSITE"),
    (-3.0, 1.0, -1, "as claimed"),
    (1.9, 1.0, 1, "no difference seen"),
    (0.0, 0.0, 1, "no difference seen"),
    (9.0, 1.0, 0, "no claim"),
  ],
)
def test_a_verdict_takes_sign_and_error(mean, error, direction, result):
  assert verdict(mean, error, direction) == result


def test_differences_are_in_thousandths_with_the_error_of_their_mean():
  mean, error = mean_and_error(np.array([0.001, 0.003, 0.005]))
  # deviation 2e-3 (ddof 1) over the root of 3
  np.testing.assert_allclose((mean, error), (3.0, 2 / np.sqrt(3)), rtol=1e-12)


def rows_of(entropies, rewards):
  return [
    {"step": 4 * (i + 1), "actor/entropy": e, "critic/rewards/mean": r}
    for i, (e, r) in enumerate(zip(entropies, rewards, strict=True))
  ]


def test_a_course_is_a_line_through_the_entropies_of_the_updates():
  rows = rows_of([0.5, 0.46, 0.42, 0.38, 0.34], [0.1, 0.2, 0.3, 0.4, 0.5])
  course = domains.course_of([{"step": 0, "val/x/pass@1": 0.1}, *rows])
  # 0.04 nats in 4 updates
  assert course == pytest.approx((0.5, 0.01, 0.02, 0.1, 0.5))


def test_kinds_are_apart_if_all_their_tasks_are_in_one_direction():
  low, high = np.array([1.0, 1.1, 0.9]), np.array([2.0, 2.1, 1.9])
  math = ("arithmetic_chain#2", "arithmetic_chain#3")
  puzzle = ("sudoku#3", "knights_and_knaves#1")
  apart = dict.fromkeys(math, high) | dict.fromkeys(puzzle, low)
  assert domains.verdict(apart, "x") == "x: higher in every math-like task"
  mixed = {**apart, "sudoku#3": high}
  assert domains.verdict(mixed, "x") == "x: does not separate the kinds"
  assert set(domains.DOMAINS) == {*math, *puzzle}


@pytest.mark.parametrize(
  ("gaps", "result"),
  [
    ([0.01, 0.012, 0.011], "beats BCPG"),
    ([-0.01, -0.012, -0.011], "LOSES TO BCPG"),
    ([0.03, -0.01, 0.0], "no difference seen"),
    ([0.0, 0.0, 0.0], "no difference seen"),
    ([0.5], "no difference seen"),  # one seed has no error
  ],
)
def test_negative_samples_takes_its_verdict_from_paired_differences(
  gaps, result
):
  assert negative_samples.verdict(gaps) == result


def test_the_table_of_negative_samples_compares_within_each_seed():
  def run(accuracy):
    ends = {"pass@1": accuracy, "pass@4": 0.5, "pass@16": 0.6, "entropy": 0.2}
    return [{**ends, "pass@1": 0.1}, ends]

  seeds = [
    {1.0: run(a), 0.5: run(a + gap)} for a, gap in ((0.2, 0.03), (0.6, 0.01))
  ]
  lines = negative_samples.format_table(seeds)
  # 0.2 and 0.6: mean 0.4, deviation 0.283 over the root of 2
  assert lines[2].startswith("BCPG ") and "0.4000 ± 0.2000" in lines[2]
  assert "+0.0300 +0.0100; mean +0.0200 ± 0.0100: beats BCPG" in lines[-1]
