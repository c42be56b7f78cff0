"""Evaluations of finished runs at other sampling temperatures."""

import json

import numpy as np
import pytest

from entrojax.train import train
from experiments.tournament import heated, rivals, temperatures
from experiments.tournament.field import Field
from experiments.tournament.temperatures import Heated, as_lines, read_heated
from tests.helpers.kept_lines import by_name, invented
from tests.helpers.system import numbers, tiny_config

GRPO = "grpo,steps=600"
KL_COV = "kl_cov,steps=600"


@pytest.mark.slow
def test_at_its_own_temperature_a_policy_has_the_numbers_of_its_run(
  base, tmp_path, one_device, session_data
):
  del one_device, session_data
  config = tiny_config(base, num_rollout_steps=1)
  folder = tmp_path / "run"
  train(config, folder)
  last = {
    key.removeprefix("val/countdown/"): value
    for key, value in numbers(folder)[-1].items()
    if key.startswith("val/")
  }
  both = dict(temperatures.evaluate_run(folder, config, (1.0, 0.5)))
  assert both[1.0] == last
  assert both[0.5]["entropy"] < last["entropy"]
  assert config.evaluation.temperature is None


def hot(entry, temperature, pass_1, pass_64, seed=0):
  metrics = {
    "entropy": 0.2 * temperature,
    "pass@1": pass_1,
    "pass@8": 0.6,
    "pass@64": pass_64,
    "maj@64": 0.5,
  }
  return Heated("countdown", f"{entry},seed={seed}", temperature, metrics)


@pytest.fixture
def field():
  lines = by_name(
    invented(entry, seed, steps=600)
    for entry in (GRPO, KL_COV)
    for seed in (0, 1, 2)
  )
  rows = {"grpo": {600: GRPO}, "kl_cov": {600: KL_COV}}
  return Field(lines, GRPO, [GRPO], [], rows, {})


@pytest.fixture
def evaluations():
  """Return GRPO's from (0.4, 0.7) to (0.3, 0.8), and KL-Cov's beside them."""
  return [
    x
    for s in (0, 1, 2)
    for x in (
      hot(GRPO, 0.5, 0.4, 0.7, s),
      hot(GRPO, 1.5, 0.3, 0.8, s),
      hot(KL_COV, 0.5, 0.35, 0.8 + 0.001 * s, s),
      hot(KL_COV, 1.5, 0.2, 0.9, s),
    )
  ]


def test_a_policy_is_compared_with_grpo_at_the_temperature_of_equal_pass_1(
  field, evaluations
):
  text = "\n".join(heated.heated_section(field, evaluations, "countdown"))
  rows = [x.split(" | ") for x in text.splitlines() if x.startswith("| `")]
  assert [(row[0], row[1], row[2]) for row in rows] == [
    (f"| `{GRPO}`", "0.5", "3"),
    (f"| `{GRPO}`", "1.5", "3"),
    (f"| `{KL_COV}`", "0.5", "3"),
    (f"| `{KL_COV}`", "1.5", "3"),
  ]
  assert [row[-1].strip(" |") for row in rows[:2]] == ["", ""]
  # GRPO's curve has one run, at 0.4 nats, and the base, with 0.2 at 0.5 nats
  assert [row[-2] for row in rows] == ["–"] * 4
  # 0.801 - 0.75; the start of a run is no point of the curve
  assert rows[2][-1].startswith("+0.051 [") and " above" in rows[2][-1]
  assert rows[3][-1].strip(" |") == "–"  # GRPO has a pass@1 of 0.2 at none
  # nothing was evaluated of GRPO with one update on a batch
  assert "over the best of `grpo`" in text
  assert "over the best of `grpo,updates=1`" not in text


def test_a_policy_is_compared_with_grpo_with_one_update_too(field, evaluations):
  gentle = "grpo,updates=1,steps=600"
  lines = dict(field.lines) | by_name(
    invented(gentle, seed, steps=600) for seed in (0, 1, 2)
  )
  rows = {**field.long_rows, "grpo,updates=1": {600: gentle}}
  field = field._replace(lines=lines, long_rows=rows)
  evaluations += [hot(gentle, 0.5, 0.4, 0.9, s) for s in (0, 1, 2)]
  evaluations += [hot(gentle, 1.5, 0.3, 0.84, s) for s in (0, 1, 2)]
  text = "\n".join(heated.heated_section(field, evaluations, "countdown"))
  own = [
    x for x in text.splitlines() if x.startswith("| `kl_cov,steps=600` | 0")
  ]
  over_grpo, over_gentle = own[0].split(" | ")[-2:]
  assert over_grpo.startswith("+0.051 [")
  # 0.801 - 0.87, the middle of the gentler curve
  assert over_gentle.startswith("-0.069 [") and " below" in over_gentle


