"""The tournament's page: its sentences, tables and figures, without runs."""

import numpy as np
import pytest

from entrojax.reporting.run_logs import series
from experiments.tournament import (
  answers,
  courses,
  figures,
  page,
  rivals,
  strengths,
  tables,
  targets,
)
from experiments.tournament.entries import Entry
from experiments.tournament.field import Field
from experiments.tournament.measures import of_entry
from experiments.tournament.rule import BASES
from tests.helpers.kept_lines import by_name, curve, invented


@pytest.fixture(scope="module")
def section():
  """Return the summary, the section of three entries, and its figures."""
  seeds = (0, 1, 2)
  all_entries = [
    Entry("grpo,steps=200", "grpo", 200, role="budget"),
    Entry("grpo,steps=600", "grpo", 600, role="budget"),
    Entry("kl_cov", "kl_cov", 200),
    Entry("entropic", "entropic", 200, {"entropic_pi.ki": 0.0}),
    Entry("dapo", "dapo", 200),
    Entry("nsr", "nsr", 200),
    Entry("kl_cov,fraction=0.08", "kl_cov", 200, seeds=(0,), role="strength"),
  ]
  held = {"control.target": 0.42}
  lines = [line for seed in seeds for line in curve(seed)]
  # 0.05 above the curve, with a little spread
  lines += [invented("kl_cov", s, 0.4, 0.3 + 0.001 * s) for s in seeds]
  lines += [
    invented(
      "entropic",
      s,
      0.41,
      0.2,
      settings=held,
      course={"actor/entropy": [0.5, 0.5, 0.412]},
    )
    for s in seeds
  ]
  lines += [invented("dapo", s, 0.35, 0.4) for s in seeds[:2]]
  return page.section(
    "countdown",
    BASES["countdown"],
    all_entries,
    by_name(lines),
    {"kl_cov": 2.0},
    {"kl_cov": 1.1, "entropic": 2.0},
  )


def test_the_page_answers_a_readers_questions(section):
  text, tables_text, _ = section
  assert (
    "GRPO has 0.250, and the base 0.200. Of 2 entries, 1 has more than GRPO, 1 "
    "has less, and 0 are undecided. With the correction for so many "
    "comparisons: 1 more, 1 less. Most: `kl_cov` (0.301)."
  ) in text
  assert "1 of 2 entries lies above GRPO's curve in pass@1, 1 below" in text
  assert "comparisons: 1 above (`kl_cov` +0.051), 1 below." in text
  assert "Held, but GRPO also ends within 0.03 nats of it: `entro" in text
  assert (
    "2 of 2 entries were timed: a rollout step of 1 takes x 1.10 to 1.10 of "
    "GRPO's time, and longer for `entropic` (x 2.00)."
  ) in text
  assert "FLOPs of an update: as GRPO's, but x 2.00 for `kl_cov`." in text
  assert "### Targets of entropy" in tables_text
  assert "An entry makes 200 rollout steps of 32 prompts x 8" in text


def test_the_page_has_heights_spreads_and_missing_runs(section):
  text = section[1]
  assert "| `kl_cov` | 3 | 0.400 ± 0.000 | 0.301 ± 0.001 | +0.051 [" in text
  assert (
    "14 of 19 planned runs are finished. With 3 seeds or more there are 2 of 4 "
    "methods as their config has them, 0 entries with a changed setting, GRPO "
    "at 2 budgets, and 0 other longer runs."
  ) in text
  assert (
    "| methods | 8 | 12 | `dapo` (2); `nsr` (0, 1, 2) |\n"
    "| other strengths, seed 0 | 0 | 1 | `kl_cov,fraction=0.08` (0) |"
  ) in text
  assert "curve is not complete" not in text


def test_entries_with_fewer_seeds_stand_apart_and_are_in_no_sentence(section):
  text = section[1].partition("### At equal budget")[2]
  shown, _, rest = text.partition("<details><summary>Entries with fewer")
  assert "dapo" not in section[0] + shown
  assert "| `dapo` | 2 | 0.350" in rest


def test_the_page_names_methods_and_settings(section):
  assert (
    "| `entropic` | [EntroPIC](../../configs/entropic.py) | "
    "(1 + a) on positives, (1 - a) on negatives, PI control of a | "
    "`entropic_pi.ki=0` | 0.42 nats |"
  ) in section[1]


