"""The torture of runs, heavily reduced; its scoreboard counts what broke."""

import random

import pytest

from experiments.torture.__main__ import PARTS, run
from experiments.torture.corruptions import damage
from experiments.torture.fuzz import SENSELESS
from experiments.torture.score import (
  PartResult,
  Score,
  one_line,
  read_kept,
  table,
)
from experiments.torture.soak import Look, judge

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
  ("name", "count"),
  [("corruptions", 3), ("numbers", 8), ("disk", 1), ("locks", 2)],
)
def test_a_few_attempts_of_each_part_break_nothing(name, count, capsys):
  (result,) = run([name], quick=True, count=count, seed=0)
  assert not [text for score in result.scores for text in score.failures]
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


def test_the_scoreboard_counts_what_was_wrong():
  score = Score("kills", 3, ["status 1"], ["a note"])
  result = PartResult("kills", 0, 3, 61.2, 12.3, [score])
  lines = table([result]).splitlines()
  assert lines[1].split() == ["3", "1", "kills"]
  assert [line.strip() for line in lines[2:]] == [
    "a note",
    "WRONG: status 1",
    "kills, seed 0: 61 s, 12 CPU s",
  ]


def test_a_part_that_is_kept_is_not_repeated(tmp_path, monkeypatch):
  output, calls = tmp_path / "x" / "board.jsonl", []

  def part(draw, count, folder):
    calls.append((draw.random(), count))
    assert folder.is_dir()
    return [Score("harm", count, ["it broke"], [])]

  monkeypatch.setitem(PARTS, "locks", (part, 7, 2))
  once = lambda **how: run(
    ["locks"], **{"quick": False, "count": 0, "seed": 0, **how}, output=output
  )
  first = once()
  assert once() == first == read_kept(output) and len(calls) == 1
  assert first[0].attempts == 7 and first[0].scores[0].failures == ["it broke"]
  once(quick=True)
  once(seed=1)
  assert [count for _, count in calls] == [7, 2, 7]
  assert len({offset for offset, _ in calls}) == 2  # by seed
  output.write_text("{}\n")
  with pytest.raises(ValueError, match="is not a scoreboard: move it away"):
    once()


def test_a_soak_notices_memory_files_and_a_run_that_is_too_short():
  def looks(growth, files):
    return [
      Look(i, int(1e9 * (1 + growth * i / 500)), 9 + files * (i > 400))
      for i in range(500)
    ]

  failures, notes = judge(looks(0.01, 0), 100, 500)
  assert not failures and "open files 9 -> 9" in notes[0]
  assert "memory has grown by 6" in judge(looks(0.1, 0), 100, 500)[0][0]
  assert judge(looks(0, 3), 100, 500)[0] == [
    "9 files were open, and 12 at the end"
  ]
  assert "too short" in judge(looks(0, 0)[:300], 100, 500)[0][0]


def test_an_unknown_part_is_named():
  with pytest.raises(ValueError, match="no part 'kils', only corruptions, num"):
    run(["kils"], quick=True, count=0, seed=0)
