"""The ledger's sections show sums, means and correlations of its entries."""

import json

import numpy as np
import pytest

from entrojax.entropy.token_groups import SPLITS
from entrojax.reporting import ledger_sections
from entrojax.reporting.run_logs import METRICS_FILE, read_run
from entrojax.reporting.variants import group_runs
from tests.helpers.run_logs import training_row, write_jsonl

MEASURED = (-2e-4, 1e-4, -3e-4)


def ledger_row(step, measured):
  """Return a line with an entry whose first order is half of the change."""
  row = training_row(step)
  column = {
    "measured": measured,
    "first_order": measured / 2,
    "trapezoid": measured,
    "left": measured / 2,
    "covariance": step,
  }
  for split, groups in SPLITS.items():
    shares = np.arange(1, len(groups) + 1) / sum(range(len(groups) + 1))
    for name, whole in (("measured", measured), ("tokens", 1.0)):
      column[f"{name}/{split}"] = (whole * shares).tolist()
    column[f"first_order/{split}"] = (measured / 2 * shares).tolist()
  parts = {"history": 1e-4, "zeta": measured, "<b>": -measured / 2}
  column |= {f"contribution/{name}": value for name, value in parts.items()}
  row |= {f"ledger/own/{key}": value for key, value in column.items()}
  row["ledger/fresh/measured"] = measured / 4
  return row


@pytest.fixture(scope="module")
def variants(tmp_path_factory):
  folders = [tmp_path_factory.mktemp(name) for name in ("kept", "off")]
  rows = [training_row(1)]
  rows += [ledger_row(i + 2, value) for i, value in enumerate(MEASURED)]
  write_jsonl(folders[0] / METRICS_FILE, rows)
  write_jsonl(folders[1] / METRICS_FILE, [training_row(1)])
  config = {"objective": ["zeta"], "seed": 0}
  (folders[0] / "config.json").write_text(json.dumps(config))
  return group_runs([read_run(f"run {i}", f) for i, f in enumerate(folders)])


def test_dots_are_the_entries_of_runs_that_have_any(variants):
  picture = ledger_sections.draw_agreement(variants)
  (panel,) = picture.panels  # fresh tokens have no first order here
  equal, dots = panel.curves
  np.testing.assert_allclose(dots.y, MEASURED)
  np.testing.assert_allclose(dots.x, np.array(MEASURED) / 2)
  np.testing.assert_array_equal(equal.x, equal.y)
  assert dots.variant == 0


def test_the_panels_of_a_split_add_up_to_the_change(variants):
  picture = ledger_sections.draw_split(variants, split="by_sign")
  assert len(picture.panels) == 5
  total = sum(panel.curves[0].y for panel in picture.panels)
  np.testing.assert_allclose(total, np.cumsum(MEASURED))
  np.testing.assert_array_equal(picture.panels[0].curves[0].x, [2, 3, 4])
  low, high = picture.panels[0].ends  # one scale, which holds all curves and 0
  assert all(panel.ends == (low, high) for panel in picture.panels)
  for panel in picture.panels:
    assert low < panel.curves[0].y.min() and high > 0


def test_contributions_stand_in_the_order_of_the_step(variants):
  names = ledger_sections.contributors(variants[0])
  assert names == ["history", "zeta", "<b>"]
  assert ledger_sections.contributors(variants[1]) == []
  picture = ledger_sections.draw_contributions(variants)
  np.testing.assert_allclose(picture.panels[1].curves[0].y, np.cumsum(MEASURED))
  table = ledger_sections.contribution_table(variants)
  assert "<b>" not in table and "&lt;b&gt;" in table
  assert "<td>+1.00±0.00</td>" in table  # history, in 1e-4 nats


def test_the_table_has_slope_and_correlations(variants):
  table = ledger_sections.agreement_table(variants)
  own, fresh = table.split("<tbody>")[1].split("<tr>")[1:]
  # mean -4/3 and standard deviation 2.08 over 3 entries
  assert "own tokens</td><td>3</td><td>-1.33±1.20</td>" in own
  assert "2.000±0.000" in own  # measured = 2 first order
  assert "fresh tokens</td><td>3</td><td>-0.33±0.30</td>" in fresh
  assert len(ledger_sections.split_table(variants).split("<tr>")) == 2 + 17


def test_without_a_ledger_there_is_nothing_to_show(variants):
  assert ledger_sections.draw_agreement(variants[1:]) is None
  assert ledger_sections.draw_split(variants[1:], split="by_sign") is None
  assert ledger_sections.draw_contributions(variants[1:]) is None
