"""The torture of runs, heavily reduced; its scoreboard counts what broke."""

import random

import pytest

from experiments.torture.__main__ import PARTS, run
from experiments.torture.corruptions import damage
from experiments.torture.fuzz import SENSELESS
from experiments.torture.score import Score, one_line, table

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
  ("name", "count"),
  [("corruptions", 3), ("numbers", 8), ("disk", 1), ("locks", 2)],
)
def test_a_few_attempts_of_each_part_break_nothing(name, count, capsys):
  scores = run([name], quick=True, count=count, seed=0)
  assert [score.failures for score in scores] == [[]] * len(scores)
  assert f"{name}: {count} attempts" in capsys.readouterr().out


@pytest.mark.usefixtures("one_device", "session_data")
def test_every_senseless_setting_is_refused_or_warned_about(tmp_path):
  part, _, _ = PARTS["fuzz"]
  fuzzed, senseless = part(random.Random(0), 2, tmp_path)
  assert senseless.tried == len(SENSELESS) and not senseless.failures
  assert not fuzzed.failures


def test_the_harm_is_the_same_for_the_same_seed(tmp_path):
  def harm(seed):
    folder = tmp_path / str(random.random())
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "b").write_bytes(bytes(range(99)))
    draw, kinds = random.Random(f"{seed} corruptions"), []
    for _ in range(9):
      path, kind = damage(folder, draw)
      kinds.append((kind, path.read_bytes() if path.exists() else None))
      path.write_bytes(bytes(range(99)))
    return kinds

  assert harm(0) == harm(0) != harm(1)


def test_an_error_that_is_no_line_for_a_user_counts_as_wrong():
  assert one_line(ValueError("a line")) == ""
  assert "traceback: KeyError" in one_line(KeyError("x"))
  assert "no single line" in one_line(ValueError("two\nlines"))
  lines = table([Score("kills", 3, ["status 1"], ["a note"])]).splitlines()
  assert lines[1].split() == ["3", "1", "kills"]
  assert lines[2:] == [" " * 15 + "a note", " " * 15 + "WRONG: status 1"]


def test_an_unknown_part_is_named():
  with pytest.raises(ValueError, match="no part 'kils', only corruptions, num"):
    run(["kils"], quick=True, count=0, seed=0)
