"""The tournament: its plan, kept lines, statistics and page, without runs."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal

import numpy as np
import pytest

import configs
from entrojax.reporting.run_logs import read_run
from entrojax.sweeps.estimate import Timing
from entrojax.sweeps.plan import Checked
from entrojax.sweeps.unit_runs import (
  FAILED,
  FINISHED,
  INTERRUPTED,
  STOPPED,
  Outcome,
)
from experiments.tournament import entries, measures, plan, runner, tables
from experiments.tournament.curve import Curve
from experiments.tournament.entries import Entry, Run
from experiments.tournament.field import Field
from experiments.tournament.judging import over_seeds
from experiments.tournament.lines import (
  append_line,
  course,
  line_of,
  part_lengths,
  read_lines,
)
from experiments.tournament.measures import difference
from experiments.tournament.rule import BASES, QUICK, SEEDS
from tests.helpers.kept_lines import PROMPTS, by_name, curve, invented
from tests.helpers.paths import ROOT
from tests.helpers.run_logs import write_noisy_run

# -- the plan -----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
  ("base", "least"), [("countdown", 36), ("reasoning", 12)]
)
def test_all_runs_differ_and_end_with_their_schedule(
  base, least, tmp_path, monkeypatch
):
  monkeypatch.chdir(ROOT)
  all_entries = entries.entries(base)
  assert len({entry.name for entry in all_entries}) == len(all_entries)
  assert sum(len(entry.seeds) >= 3 for entry in all_entries) >= least
  # reading refuses two equal runs; one seed of each entry is enough
  own = [Run(entry, 0) for entry in all_entries]
  monkeypatch.setattr(entries, "runs", lambda base: own)
  monkeypatch.setattr(runner, "runs", lambda base: own)
  tournament = runner.read_tournament(base, tmp_path, tmp_path)
  for place, run in enumerate(tournament.runs):
    config = tournament.config(place)
    steps = config.num_rollout_steps
    assert steps == run.entry.steps
    assert config.optimizer.decay_steps == (
      steps * config.training.updates_per_rollout
    )


def test_every_method_but_the_offline_ones_takes_part():
  methods = {entry.method for entry in entries.entries("countdown")}
  assert set(configs.methods()) - methods == {"bcpg", "bcpg_nsa"}


def test_all_entries_come_with_a_seed_before_any_comes_with_the_next():
  everything = entries.runs("countdown")
  own = [run for run in everything if run.seed in SEEDS]
  assert everything[: len(own)] == own
  more = [run.seed for run in everything[len(own) :]]
  assert {*more} == {*BASES["countdown"].more_seeds}
  assert more == sorted(more)
  late = {"long": 1, "rate": 1, "strength": 2}
  seeds = [run.seed for run in own if run.entry.role not in late]
  assert seeds == sorted(seeds)
  places = [late.get(run.entry.role, 0) for run in own]
  assert places == sorted(places)
  budgets = len(BASES["countdown"].budgets)
  assert all(run.entry.role == "budget" for run in own[:budgets])


def test_entries_that_end_alike_for_each_seed_are_twins():
  lines = by_name(
    invented(name, seed, height=0.3 + 0.1 * (name == "c" and seed))
    for name in "abc"
    for seed in (0, 1)
  )
  assert [*measures.twins(lines, ["a", "b", "c", "not run"])] == [["a", "b"]]


@pytest.mark.parametrize("base", BASES)
def test_each_long_run_has_a_run_of_grpo_and_a_short_one_beside_it(base):
  names = {entry.name: entry for entry in entries.entries(base)}
  rows = entries.long_rows(base)
  place = BASES[base]
  longer = [n for n in place.budgets if n > place.steps]
  assert [*rows["grpo"]] == sorted({place.steps, *longer, *place.long})
  for budgets in rows.values():
    assert budgets.keys() <= rows["grpo"].keys()
    assert [names[name].steps for name in budgets.values()] == [*budgets]


def test_a_falling_target_falls_until_the_end_of_every_budget():
  targets = {
    entry.steps: entry.settings["control.target"]
    for entry in entries.entries("countdown")
    if entry.name.startswith("entropic,falling")
  }
  assert targets == {
    200: "linear(0.5, 0.2, 800)",
    600: "linear(0.5, 0.2, 2400)",
  }


def test_the_first_budget_at_which_grpo_is_overtaken_is_found():
  rows = {
    "grpo": {1: "grpo,steps=1", 2: "grpo,steps=2"},
    "slow": {1: "slow", 2: "slow,steps=2"},
    "low": {1: "low", 2: "low,steps=2"},
  }
  heights = {
    **{"grpo,steps=1": 0.3, "grpo,steps=2": 0.4},
    **{"slow": 0.2, "slow,steps=2": 0.5, "low": 0.1, "low,steps=2": 0.2},
  }
  lines = by_name(
    invented(name, seed, height=height)
    for name, height in heights.items()
    for seed in (0, 1, 2)
  )
  field = Field(lines, "grpo,steps=1", ["grpo,steps=1"], [], rows, {})
  names = ("slow", "low", "slow,steps=2", "low,steps=2")
  assert [field.overtakes(name) for name in names] == [
    False,
    False,
    True,
    False,
  ]
  text = [*tables.long_table(field)]
  assert "| `slow` | 2 | 3 |" in text[5]
  assert "+0.094" in text[5]  # 32 and 26 of 64 samples are right
  assert text[5].count(" more") == 1
  assert "| +0.000 [+0.000, +0.000] |" in text[5]  # maj@64 is the same


def test_one_pair_of_runs_has_no_interval_and_no_word():
  rows = {
    "grpo": {1: "grpo,steps=1", 2: "grpo,steps=2"},
    "slow": {1: "slow", 2: "slow,steps=2"},
  }
  lines = by_name(
    [
      *(invented("slow,steps=2", seed, height=0.5) for seed in (0, 1, 2)),
      invented("grpo,steps=2", height=0.4),
    ]
  )
  field = Field(lines, "grpo,steps=1", ["grpo,steps=1"], [], rows, {})
  assert not field.overtakes("slow,steps=2")
  text = "\n".join(tables.long_table(field))
  assert "| +0.094 | +0.000 |" in text


def test_quick_is_eight_methods_with_two_seeds_at_the_common_budget():
  own = entries.runs("countdown")
  quick = [run for run in own if entries.is_quick(run, "countdown")]
  assert len(quick) == 16
  assert {run.entry.method for run in quick} == set(QUICK)
  assert {run.entry.steps for run in quick} == {200}


def test_a_base_of_unknown_entropy_is_refused_because_of_its_targets(
  monkeypatch,
):
  unknown = BASES["reasoning"]._replace(entropy=None)
  monkeypatch.setitem(BASES, "reasoning", unknown)
  with pytest.raises(ValueError, match="entropy of the base of reasoning"):
    entries._targets("entropic", "reasoning")


def test_a_target_keeps_its_share_of_another_base(monkeypatch):
  other = BASES["reasoning"]._replace(entropy=1.0)
  monkeypatch.setitem(BASES, "reasoning", other)
  assert entries._targets("stare", "reasoning") == {"stare.target": 0.59}
  assert entries._targets("stare", "countdown") == {}


def test_runs_with_kept_lines_are_skipped():
  own = [
    Run(Entry(name, "grpo", 200), seed) for name in "ab" for seed in (0, 1)
  ]
  lines = by_name([invented("a", 1)])
  assert plan.missing(own, lines, "countdown") == [0, 2, 3]
  assert plan.missing(own, lines, "countdown", names=["a"]) == [0]
  with pytest.raises(ValueError, match="no entry c"):
    plan.missing(own, lines, "countdown", names=["c"])


def test_rounds_have_one_seed_each():
  own = [
    Run(Entry(name, "grpo", 200), seed) for seed in (0, 1) for name in "ab"
  ]
  own.append(Run(Entry("c", "grpo", 200, role="strength"), 0))
  assert runner.rounds(own) == [[0, 1], [2, 3], [4]]


# -- kept lines ---------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
  """Return the record's folder, a run's settings and its kept line."""
  folder = tmp_path_factory.mktemp("results")
  base = configs.load_testbed("countdown").get_config("demo")
  plan.record_settings("countdown", base, folder)
  config = configs.combine("kl_cov", "countdown", "demo")
  own = plan.settings_beside(plan.read_recorded("countdown", folder), config)
  return folder, config, invented(settings=own)


def changed(kept, **sections):
  folder, config, line = kept
  config = config.copy_and_resolve_references()
  config.update(sections)
  return plan.changes(line, plan.read_recorded("countdown", folder), config)


def test_a_line_has_what_differs_from_the_recorded_settings(kept):
  assert kept[2].settings["objective"] == ["kl_cov"]
  assert kept[2].settings["kl_cov.fraction"] == 0.02
  assert "optimizer.learning_rate" not in kept[2].settings


@pytest.mark.parametrize(
  ("sections", "text"),
  [
    ({"kl_cov": {"fraction": 0.1}}, "kl_cov.fraction was 0.02, is 0.1"),
    (
      {"optimizer": {"learning_rate": 1e-3}},
      "optimizer.learning_rate was 0.00016, is 0.001",
    ),
  ],
)
def test_a_line_with_other_settings_is_refused(kept, sections, text):
  assert changed(kept, **sections) == [text]
  folder, config, line = kept
  config = config.copy_and_resolve_references()
  config.update(sections)
  run = Run(Entry("kl_cov", "kl_cov", 200), 0)
  with pytest.raises(ValueError, match=text):
    plan.check_lines(
      [run],
      {run.name: config},
      {run.name: line},
      plan.read_recorded("countdown", folder),
      folder,
    )


@pytest.mark.parametrize(
  "sections",
  [
    {"clip_cov": {"fraction": 0.5}},  # the method is not in the run
    {"projection": {"gain": 0.5}},  # it is off
    {"checkpoint": {"every": 7}, "log": {"every": 7}},
  ],
)
def test_settings_that_do_nothing_leave_a_line_valid(kept, sections):
  assert changed(kept, **sections) == []


def test_a_line_survives_the_file(tmp_path):
  line = invented()
  append_line(tmp_path / "x.jsonl", line)
  append_line(tmp_path / "x.jsonl", invented(seed=1))
  lines = read_lines(tmp_path / "x.jsonl")
  assert list(lines) == ["kl_cov,seed=0", "kl_cov,seed=1"]
  assert lines["kl_cov,seed=0"] == line
  assert lines["kl_cov,seed=0"].counts().tolist() == [19] * PROMPTS


@pytest.mark.parametrize(
  ("text", "message"),
  [("{", "x.jsonl:1: not the line"), ('{"name": "a"}', "x.jsonl:1: not the")],
)
def test_a_damaged_line_is_named(tmp_path, text, message):
  (tmp_path / "x.jsonl").write_text(text + "\n")
  with pytest.raises(ValueError, match=message):
    read_lines(tmp_path / "x.jsonl")


def test_two_lines_of_one_run_are_refused(tmp_path):
  for _ in range(2):
    append_line(tmp_path / "x.jsonl", invented())
  with pytest.raises(ValueError, match="second line of kl_cov,seed=0"):
    read_lines(tmp_path / "x.jsonl")


def test_a_run_directory_becomes_a_line(tmp_path):
  write_noisy_run(tmp_path / "run", "kl_cov", 1, steps=12)
  log = read_run("x", tmp_path / "run")
  line = line_of(Run(Entry("kl_cov", "kl_cov", 12), 1), log, {})
  first, last = log.rows[0], log.rows[-1]
  assert line.start["pass@1"] == pytest.approx(
    first["val/sums/pass@1"], rel=1e-4
  )
  assert line.end["entropy"] == pytest.approx(
    last["val/sums/entropy"], rel=1e-4
  )
  assert line.counts().tolist() == log.right_answers[-1].right.tolist()
  assert len(line.course["actor/entropy"]) == 12
  assert len(line.course["actor/ppo_kl"]) == 6  # two of twelve are averaged
  json.dumps(line._asdict(), allow_nan=False)


def test_a_run_without_its_last_evaluation_has_no_line(tmp_path):
  write_noisy_run(tmp_path / "run", "kl_cov", 1, steps=12)
  log = read_run("x", tmp_path / "run")
  val = lambda row: any(key.startswith("val/") for key in row)
  assert val(log.rows[-1])
  *rows, last = log.rows
  trained = {k: v for k, v in last.items() if not k.startswith("val/")}
  owed = dataclasses.replace(log, rows=[*rows, trained])
  run = Run(Entry("kl_cov", "kl_cov", 12), 1)
  with pytest.raises(ValueError, match="no evaluation after its last step"):
    line_of(run, owed, {})


# -- the curve ----------------------------------------------------------------


def grpo_curve(lines, measure="pass@1", along="entropy"):
  budgets = ["grpo,steps=200", "grpo,steps=600"]
  return Curve(by_name(lines), budgets, measure, along)


@pytest.mark.parametrize(
  ("entropy", "expected"),
  [(0.35, 0.3 - 0.275), (0.45, 0.3 - 0.225), (0.3, 0.0)],
)
def test_the_distance_is_the_height_above_grpos_curve(entropy, expected):
  line = invented(entropy=entropy, height=0.3)
  assert grpo_curve([*curve(), line]).height(line) == pytest.approx(expected)


@pytest.mark.parametrize("entropy", [0.29, 0.51])
def test_beyond_the_ends_of_the_curve_there_is_no_distance(entropy):
  line = invented(entropy=entropy)
  assert np.isnan(grpo_curve([*curve(), line]).height(line))


def test_a_height_at_equal_pass_1_is_measured_over_pass_1():
  """GRPO has pass@64 of 0.8 at 0.25 and 0.3; the base has 0.9 at 0.2."""
  line = invented("kl_cov", 0, 0.9, 0.225)  # its pass@64 is 0.8
  own = grpo_curve([*curve(), line], "pass@64", "pass@1")
  assert own.height(line) == pytest.approx(0.8 - 0.85)
  assert np.isnan(grpo_curve([*curve(), line], "pass@64").height(line))


def test_points_that_are_near_each_other_are_one():
  """Of two runs at 0.3 and 0.302 nats, neither is the curve's end."""
  twin = invented("grpo,steps=400", entropy=0.302, height=0.2)
  lines = [*curve(), twin, invented("grpo,steps=25", entropy=None)]
  own = Curve(by_name(lines), [l.entry for l in lines], "pass@1")
  x, y = own.points(0)
  np.testing.assert_allclose(x, [0.301, 0.4, 0.5])
  np.testing.assert_allclose(y, [0.25, 0.25, 0.2])