def test_a_budget_that_a_seed_lacks_is_left_out_of_the_curve():
  lines = [line for seed in (0, 1, 2) for line in curve(seed)][:-1]
  # between the base and 200 rollout steps, and between 200 and 600
  lines += [invented("kl_cov", s, 0.4, 0.3 + 0.001 * s) for s in (0, 1, 2)]
  lines += [invented("dapo", s, 0.35, 0.4 + 0.001 * s) for s in (0, 1, 2)]
  field = Field(
    by_name(lines),
    "grpo,steps=200",
    ["grpo,steps=200", "grpo,steps=600"],
    [Entry("kl_cov", "kl_cov", 200), Entry("dapo", "dapo", 200)],
    {},
    {},
  )
  assert field.marked() == {"kl_cov": 1}
  whole = by_name([*lines, curve(2)[-1]])
  assert field._replace(lines=whole).marked() == {"dapo": 1, "kl_cov": 1}
  no_grpo = by_name([line for line in lines if line.seed < 2])
  assert field._replace(lines=no_grpo).marked() == {}


def test_the_page_says_which_runs_of_the_curve_are_missing():
  budgets = ["grpo,steps=200", "grpo,steps=600", "grpo,steps=900"]
  lines = [*curve(0), invented("grpo,steps=200", 1)]
  field = Field(by_name(lines), budgets[0], budgets, [], {}, {})
  assert field.curve_budgets() == ["grpo,steps=200"]
  (note,) = page.curve_note(field)
  assert "It lacks seeds of `grpo,steps=600`, `grpo,steps=900`" in note


def test_the_three_planes_and_the_courses_are_drawn(section):
  assert list(section[2]) == [
    "countdown_entropy_pass_1.svg",
    "countdown_entropy_pass_64.svg",
    "countdown_pass_1_pass_64.svg",
    "countdown_courses.svg",
  ]
  assert "](figures/countdown_courses.svg)" in section[1]
  assert all(svg.rstrip().endswith("</svg>") for svg in section[2].values())


def test_a_picture_names_all_entries_if_they_are_few():
  few = [figures.Dot(name, 0.4, y, 0, 0, 3) for name, y in (("a", 1), ("b", 2))]
  assert figures._numbers(few, {}) == {"b": 1, "a": 2}
  assert figures._numbers(few, {"a": 1, "b": -1}) == {"a": 1, "b": 2}
  many = [figures.Dot(str(i), 0.4, i, 0, 0, 3) for i in range(30)]
  assert figures._numbers(many, {"7": 1, "8": -1, "far": 1}) == {"7": 1}


def test_the_table_of_targets_has_what_was_held_and_what_it_cost():
  """The interval of 0.31, 0.33 and 0.35 nats is wider than 0.03."""
  course = {"actor/entropy": [0.9, 0.8, 0.7, 0.6, 0.28, 0.26]}
  lines = [line for seed in (0, 1, 2) for line in curve(seed)]
  for name, target, width in (
    *(("held", 0.33, 0.001), ("wide", 0.33, 0.02), ("missed", 0.5, 0.001)),
    ("falling", "linear(0.5, 0.33, 800)", 0.001),
  ):
    lines += [
      invented(
        name,
        s,
        0.33 + width * (s - 1),
        settings={"control.target": target},
        course=course,
      )
      for s in (0, 1, 2)
    ]
  names = ("held", "wide", "missed", "falling", "kl_cov")
  field = Field(
    by_name(lines),
    "grpo,steps=200",
    ["grpo,steps=200"],
    [Entry(name, "entropic", 200) for name in names],
    {},
    {},
  )
  verdicts = [targets.verdict(field.lines, name) for name in names]
  assert verdicts == ["held", "undecided", "missed", "held", ""]
  rows = list(targets.target_table(field))
  # the mean of 0.28 and 0.26; GRPO ends at 0.4
  assert (
    "| 0.33 | `held` | 0.270 ± 0.000 | 0.330 ± 0.001 | held | 0.400 ± "
    "0.000 | 0.300 ± 0.000 | 0.800 ± 0.000 |"
  ) in rows
  assert sum("| `falling` |" in row for row in rows) == 1


def test_a_page_without_lines_names_the_command(tmp_path):
  text, figures = page.page(tmp_path)
  assert "No run is kept yet. `--base=countdown` makes them." in text
  assert figures == {}


def test_a_target_is_what_a_controller_or_the_projection_holds():
  lines = by_name([invented("a", settings={"projection.target": 0.5})])
  assert targets.target_of(lines, "a") == 0.5
  assert targets.target_of(by_name([invented("a")]), "a") is None
  band = {"entrocraft.low": [0.5, 0.4], "entrocraft.high": [0.55, 0.45]}
  lines = by_name([invented("entrocraft", settings=band)])
  assert targets.target_of(lines, "entrocraft") == pytest.approx(0.425)
  assert list(of_entry(lines, "b")) == []