def test_the_most_pass_1_at_any_temperature_is_of_entries_with_all_seeds(
  field, evaluations
):
  assert heated.hottest(field, evaluations, "countdown") == (GRPO, 0.5)
  some = [
    x for x in evaluations if x.run != f"{GRPO},seed=0" or x.temperature != 0.5
  ]
  assert heated.hottest(field, some, "countdown") == (KL_COV, 0.5)
  alone = [x for x in evaluations if x.run.endswith("seed=0")]
  assert heated.hottest(field, alone, "countdown") is None


def test_the_highest_of_a_rival_s_budgets_counts(field, evaluations):
  """At 0.35 in pass@1, GRPO has 0.75 after 600 steps and 0.85 after 900."""
  longer = "grpo,steps=900"
  lines = dict(field.lines) | by_name(
    invented(longer, seed, steps=900) for seed in (0, 1, 2)
  )
  rows = {**field.long_rows, "grpo": {600: GRPO, 900: longer}}
  field = field._replace(lines=lines, long_rows=rows)
  evaluations += [hot(longer, 0.5, 0.36, 0.84, s) for s in (0, 1, 2)]
  evaluations += [hot(longer, 1.5, 0.34, 0.86, s) for s in (0, 1, 2)]
  (rival,) = rivals.rivals(field, evaluations, "countdown")
  hot_lines = as_lines(field.lines, evaluations, "countdown")
  heights = rival.heights(
    hot_lines, temperatures.hot_name(KL_COV, 0.5), ("pass@64", "pass@1")
  )
  np.testing.assert_allclose(heights, [-0.05, -0.049, -0.048])
  assert "after 600 or 900 rollout steps at any temperature" in rival.words


def test_runs_that_were_made_again_say_how_far_they_are_from_the_kept_ones(
  field, evaluations
):
  again = [hot(GRPO, 1.0, 0.3, 0.75), hot(KL_COV, 1.0, 0.29, 0.8)]
  text = "\n".join(heated.heated_section(field, again, "countdown"))
  # the kept lines have 0.4 nats, 0.3 and 0.8
  assert "up to 0.200 in entropy, 0.010 in pass@1, 0.050 in pass@64" in text
  text = "\n".join(heated.heated_section(field, evaluations, "countdown"))
  assert "made again" not in text


def test_without_grpo_s_policy_there_is_no_comparison(field, evaluations):
  own = [x for x in evaluations if x.run.startswith("kl_cov")]
  text = "\n".join(heated.heated_section(field, own, "countdown"))
  rows = [x for x in text.splitlines() if x.startswith("| `")]
  assert len(rows) == 2
  assert "over the best of" not in text


def test_evaluations_of_another_base_are_left_out(field, evaluations):
  assert not list(heated.heated_section(field, evaluations, "reasoning"))
  assert heated.draw(field, evaluations, "reasoning") == ""
  svg = heated.draw(field, evaluations, "countdown")
  assert svg.rstrip().endswith("</svg>")


def test_evaluations_of_a_run_without_a_line_are_left_out(field):
  other = [hot("nsr", 1.0, 0.3, 0.8)]
  assert not as_lines(field.lines, other, "countdown")


def test_a_damaged_line_is_named(tmp_path):
  assert read_heated(tmp_path) == []
  path = tmp_path / temperatures.FILE
  good = json.dumps(hot(GRPO, 1.0, 0.3, 0.8)._asdict())
  path.write_text(f"{good}\n{{}}\n")
  with pytest.raises(ValueError, match=r"temperatures.jsonl:2: not an eval"):
    read_heated(tmp_path)


def test_an_unknown_entry_is_refused(tmp_path):
  with pytest.raises(ValueError, match="there is no entry 'grpo,steps=7'"):
    list(
      temperatures.finished_runs(
        "countdown", tmp_path, tmp_path, ["grpo,steps=7"]
      )
    )