def test_a_course_has_equal_parts_and_older_ones_say_how_long_theirs_are():
  rows = [{"actor/entropy": float(i), "actor/ppo_kl": 1.0} for i in range(80)]
  own = course(rows)
  assert own["actor/entropy"] == [2 * i + 0.5 for i in range(40)]
  assert own["actor/ppo_kl"] == [1.0] * 10
  line = invented(steps=10, course={"m": [3.0, 6.0, None, 1.0]})
  np.testing.assert_array_equal(part_lengths(line, "m"), [3, 3, 2, 2])


def test_the_curve_is_of_the_runs_own_seed():
  line = invented(seed=1)
  assert np.isnan(grpo_curve([*curve(0), line]).height(line))


def test_a_seed_that_a_budget_lacks_has_no_height():
  runs = {seed: invented(seed=seed, entropy=0.35) for seed in (0, 1)}
  lines = [*curve(0), *curve(1)]
  assert grpo_curve(lines).heights(runs).shape == (2,)
  lines = [line for line in lines if line.name != "grpo,steps=600,seed=1"]
  assert grpo_curve(lines).heights(runs).shape == (1,)


def test_the_interval_over_three_seeds_is_students():
  # the quantile of two degrees of freedom is 4.303
  mean, low, high = over_seeds([1.0, 2.0, 3.0])
  assert (mean, high - mean) == pytest.approx((2.0, 4.303 / 3**0.5), rel=1e-3)
  assert mean - low == pytest.approx(high - mean)
  assert over_seeds([1.0, float("nan")]) is None


