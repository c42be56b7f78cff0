"""Pictures show the numbers of the runs, and no name injects anything."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest

from entrojax.reporting import figures, notebook
from entrojax.reporting.interactive import most_points, panel_figure
from entrojax.reporting.pictures import (
  PALETTE,
  PATTERNS,
  Curve,
  Panel,
  Picture,
  color,
  pattern,
)
from entrojax.reporting.run_logs import METRICS_FILE, read_run
from entrojax.reporting.static import to_svg
from entrojax.reporting.variants import group_runs
from tests.helpers.run_logs import STEPS, write_jsonl, write_run


@pytest.fixture
def variants(tmp_path):
  return group_runs(
    [
      read_run("grpo", write_run(tmp_path / "grpo")),
      read_run("pi", write_run(tmp_path / "pi", target=0.05)),
    ]
  )


def test_variants_keep_apart_beyond_the_palette():
  number = len(PALETTE) * len(PATTERNS)
  looks = {(color(index), pattern(index)) for index in range(number)}
  assert len(looks) == number


def test_the_pareto_front_has_the_points_that_no_other_beats():
  x = np.array([0.1, 0.5, 0.3, 0.4, 0.5, 0.2])
  y = np.array([0.9, 0.6, 0.8, 0.7, 0.5, 0.7])
  front = figures.pareto_front(x, y)
  np.testing.assert_array_equal(front[0], [0.1, 0.3, 0.4, 0.5])
  np.testing.assert_array_equal(front[1], [0.9, 0.8, 0.7, 0.6])


def test_equal_first_evaluations_share_one_grey_line(variants):
  picture = figures.draw_at_k(variants, data="sums")
  first, *last = picture.panels[0].curves
  assert first.variant is None and first.dashed
  assert [curve.variant for curve in last] == [0, 1]
  rate = 0.2 + 0.01 * STEPS
  np.testing.assert_allclose(last[0].y, 1 - (1 - rate) ** last[0].x)
  # one seed: one standard error over problems
  np.testing.assert_allclose(last[0].high - last[0].y, 0.01)


def test_a_pass_at_k_without_an_error_has_no_band_and_no_error_of_0(tmp_path):
  run = write_run(tmp_path / "run")
  path = run / METRICS_FILE
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  kept = [{k: x for k, x in r.items() if "_stderr" not in k} for r in rows]
  write_jsonl(path, kept)
  read = read_run("run", run)
  curve = figures.draw_at_k(group_runs([read]), data="sums").panels[0].curves[1]
  assert curve.low is None
  (line,) = (x for x in str(notebook.compare(run)).splitlines() if "@4" in x)
  assert "±" not in line


def test_a_pass_at_k_that_is_missing_is_left_out_of_the_curve(variants):
  complete = figures.draw_at_k(variants, data="sums").panels[0].curves[1]
  row = variants[0].runs[0].rows[-1]
  row[f"val/sums/pass@{int(complete.x[1])}"] = np.nan
  curve = figures.draw_at_k(variants, data="sums").panels[0].curves[1]
  for name in ("x", "low", "high"):
    np.testing.assert_array_equal(
      getattr(curve, name), np.delete(getattr(complete, name), 1)
    )


def test_the_plane_has_a_dot_for_each_variant(variants):
  picture = figures.draw_plane(variants, data="sums")
  front, *dots = picture.panels[0].curves
  assert picture.panels[0].label == "pass@64"
  assert [dot.variant for dot in dots] == [0, 1]
  assert dots[0].x == pytest.approx([0.5])
  assert front.variant is None


def test_each_member_has_a_panel_of_its_gradient_change(variants):
  picture = figures.draw_gradient_changes(variants)
  assert [panel.label for panel in picture.panels] == ["ppo_clip"]


def test_a_long_curve_is_thinned_and_keeps_its_ends():
  most = most_points(1)
  x = np.arange(10 * most + 3)
  curve = Curve(0, x, x / 7, x / 8, x / 6, np.full(x.size, 2))
  picture = Picture([Panel("y", [curve])], "x")
  band, line = panel_figure(picture, picture.panels[0], ["a"])["data"]
  assert len(line["x"]) <= most
  assert (line["x"][0], line["x"][-1]) == (0, x[-1])
  assert len(line["customdata"]) == len(line["x"])
  assert len(band["x"]) == 2 * len(line["x"])


def test_nan_is_a_gap_of_a_line_and_left_out_of_a_band():
  y = np.array([1.0, np.nan, 3.0])
  picture = Picture([Panel("y", [Curve(0, np.arange(3), y, y, y)])], "x")
  band, line = panel_figure(picture, picture.panels[0], ["a"])["data"]
  assert line["y"] == [1, None, 3]
  assert band["y"] == [1, 3, 3, 1]


def test_a_name_cannot_inject_tags_or_templates_into_a_figure():
  curve = Curve(0, np.arange(2), np.arange(2))
  picture = Picture([Panel("y", [curve])], "x")
  name = "<a href='x'>%{y}\n"
  (line,) = panel_figure(picture, picture.panels[0], [name])["data"]
  assert line["name"] == "&lt;a href=&#x27;x&#x27;&gt;% {y}?"
  assert "%{y}" not in line["hovertemplate"].partition("<extra>")[2]


def test_the_pictures_of_the_front_page_are_well_formed_svg(variants):
  names = ["$x_<b>", "pi"]
  for picture in (
    figures.draw_metric(
      variants, metric="actor/entropy", label="entropy", targets=True
    ),
    figures.draw_at_k(variants, data="sums"),
  ):
    svg = to_svg(picture, names)
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert svg == to_svg(picture, names)


def test_a_list_of_numbers_is_refused_where_one_curve_is_drawn(tmp_path):
  run = write_run(tmp_path / "run")
  with pytest.raises(ValueError, match="'actor/entropy_histogram' is a list"):
    notebook.draw(run, what="actor/entropy_histogram")