# -- responses and courses ----------------------------------------------------


def test_the_responses_of_a_task_with_parts_are_described_beside_the_base_s():
  assert not list(tables.behaviour(by_name(curve()), ["grpo,steps=200"]))
  like = {"response_length": 80.0, "truncated": 0.3, "parts/take_back": 0.8}
  base = {"response_length": 45.0, "truncated": 0.02, "parts/take_back": 0.6}
  lines = by_name(
    line._replace(start=base, end=like | {"response_length": 80.0 + line.seed})
    for seed in (0, 1)
    for line in [*curve(seed), invented("kl_cov", seed)]
  )
  assert list(tables.behaviour(lines, ["kl_cov", "nsr"]))[-3:] == [
    "| base | 2 | 45.0 ± 0.0 | 0.020 ± 0.000 | 0.600 ± 0.000 |",
    "| `kl_cov` | 2 | 80.5 ± 0.7 | 0.300 ± 0.000 | 0.800 ± 0.000 |",
    "",
  ]


def test_a_part_of_a_course_stands_in_the_middle_of_its_steps():
  course = {
    "actor/entropy": [0.5, 0.4, 0.3, 0.2],
    "response_length/mean": [45.0, None],
  }
  log = courses.as_log(invented("kl_cov", course=course))
  steps, entropies = series(log, "actor/entropy")
  np.testing.assert_array_equal(steps, [25, 75, 125, 175])  # of 200
  np.testing.assert_array_equal(entropies, [0.5, 0.4, 0.3, 0.2])
  np.testing.assert_array_equal(series(log, "response_length/mean")[0], [50])


def test_entries_without_lines_have_no_course():
  assert courses.draw(by_name(curve()), ["nsr"]) == ""


def test_a_long_run_is_compared_at_equal_budget_and_at_equal_entropy():
  lines = [line for seed in (0, 1, 2) for line in curve(seed)]
  lines += [
    invented("kl_cov,steps=600", s, 0.4, 0.28 + 0.001 * s) for s in (0, 1, 2)
  ]
  lines += [invented("kl_cov", s, 0.4, 0.24) for s in (0, 1, 2)]
  field = Field(
    by_name(lines),
    "grpo,steps=200",
    ["grpo,steps=200", "grpo,steps=600"],
    [Entry("kl_cov", "kl_cov", 200)],
    {
      "grpo": {200: "grpo,steps=200", 600: "grpo,steps=600"},
      "kl_cov": {200: "kl_cov", 600: "kl_cov,steps=600"},
    },
    {},
  )
  text = "\n".join(answers.answers(field))
  assert field.long_runs() == ["kl_cov,steps=600"]
  assert field.marked()["kl_cov,steps=600"] == 1
  assert "of other methods, 0 of 1 after 600 rollout steps." in text
  # 0.281 - 0.25
  assert "1 of 1 longer runs lies above the curve" in text
  assert "1 above (`kl_cov,steps=600` +0.031), 0 below" in text


def test_entries_above_a_curve_are_compared_with_a_gentler_grpo():
  lines = [line for seed in (0, 1, 2) for line in curve(seed)]
  for s in (0, 1, 2):
    lines += [
      invented("grpo,updates=1", s, 0.4, 0.27),
      invented("grpo,updates=1,steps=600", s, 0.3, 0.32, steps=600),
      invented("kl_cov", s, 0.4, 0.3 + 0.001 * s),
      invented("clip_cov", s, 0.4, 0.26 + 0.001 * s),
      invented("nsr", s, 0.4, 0.2),
    ]
  names = ("kl_cov", "clip_cov", "nsr", "grpo,updates=1")
  field = Field(
    by_name(lines),
    "grpo,steps=200",
    ["grpo,steps=200", "grpo,steps=600"],
    [Entry(name, name, 200) for name in names],
    {
      "grpo": {200: "grpo,steps=200", 600: "grpo,steps=600"},
      "grpo,updates=1": {
        200: "grpo,updates=1",
        600: "grpo,updates=1,steps=600",
      },
    },
    {},
  )
  assert field.above_a_curve() == ["kl_cov", "clip_cov"]
  others = [*rivals.rivals(field, [], "countdown")]
  text = "\n".join(page.rivals_section(field, others))
  rows = [x.split(" | ") for x in text.splitlines() if x.startswith("| `")]
  # 0.301 and 0.261, minus 0.27
  assert [row[0] for row in rows] == ["| `kl_cov`", "| `clip_cov`"]
  assert rows[0][3].startswith("+0.031 ") and rows[0][3].endswith(" above")
  assert rows[1][3].startswith("-0.009 ") and rows[1][3].endswith(" below")
  summary = "\n".join(answers.answers(field))
  assert "The 2 entries above one of GRPO's curves are also" in summary
  assert (
    "Above GRPO with one update on a batch of any budget: 1 in pass@1 at equal "
    "entropy (`kl_cov` +0.031) and"
  ) in summary