def test_entries_are_paired_by_seed_and_refused_on_other_prompts():
  own = {s: invented(seed=s, height=0.5) for s in (0, 1)}
  other = {s: invented("grpo,steps=200", s, height=0.25) for s in (1, 2)}
  assert difference(own, other, 1).mean == pytest.approx(0.25)
  assert difference(own, {2: other[2]}, 1) is None
  other[1].right["prompts"] = "others"
  with pytest.raises(ValueError, match="different prompts"):
    difference(own, other, 1)


# -- the runner ---------------------------------------------------------------


@pytest.fixture
def tournament(tmp_path, monkeypatch):
  """Return read() of a tournament of three runs in a temporary folder."""
  monkeypatch.chdir(ROOT)
  settings = {"num_rollout_steps": 12}
  own = [
    Run(Entry("grpo,steps=12", "grpo", 12, settings), 0),
    Run(Entry("kl_cov", "kl_cov", 12, settings), 0),
    Run(Entry("kl_cov", "kl_cov", 12, settings), 1),
  ]
  monkeypatch.setattr(entries, "runs", lambda base: own)
  monkeypatch.setattr(runner, "runs", lambda base: own)
  monkeypatch.setattr(
    runner, "check_units", lambda checks: Checked([None] * len(checks), [])
  )
  return lambda: runner.read_tournament(
    "countdown", tmp_path / "runs", tmp_path / "results"
  )


