"""The time of an entry's rollout step, relative to GRPO's."""

import itertools
import json

import pytest

from experiments.tournament import times
from experiments.tournament.entries import Entry, entries
from tests.helpers.system import tiny_config


def test_a_ratio_is_the_median_over_pairs():
  own, other = itertools.count(2), itertools.repeat(2)
  # 2 / 2, 3 / 2, 4 / 2
  assert times.ratio(lambda: next(own), lambda: next(other), 3) == 1.5


@pytest.mark.slow
def test_a_timed_step_trains(base, one_device, session_data):
  del one_device, session_data
  step = times.stepper(tiny_config(base, num_rollout_steps=4))
  assert step() > 0


def test_an_entry_that_changes_a_number_takes_as_long_as_its_method():
  kept = {"kl_cov": 1.1, "kl_cov,updates=1": 1.2}
  own = lambda name, **settings: times.time_of(
    Entry(name, name.partition(",")[0], 200, settings), kept
  )
  assert own("kl_cov") == 1.1
  assert own("kl_cov,fraction=0.5", **{"kl_cov.fraction": 0.5}) == 1.1
  updates = {"training.updates_per_rollout": 1}
  assert own("kl_cov,updates=1", **updates) == 1.2
  assert own("kl_cov,updates=7", **updates) is None
  assert own("nsr") is None
  assert own("grpo,clip=0.9") == 1.0
  assert own("grpo,updates=1", **updates) is None


@pytest.mark.parametrize("base", ["countdown", "reasoning"])
def test_all_entries_on_the_page_but_sent_have_the_time_of_one_that_is_timed(
  base,
):
  timed = dict.fromkeys(times.timed(base), 1.0)
  own = [e for e in entries(base) if e.role in ("method", "extra")]
  assert {e.name for e in own if times.time_of(e, timed) is None} <= {"sent"}


def test_only_what_is_not_timed_yet_is_timed(tmp_path):
  assert times.read_times(tmp_path) == {}
  kept = {"reasoning": {"kl_cov": {"ratio": 1.5, "pairs": 3}}}
  (tmp_path / times.FILE).write_text(json.dumps(kept))
  assert times.read_times(tmp_path) == {"reasoning": {"kl_cov": 1.5}}
  missing = times.missing("reasoning", tmp_path, [])
  assert "kl_cov" not in missing and missing["clip_cov"].name == "clip_cov"
  assert missing["entropic"].name == "entropic,target=0.16"
  (again,) = times.missing("reasoning", tmp_path, ["kl_cov"])
  assert again == "kl_cov"
  with pytest.raises(ValueError, match="'kl' is nothing of reasoning"):
    times.missing("reasoning", tmp_path, ["kl"])
