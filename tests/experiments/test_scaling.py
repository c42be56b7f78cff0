"""How cost grows: points, kept lines, exponents and the page."""

import math
import os

import pytest

from entrojax.assembly.check_settings import check
from experiments.model_sizes import SIZES
from experiments.scaling import large_run, lines, page, several_processes
from experiments.scaling.points import AXES, BASE, Point, points


def test_an_exponent_is_the_slope_between_the_last_two_values():
  assert page.exponent({1: 7.0, 10: 5.0, 20: 20.0}) == pytest.approx(2)
  assert math.isnan(page.exponent({1: 7.0}))
  assert math.isnan(page.exponent({1: 0.0, 2: 0.0}))
  # one device exchanges nothing, and the growth begins with the second
  assert page.exponent({1: 0.0, 2: 3.0, 4: 3.0}) == 0


@pytest.mark.parametrize("name", AXES)
def test_an_axis_changes_one_size_alone(name):
  axis = AXES[name]
  base = [v for v in axis.values if axis.grown(v) == BASE]
  assert len(base) == (len(axis.values) if name == "devices" else 1)
  for value in axis.values:
    config = Point(name, value).config("model")
    check(config)
    assert config.mesh == (1, value if name == "devices" else 1, 1)


def test_points_that_differ_only_on_devices_are_not_timed():
  timed = {point.axis for point in points(timed=True)}
  assert timed == AXES.keys() - {"devices"}
  assert {point.axis for point in points(timed=False)} == AXES.keys()


@pytest.mark.parametrize(
  ("cores", "numbers"), [(1, (1,)), (2, (1, 2)), (3, (1, 2)), (8, (1, 2, 4))]
)
def test_no_more_processes_than_cores_are_measured(cores, numbers, monkeypatch):
  monkeypatch.setattr(os, "cpu_count", lambda: cores)
  assert several_processes.numbers_here() == numbers


def test_kept_lines_are_found_again(tmp_path):
  path = tmp_path / "results.jsonl"
  assert lines.read(path) == []
  for value, cost in ((8, 4.0), (4, 2.0)):
    lines.append(path, lines.TIMES, "layers", value, {"update_seconds": cost})
  kept = lines.read(path)
  assert lines.has(kept, lines.TIMES, "layers", 8)
  assert not lines.has(kept, lines.COUNTS, "layers", 8)
  column = lines.column(kept, lines.TIMES, "layers", "update_seconds")
  assert list(column.items()) == [(4, 2.0), (8, 4.0)]


def test_the_page_has_a_table_for_each_measured_axis():
  costs = {name: 0.0 for kind in page.KINDS for name in kind.names}
  kept = [
    {"kind": lines.COUNTS, "axis": "layers", "value": n}
    | costs
    | {"update_flops": 3e9 * n, "update_bytes": 2e6 * n**2}
    for n in (2, 4)
  ]
  kept.append(
    {
      **{"kind": lines.PROCESSES, "axis": "processes", "value": 2},
      **{"seconds": 0.5, "bytes": 3e8},
    }
  )
  text = page.page(kept)
  # columns of zeros, such as what one device exchanges, are left out
  assert "| layers | update, FLOP | update, memory |" in text
  assert "| 4 | 12.00 G | 32.0 MB |" in text
  assert "| **exponent** | **1.00** | **2.00** |" in text
  assert "| 2 | 0.50 | 1.00 | 300 MB |" in text
  assert "words of the vocabulary" not in text


def test_the_large_run_counts_every_weight_once():
  # Qwen2.5-7B has 7.62e9 parameters, norms and biases included
  weights = large_run.num_weights(SIZES["Qwen2.5-7B"])
  assert weights == pytest.approx(7.615e9, rel=1e-3)
  assert all(figure.value and figure.why for figure in large_run.figures())