REASONS = {FAILED: "no memory", STOPPED: "alarm idle: nothing is learned"}


def ends(monkeypatch, **outcomes):
  """Let units end so, by the words of their directories' names."""
  begun = []

  def run_unit(task):
    name = task.folder.name
    begun.append(name)
    end = next((o for word, o in outcomes.items() if word in name), FINISHED)
    if end == FINISHED:
      write_noisy_run(task.folder, "kl_cov", task.config.seed, steps=12)
    return Outcome(end, REASONS.get(end, ""))

  monkeypatch.setattr(runner, "run_unit", run_unit)
  return begun


def make(tournament):
  places, _ = runner.choose(tournament)
  return runner.make_runs(tournament, places, jobs=1, minutes=None)


def test_a_line_is_kept_for_each_finished_run_and_the_next_call_skips_it(
  tournament, tmp_path, monkeypatch
):
  ends(monkeypatch, kl_cov=INTERRUPTED)
  assert make(tournament()) == (1, [], False)
  shutil.rmtree(tmp_path / "runs")  # another machine has no run directories
  begun = ends(monkeypatch)
  again = tournament()
  assert list(again.lines) == ["grpo,steps=12,seed=0"]
  assert make(again) == (2, [], True)
  assert len(begun) == 2
  assert runner.choose(tournament()) == ([], [])


