"""The methods that experiments compare, and the experiments' verdicts."""

from pathlib import Path

import numpy as np
import pytest

from configs.sweeps import negative_samples
from entrojax.assembly.check_overrides import check_overrides
from entrojax.assembly.check_settings import check
from entrojax.reporting.run_logs import RunLog
from entrojax.sweeps import hyper
from entrojax.sweeps.plan import read_sweep
from experiments import domains
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


def test_the_sweep_of_domains_has_each_task_with_each_seed(tmp_path):
  base = domains.get_config()
  sweep = read_sweep("experiments/domains.py", base, {}, tmp_path / "x")
  tasks = [(u.config.task.name, u.config.task.difficulty) for u in sweep.units]
  expected = [(d.task, d.difficulty) for d in domains.DOMAINS.values()]
  assert tasks == [task for task in expected for _ in range(3)]
  assert [unit.config.seed for unit in sweep.units[:3]] == [0, 1, 2]


def test_runs_belong_to_the_domain_of_their_task():
  def run(name, level, entropies):
    config = {"task": {"name": name, "difficulty": level}}
    rows = rows_of(entropies, [0.5] * len(entropies))
    return RunLog("run", Path("run"), rows, config, ())

  runs = [
    run(domain.task, domain.difficulty, [start, start - 0.04])
    for start in (0.5, 0.7)
    for domain in reversed(domains.DOMAINS.values())
  ]
  courses = domains.courses_by_domain([*runs, run("countdown", 1, [1, 1])])
  assert list(courses) == list(domains.DOMAINS)
  for own in courses.values():
    assert [course.start for course in own] == [0.5, 0.7]
  with pytest.raises(ValueError, match="there are 1 runs on sudoku#3"):
    domains.courses_by_domain([runs[0], *runs[2:]])


def test_the_units_on_negative_samples_differ_by_beta_and_seed():
  units = negative_samples.get_hyper(hyper)
  config = negative_samples.get_config()
  assert len(units) == 9 and config.judges == ("oracle",)
  assert config.optimizer.decay_steps == config.num_rollout_steps
  betas = {u["config.negative_sample_augmentation.beta"] for u in units}
  assert betas == {1.0, 0.5, -0.5}  # 1 is BCPG, the baseline
