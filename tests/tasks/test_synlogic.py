"""SynLogic's files: rows that are read, rows left out, and error messages."""

import json

import numpy as np
import pyarrow
from pyarrow import parquet
import pytest

from entrojax.tasks import make_task, synlogic
from entrojax.types import Problem

LATIN_9 = [
  [(3 * i + i // 3 + j) % 9 + 1 for j in range(9)] for i in range(9)
]  # a solved sudoku


def hidden(grid, *cells, empty="X"):
  """Return a copy of a grid with some cells emptied."""
  return [
    [empty if (i, j) in cells else value for j, value in enumerate(row)]
    for i, row in enumerate(grid)
  ]


NUMBRIX = [[1, 2, 3], [6, 5, 4], [7, 8, 9]]
FUTOSHIKI_QUESTION = """Fill the grid.
Current puzzle:
1 X X
X X X
X X X
Rules: (1,3) < (1,2)"""

GAMES = {
  "sudoku": {"original_sudoku": hidden(LATIN_9, (0, 0), (8, 8), empty=0)},
  "mathador": {
    "numbers": [3, 5, 7, 9],
    "operators": ["+", "-", "*", "/"],
    "result": 24,
  },
  "futoshiki": {
    "grid_size": 3,
    "prefilled_coords": [[0, 0]],
    "constraints": [[[0, 1], [0, 2], ">"]],
  },
  "dyck_language": {
    "full_sequence": "([])({})([()])",
    "question_sequence": "([])({})([(",
  },
  "word_sorting": {},
  "numbrix": {"grid": hidden(NUMBRIX, (0, 1), (1, 1), (2, 2))},
}
ANSWERS = {"word_sorting": "abe, tof, tok"}
QUESTIONS = {"futoshiki": FUTOSHIKI_QUESTION}


def row(source, **changes):
  game = {
    "question": QUESTIONS.get(source, "?"),
    "answer": ANSWERS.get(source, ""),
    "difficulty": 3,
    "metadata": GAMES.get(source, {}),
    "gpt_response": "",
  }
  return {
    "data_source": source,
    "prompt": [
      {"role": "system", "content": "Think."},
      {"role": "user", "content": f"Solve this {source}."},
    ],
    "ability": "logic",
    "reward_model": {"style": "rule"},
    "extra_info": {"game_data_str": json.dumps(game), "index": 0},
  } | changes


def write(path, rows):
  if path.suffix == ".parquet":
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
  else:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
  return path


@pytest.fixture
def problems(tmp_path):
  """Return the problem of each game, read from a parquet file."""
  path = write(tmp_path / "train.parquet", [row(source) for source in GAMES])
  read, left_out, _ = synlogic.read(path)
  assert not left_out
  return dict(zip(GAMES, read, strict=True))


def python_fence(value):
  return f"<think>hm</think>\n```python\n{value}\n```"


# -- reading ------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_both_formats_give_the_same_problems(ending, problems, tmp_path):
  path = write(tmp_path / f"val.{ending}", [row(source) for source in GAMES])
  assert synlogic.read(path)[0] == list(problems.values())


def test_a_prompt_is_its_messages_contents(problems):
  assert problems["numbrix"].prompt == "Think.\n\nSolve this numbrix."


def test_rows_without_a_verifier_are_counted_and_told(tmp_path):
  sources = ["sudoku", "linguini", "bbh_snarks", "linguini", "numbrix"]
  path = write(tmp_path / "train.parquet", [row(s) for s in sources])
  read, left_out, _ = synlogic.read(path)
  assert [p.answer["task"] for p in read] == ["sudoku", "numbrix"]
  assert left_out == {"linguini": 2, "bbh_snarks": 1}
  with pytest.warns(UserWarning, match="2 linguini, 1 bbh_snarks"):
    assert len(make_task("synlogic", tmp_path).load("train")) == 2


def test_a_part_of_a_split_is_a_slice(tmp_path):
  write(tmp_path / "train.jsonl", [row(source) for source in GAMES])
  load = make_task("synlogic", tmp_path).load
  assert load("train[1:3]") == load("train")[1:3]
  assert load("train[:-1]") == load("train")[:-1]


@pytest.mark.parametrize("source", ["Sudoku", "synlogic/sudoku"])
def test_a_tasks_key_is_normalised(source, tmp_path):
  rows = [row("sudoku", data_source=source)]
  read = synlogic.read(write(tmp_path / "a.jsonl", rows)).problems
  assert read[0].answer["task"] == "sudoku"


# -- verifying ----------------------------------------------------------------

SUDOKU_WRONG = [row[:] for row in LATIN_9]
SUDOKU_WRONG[0][0], SUDOKU_WRONG[0][1] = LATIN_9[0][1], LATIN_9[0][0]
MERGED = [[12, *LATIN_9[0][2:]], *LATIN_9[1:]]  # 12 in place of 1, 2

BY_HAND = [
  ("sudoku", python_fence(LATIN_9), "correct"),
  ("sudoku", python_fence(tuple(map(tuple, LATIN_9))), "correct"),
  ("sudoku", python_fence(SUDOKU_WRONG) + python_fence(LATIN_9), "correct"),
  ("sudoku", python_fence(LATIN_9) + " so ```[[1]]```", "correct"),
  ("sudoku", python_fence(LATIN_9) + "```python\n[[", "correct"),
  ("sudoku", python_fence(LATIN_9) + python_fence("[[1]]"), "unparseable"),
  ("sudoku", python_fence(SUDOKU_WRONG), "changed a given"),
  ("sudoku", python_fence(MERGED), "no answer"),
  ("sudoku", python_fence("__import__('os').abort()"), "no answer"),
  # as the published verifier accepts: a comment, and a fence that is not closed
  ("sudoku", python_fence(f"# the grid\n{LATIN_9}  # done"), "correct"),
  ("sudoku", f"so\n```python\n{LATIN_9}", "correct"),
  ("sudoku", f"```python\n{SUDOKU_WRONG}", "changed a given"),
  ("sudoku", str(LATIN_9), "no answer"),
  ("sudoku", "", "no answer"),
  ("mathador", python_fence("(3+9)*(7-5)"), "correct"),
  ("mathador", python_fence("3+5+7*9"), "wrong value"),  # 71, not 24
  ("mathador", python_fence("4*6"), "wrong numbers"),
  ("mathador", python_fence("9**9**9"), "unparseable"),
  ("mathador", "(3+9)*(7-5)", "no answer"),
  ("futoshiki", "so [[1 3 2, 2 1 3, 3 2 1]]", "correct"),
  ("futoshiki", "[[1 3 2,\n 3 2 1,\n 2 1 3]] is it", "correct"),
  ("futoshiki", "[[1 2 3,2 3 1,3 1 2]]", "breaks an inequality"),
  ("futoshiki", "[[2 3 1,3 1 2,1 2 3]]", "changed a given"),
  ("futoshiki", "[[1 3 2,1 3 2,3 2 1]]", "repeats a digit"),
  ("futoshiki", "[[132,213,321]]", "no answer"),
  ("dyck_language", "hm</think><answer>([])({})([()])</answer>", "correct"),
  ("dyck_language", "([])({}) ([()])\n", "correct"),
  ("dyck_language", "([])({})([()]", "wrong"),
  ("dyck_language", ")])", "wrong"),
  ("dyck_language", "It is ([])({})([()])", "unparseable"),
  ("word_sorting", r"\boxed{tok} or \boxed{abe,tof, tok}", "correct"),
  ("word_sorting", r"\boxed{abe，tof，tok}", "correct"),
  ("word_sorting", r"\boxed{\text{abe, tof, tok}}", "wrong"),
  ("word_sorting", r"\boxed{abe, tok, tof}", "wrong"),
  ("word_sorting", r"\boxed{abe, tof, tok", "no answer"),
  ("word_sorting", "abe, tof, tok", "no answer"),
  ("numbrix", "[[1, 2, 3], [6, 5, 4], [7, 8, 9]]", "correct"),
  ("numbrix", "[\n [1,2,3],\n [6,5,4],\n [7,8,9],\n ]", "no answer"),
  ("numbrix", "[\n [1,2,3],\n [6,5,4],\n [7,8,9]\n]", "correct"),
  ("numbrix", "[[1, 2, 3], [6, 4, 5], [7, 8, 9]]", "changed a given"),
  ("numbrix", "[[1, 5, 3], [6, 2, 4], [7, 8, 9]]", "broken path"),
  ("numbrix", "[[1, 2, 3], [6, 5, 4], [7, 8, 9.0]]", "no answer"),
  ("numbrix", "[[" * 50_000 + "]]" * 50_000, "no answer"),
  ("numbrix", "[" * 300_000, "too long"),
]


@pytest.mark.parametrize("source, response, reason", BY_HAND)
def test_a_verdict_is_the_one_worked_out_by_hand(
  source, response, reason, problems
):
  verdict = synlogic.verify(problems[source], response)
  assert verdict.reason == reason
  assert verdict.reward == float(reason == "correct")


def test_operators_that_the_game_lacks_are_refused():
  answer = {
    "task": "game_of_24",
    "numbers": [3, 5, 7, 9],
    "target": 24,
    "operators": ["+", "-"],
  }
  verdicts = [
    synlogic.verify(Problem("", answer), python_fence(text))
    for text in ("3+5+7+9", "(3+9)*(7-5)")
  ]
  assert [v.reason for v in verdicts] == ["correct", "wrong operators"]


@pytest.mark.parametrize("source", GAMES)
def test_no_string_raises_or_is_accepted(source, problems):
  rng = np.random.default_rng(0)
  alphabet = list("```python[[]]()<answer></answer></think>{},0123456789 \n\\")
  for _ in range(500):
    size = int(rng.integers(1, 200))
    noise = [
      "".join(rng.choice(alphabet, size=size)),
      rng.bytes(size).decode("latin-1"),
      python_fence("".join(rng.choice(list("[(,)]19+*"), size=size))),
    ]
    for text in noise:
      assert synlogic.verify(problems[source], text).reward == 0.0


# -- errors -------------------------------------------------------------------


def game_data(source, **changes):
  game = json.loads(row(source)["extra_info"]["game_data_str"]) | changes
  return {"game_data_str": json.dumps(game)}


MALFORMED = [
  ({"data_source": None}, "column data_source is None"),
  ({"prompt": "Solve"}, "column prompt is not a list of messages"),
  ({"prompt": [{"role": "user"}]}, "column prompt is not a list of messages"),
  ({"prompt": []}, "column prompt is empty"),
  ({"extra_info": None}, "column extra_info: game_data_str is missing"),
  ({"extra_info": {"index": 1}}, "column extra_info: game_data_str is missing"),
  ({"extra_info": {"game_data_str": "{"}}, "missing or not JSON"),
  ({"extra_info": {"game_data_str": "[]"}}, "has no question of type str"),
  (
    {"extra_info": game_data("sudoku", metadata={})},
    "game_data_str of a sudoku: no 'original_sudoku'",
  ),
  (
    {"extra_info": game_data("sudoku", metadata={"original_sudoku": [[1]]})},
    "original_sudoku is not a square of 9 rows",
  ),
  (
    {"extra_info": game_data("sudoku", metadata={"original_sudoku": 7})},
    "game_data_str of a sudoku",
  ),
  (
    {
      "data_source": "futoshiki",
      "extra_info": game_data("futoshiki", question="no grid"),
    },
    "its question shows no grid of 3 rows",
  ),
  (
    {
      "data_source": "dyck_language",
      "extra_info": game_data("sudoku", metadata={"full_sequence": "ab"}),
    },
    "'ab' has more than brackets",
  ),
]


def test_a_prompt_with_a_broken_character_is_named(tmp_path):
  broken = row("sudoku", prompt=[{"role": "user", "content": "a\ud83d"}])
  path = write(tmp_path / "train.jsonl", [broken])
  with pytest.raises(ValueError, match=r"row 0: the prompt holds '\\ud83d'"):
    synlogic.read(path)


@pytest.mark.parametrize("changes, message", MALFORMED)
def test_a_malformed_row_is_named(changes, message, tmp_path):
  rows = [row("numbrix"), row("sudoku", **changes)]
  path = write(tmp_path / "train.jsonl", rows)
  with pytest.raises(ValueError, match="row 1: .*" + message) as error:
    synlogic.read(path)
  assert str(path) in str(error.value)


def test_a_malformed_row_of_a_parquet_file_is_named(tmp_path):
  rows = [row("sudoku"), row("sudoku", prompt=None)]
  path = write(tmp_path / "train.parquet", rows)
  with pytest.raises(ValueError, match=r"train\.parquet: row 1: column prompt"):
    synlogic.read(path)


def test_files_that_are_something_else_are_named(tmp_path):
  (tmp_path / "a.parquet").write_text("text")
  (tmp_path / "b.jsonl").write_text('{"data_source": "arc_agi"}\nnot json\n')
  (tmp_path / "c.jsonl").write_text("[1]\n")
  parquet.write_table(pyarrow.table({"prompt": ["a"]}), tmp_path / "d.parquet")
  for name, message in {
    "a.parquet": r"a\.parquet is not parquet",
    "b.jsonl": r"b\.jsonl: row 1 is not JSON",
    "c.jsonl": r"c\.jsonl: row 0 is not a JSON object",
    "d.parquet": r"d\.parquet has no column \['data_source', 'extra_info'\]",
    "e.parquet": r"e\.parquet is not a file",
  }.items():
    with pytest.raises(ValueError, match=message):
      synlogic.read(tmp_path / name)


def test_settings_that_cannot_work_are_named(tmp_path):
  write(tmp_path / "train.jsonl", [row("sudoku")])
  with pytest.raises(ValueError, match=r"task\.data_dir is not set"):
    make_task("synlogic")
  with pytest.raises(ValueError, match=r"task\.difficulty must be 1"):
    make_task("synlogic", tmp_path, difficulty=2)
  load = make_task("synlogic", tmp_path).load
  for split in ("test", "train[", "train[:0]", "../train"):
    with pytest.raises(ValueError, match="split="):
      load(split)
