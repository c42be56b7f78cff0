"""The counted cost of an entry's update."""

import json

import pytest

from experiments.tournament import costs
from experiments.tournament.entries import Entry, entries
from experiments.tournament.lines import read_lines
from experiments.tournament.options import RESULTS
from experiments.tournament.plan import lines_file
from experiments.tournament.rule import BASELINE


@pytest.fixture(scope="module")
def grpo():
  config = costs.config_of(Entry(BASELINE, BASELINE, 0), "countdown")
  return costs.update_flops(config)


@pytest.mark.parametrize(
  ("name", "ratio"),
  [
    ("grpo,epochs=2", 2.0),
    # a forward pass is a third of a forward and a backward pass
    ("reference_kl", 4 / 3),
    # a second backward pass, in every fourth update
    ("projection,target=0.36,every=4", 1 + 2 / 3 / 4),
  ],
)
def test_an_update_costs_the_passes_that_it_makes(grpo, name, ratio):
  (entry,) = (e for e in entries("countdown") if e.name == name)
  own = costs.update_flops(costs.config_of(entry, "countdown"))
  assert own / grpo == pytest.approx(ratio, rel=2e-3)


def test_a_folder_without_costs_has_none(tmp_path):
  assert costs.read_costs(tmp_path) == {}
  (tmp_path / "costs.json").write_text(json.dumps({"countdown": {"a": 1.5}}))
  assert costs.read_costs(tmp_path)["countdown"]["a"] == 1.5


@pytest.mark.parametrize("base", ["countdown", "reasoning"])
def test_each_entry_on_the_page_has_a_kept_cost(base):
  """If it fails, `python -m experiments.tournament.costs` counts them anew."""
  kept = set(costs.read_costs(RESULTS)[base])
  names = {e.name for e in entries(base) if e.role in ("method", "extra")}
  finished = {line.entry for line in read_lines(lines_file(base)).values()}
  assert kept <= names
  assert names & finished <= kept