def test_an_entry_that_samples_more_responses_is_named_so():
  """Dynamic sampling makes two batches of each; GRPO has no such metric."""
  course = {"actor/entropy": [0.3], "dynamic_sampling/batches": [2.0, 3.0]}
  lines = [line for seed in (0, 1, 2) for line in curve(seed)]
  lines += [
    invented("dapo", s, 0.4, 0.4 + 0.001 * s, course=course) for s in (0, 1, 2)
  ]
  field = Field(
    by_name(lines),
    "grpo,steps=200",
    ["grpo,steps=200", "grpo,steps=600"],
    [Entry("dapo", "dapo", 200)],
    {},
    {},
  )
  text = "\n".join(answers.answers(field))
  assert "`dapo` (0.401, with 2.5 times as many responses sampled; GRPO" in text
  (row,) = (
    row
    for row in tables.equal_budget(field, ["dapo"])
    if row.startswith("| `dapo`")
  )
  assert "| – | x 2.50 |" in row


def test_a_target_that_grpo_reaches_as_well_shows_no_control():
  settings = {"control.target": 0.41}
  lines = [line for seed in (0, 1, 2) for line in curve(seed)]
  lines += [
    invented("entropic", s, 0.41, 0.25, settings=settings) for s in (0, 1, 2)
  ]
  field = Field(
    by_name(lines),
    "grpo,steps=200",
    ["grpo,steps=200", "grpo,steps=600"],
    [Entry("entropic", "entropic", 200)],
    {},
    {},
  )
  text = "\n".join(answers.answers(field))
  assert "GRPO also ends within 0.03 nats of it: `entropic`." in text


def test_the_table_of_strengths_has_no_other_entries_of_the_method():
  settings = {"kl_cov.fraction": 0.08}
  own = [
    Entry("kl_cov", "kl_cov", 200),
    Entry("kl_cov,updates=1", "kl_cov", 200, {"a": 1}, role="extra"),
    Entry("kl_cov,fraction=0.02", "kl_cov", 200, settings, role="extra"),
    Entry("kl_cov,steps=600", "kl_cov", 600, settings, role="long"),
    Entry("kl_cov,fraction=0.08", "kl_cov", 200, settings, (0,), "strength"),
  ]
  lines = [*curve(0), *(invented(entry.name, 0) for entry in own)]
  field = Field(
    by_name(lines), "grpo,steps=200", ["grpo,steps=200"], own, {}, {}
  )
  text = "\n".join(strengths.strength_section(field, own))
  names = ("kl_cov", "kl_cov,fraction=0.02", "kl_cov,fraction=0.08")
  assert all(
    f"| `{name}` | 0.400 | 0.300 | 0.800 | +0.050 |" in text for name in names
  )
  assert text.count("| `kl_cov") == len(names)


def test_another_strength_is_named_if_it_changes_the_height_clearly():
  """The curve has 0.25 at 0.4 nats, so the config's height is 0.02."""
  ends = {"": 0.27, ",fraction=0.1": 0.31, ",fraction=0.2": 0.23}
  ends |= {",fraction=0.3": 0.28}
  own = [
    Entry(f"kl_cov{x}", "kl_cov", 200, {"a": x}, (0,), "strength") for x in ends
  ]
  own[0] = own[0]._replace(role="method", settings={})
  lines = [invented(f"kl_cov{x}", 0, 0.4, y) for x, y in ends.items()]
  field = Field(
    by_name([*curve(0), *lines]),
    *("grpo,steps=200", ["grpo,steps=200"], own, {}, {}),
  )
  (text,) = strengths.strength_answer(field, own)
  assert (
    "Of 3 values, compared with the config's in pass@1 at equal entropy, by at "
    "least 0.03: 1 more (`kl_cov,fraction=0.1` +0.040); 1 less "
    "(`kl_cov,fraction=0.2` -0.040)."
  ) in text
  alone = field._replace(lines=by_name([*curve(0), lines[0]]))
  assert not [*strengths.strength_answer(alone, own)]
  assert not [*strengths.strength_section(alone, own)]