def test_a_dry_run_adds_up_the_time_of_what_is_missing(tournament, monkeypatch):
  # 10 s to start, 12 steps of 1 s and two evaluations of 4 s are 30 s
  timing = Timing(start=10.0, step=1.0, evaluation=4.0)
  monkeypatch.setattr(runner, "time_run", lambda config: timing)
  lines = list(runner.list_runs(tournament(), [0, 2], jobs=1))
  assert lines[0] == "grpo,steps=12,seed=0: 0:00:30"
  assert "2 of 3 runs are missing, in about 0:01:00 with --jobs=1" in lines[-1]
  assert list(runner.list_runs(tournament(), [], 1)) == ["No run is missing."]


@pytest.mark.parametrize("end", [FAILED, STOPPED])
def test_the_others_run_if_one_does_not_finish(end, tournament, monkeypatch):
  ends(monkeypatch, grpo=end)
  made = make(tournament())
  assert made == (2, [f"grpo,steps=12,seed=0: {REASONS[end]}"], True)
  assert runner.report(made) == 1


def test_a_refused_run_does_not_keep_the_others_from_running(
  tournament, monkeypatch
):
  begun = ends(monkeypatch)
  refuse = lambda checks: Checked(["no such task", None, None], [])
  monkeypatch.setattr(runner, "check_units", refuse)
  assert make(tournament()) == (
    *(2, ["grpo,steps=12,seed=0: no such task"], True),
  )
  assert len(begun) == 2


def test_after_its_minutes_the_tournament_begins_no_run(
  tournament, monkeypatch
):
  ends(monkeypatch)
  monkeypatch.setattr(runner, "rounds", lambda own: [[0], [1, 2]])

  @contextlib.contextmanager
  def at_once(minutes):
    os.kill(os.getpid(), signal.SIGTERM)
    yield

  monkeypatch.setattr(runner, "_stop_after", at_once)
  assert make(tournament()) == (0, [], False)


def test_a_run_without_its_table_of_prompts_waits_and_names_the_command(
  tournament, monkeypatch
):
  monkeypatch.setattr(runner, "lacking_file", lambda config: "runs/table")
  places, notes = runner.choose(tournament())
  assert places == []
  assert "entrojax.prompt_entropy" in notes[0]
  assert "--output=runs/table" in notes[0]
