r"""Files of mathematics: every layout and trap of the data sets in use.

The rows have the columns and the oddities of the published files, but the
questions and answers are invented.
"""

from decimal import Decimal
import json
import warnings

import pyarrow
from pyarrow import parquet
import pytest

from entrojax.data import templates
from entrojax.tasks import make_task, math_data
from entrojax.tasks.builder import split_problems
from entrojax.tasks.math_answers import make_grader, make_verifier
from entrojax.types import Problem, Verdict

INSTRUCTION = (
  "Solve the following math problem step by step. The last line of your "
  "response should be of the form Answer: $Answer (without quotes) where "
  "$Answer is the answer to the problem."
)
REMINDER = 'Remember to put your answer on its own line after "Answer:".'


def write(path, rows):
  if path.suffix == ".parquet":
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
  elif path.suffix == ".json":
    path.write_text(json.dumps(rows))
  else:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return path


@pytest.fixture
def read(tmp_path):
  """Return the FileContents of rows written to a file."""

  def read(*rows, name="set.jsonl"):
    return math_data.read(write(tmp_path / name, rows))

  return read


def dapo(question="What is 30 + 4?", gold="34", **changes):
  content = f"{INSTRUCTION}\n\n{question}\n\n{REMINDER}"
  return {
    "data_source": "math_dapo",
    "prompt": [{"role": "user", "content": content}],
    "ability": "MATH",
    "reward_model": {"ground_truth": gold, "style": "rule"},
    "extra_info": {"index": "9a9b"},
  } | changes


# data set: (one of its rows, (question, gold, id, source, level) by hand)
LAYOUTS = {
  "gsm8k": (
    {"question": "6 x 200?", "answer": "6*200=<<6*200=1200>>1,200\n#### 1,200"},
    ("6 x 200?", ["1200"], "set:0", "set", None),
  ),
  "math": (
    {
      "problem": "Half of one?",
      "solution": r"First \boxed{2}, no: \boxed{\frac{1}{2}}.",
      "level": "Level 5",
      "type": "Algebra",
    },
    ("Half of one?", [r"\frac{1}{2}"], "set:0", "set", 5),
  ),
  "math, level unknown": (
    {"problem": "p", "solution": r"\boxed{2}", "level": "Level ?", "type": "G"},
    ("p", ["2"], "set:0", "set", None),
  ),
  "math, box without braces": (
    {"problem": "p", "solution": r"so $x = \boxed 2$.", "level": "Level 1"},
    ("p", ["2"], "set:0", "set", 1),
  ),
  "math, fbox": (
    {"problem": "p", "solution": r"so $\fbox{B}$.", "level": "Level 1"},
    ("p", ["B"], "set:0", "set", 1),
  ),
  "math 3-5": (
    {"problem": "p", "answer": " 7 "},
    ("p", ["7"], "set:0", "set", None),
  ),
  "math500": (
    {
      "problem": "p",
      "solution": r"\boxed{8}",
      "answer": "7",
      "subject": "Algebra",
      "level": 3,
      "unique_id": "test/algebra/1.json",
    },
    ("p", ["7"], "test/algebra/1.json", "set", 3),
  ),
  "dapo": (dapo(), ("What is 30 + 4?", ["34"], "9a9b", "math_dapo", None)),
  "dapo, processed": (
    dapo(prompt="What is 30 + 4?", solution="34", source_prompt=None),
    ("What is 30 + 4?", ["34"], "9a9b", "math_dapo", None),
  ),
  "aime 2024, dapo": (
    dapo(extra_info={"index": 3, "raw_problem": "Raw?", "split": "test"}),
    ("Raw?", ["34"], "3", "math_dapo", None),
  ),
  "rlvr-decomposed": (
    {
      "level": "Level 2",
      "type": "Algebra",
      "data_source": "MATH",
      "prompt": [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "p\nPlease reason step by step."},
      ],
      "ability": "math",
      "reward_model": {
        "ground_truth": {"question": "p", "solution": "s", "target": "7"},
        "style": "rule",
      },
      "extra_info": {"index": 12, "split": "train"},
    },
    ("p", ["7"], "12", "MATH", 2),
  ),
  "deepscaler": (
    {"problem": "p", "answer": "7", "solution": "..."},
    ("p", ["7"], "set:0", "set", None),
  ),
  "aime, a number": (
    {"problem": "p", "answer": 25},
    ("p", ["25"], "set:0", "set", None),
  ),
  "aime, zeros": (
    {"id": 61, "problem": "p", "answer": "025"},
    ("p", ["025"], "61", "set", None),
  ),
  "amc, a float": (
    {"problem": "p", "answer": 142.0},
    ("p", ["142"], "set:0", "set", None),
  ),
  "a float": (
    {"problem": "p", "answer": 0.25},
    ("p", ["0.25"], "set:0", "set", None),
  ),
  "a float with an exponent": (
    {"problem": "p", "answer": 6.02e23},
    ("p", ["602" + "0" * 21], "set:0", "set", None),
  ),
  "a tuple after ####": (
    {"problem": "p", "answer": "so\n#### (1,2)"},
    ("p", ["(1,2)"], "set:0", "set", None),
  ),
  "a list after ####": (
    {"problem": "p", "solution": "so\n#### 3, 4"},
    ("p", ["3, 4"], "set:0", "set", None),
  ),
  "a price after ####": (
    {"problem": "p", "solution": "so\n#### $1,200.50"},
    ("p", ["$1200.50"], "set:0", "set", None),
  ),
  "verl, a number": (
    dapo(gold=34.0),
    ("What is 30 + 4?", ["34"], "9a9b", "math_dapo", None),
  ),
  "minerva, a list": (
    {"problem": "p", "answer": ["4.5e33\n"], "idx": 1},
    ("p", ["4.5e33"], "1", "set", None),
  ),
  "olympiadbench": (
    {
      "id": 1606,
      "context": "Let $n > 1$.",
      "question": "p",
      "solution": ["long"],
      "final_answer": [r"$\frac{1}{2 n+2}$"],
      "subfield": "Algebra",
      "is_multiple_answer": False,
      "unit": None,
      "answer_type": "Expression",
      "error": None,
    },
    ("Let $n > 1$.\n\np", [r"$\frac{1}{2 n+2}$"], "1606", "set", None),
  ),
  "olympiadbench, several": (
    {"question": "p", "answer": ["1", "2"], "is_multiple_answer": True},
    ("p", ["1, 2"], "set:0", "set", None),
  ),
  "rllm, alternatives": (
    {"problem": "p", "answer": ["1/2", "0.5"], "difficulty": 4.0},
    ("p", ["1/2", "0.5"], "set:0", "set", None),
  ),
  "rllm gsm8k, null": (
    {
      "problem": "p",
      "solution": "9 * 2 = $<<9*2=18>>18\n#### 18",
      "answer": None,
      "difficulty": -1.0,
    },
    ("p", ["18"], "set:0", "set", None),
  ),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
def test_a_layout_is_read_as_by_hand(name, ending, read):
  raw, expected = LAYOUTS[name]
  (row,) = read(raw, name=f"set.{ending}").rows
  fields = (row.question, list(row.gold), row.id, row.source, row.level)
  assert fields == expected


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_rows_own_gold_is_right_in_a_box(name, read):
  problem = math_data.problem(read(LAYOUTS[name][0]).rows[0])
  for grader in ("boxed", "gsm8k", "qwen"):
    verify = make_verifier(make_grader(grader))
    for gold in problem.answer["gold"]:
      response = rf"Surely \boxed{{1}}, or \boxed{{{gold}}}."
      assert verify(problem, response).reward == 1.0


def test_messages_stay_as_they_were_and_other_columns_are_kept(read):
  row = read(LAYOUTS["rlvr-decomposed"][0]).rows[0]
  assert [m["role"] for m in row.messages] == ["system", "user"]
  assert row.meta["type"] == "Algebra"
  row = read(LAYOUTS["olympiadbench"][0]).rows[0]
  assert row.messages is None
  assert row.meta["answer_type"] == "Expression" and "unit" not in row.meta


def test_dapos_instruction_goes_and_its_template_puts_it_on_once(read):
  row = read(dapo(question="One.\n\nTwo?")).rows[0]
  assert math_data.problem(row).prompt == row.question == "One.\n\nTwo?"
  assert templates.dapo(row.question) == row.messages[0]["content"]


def test_a_question_that_only_begins_like_the_instruction_stays():
  question = "Solve the following math problem.\n\nIt is hard.\n\nWhat is x?"
  assert math_data.without_instruction(question) == question


# -- what is left out ---------------------------------------------------------


def test_duplicates_go_in_stable_order_and_are_counted(read):
  questions = ["b", "a a", " b ", "c", "a \n a", "b", "B"]
  loaded = read(*(dapo(question=q, gold="3") for q in questions))
  assert [row.question for row in loaded.rows] == ["b", "a a", "c", "B"]
  assert loaded[1:4] == (3, 0, 0)


def test_duplicates_with_another_answer_are_counted_and_the_first_stays(read):
  loaded = read(dapo(gold="3"), dapo(gold="4"), dapo(gold="3"))
  assert loaded.rows[0].gold == ("3",)
  assert (loaded.duplicates, loaded.conflicts) == (2, 1)


def test_a_set_that_repeats_its_problems_is_read_once(read):
  """The layout of aime-2024.parquet, which holds 30 problems 32 times."""
  rows = [dapo(question=f"p{i % 5}", gold=str(i % 5)) for i in range(5 * 32)]
  loaded = read(*rows, name="aime-2024.parquet")
  assert [row.question for row in loaded.rows] == [f"p{i}" for i in range(5)]
  assert loaded.duplicates == 5 * 31


@pytest.mark.parametrize(
  "raw",
  [
    {"problem": "p", "answer": "", "solution": r"\boxed{7}"},  # DeepScaleR
    {"problem": "p", "answer": " \n"},
    {"problem": "p", "answer": []},
    {"problem": "p", "answer": [None, ""]},
    {"problem": "p", "answer": float("nan")},
    {"problem": "p", "answer": None, "solution": None},
    {"problem": "p", "answer": None, "solution": "no box"},
    {"problem": "p", "solution": r"\boxed{7"},
    {"problem": "p", "answer": "so ####"},
    dapo(gold=None),
  ],
)
def test_rows_without_an_answer_go_and_are_counted(raw, read):
  loaded = read({"problem": "q", "answer": "1"}, raw)
  assert [row.question for row in loaded.rows] == ["q"]
  assert loaded[1:4] == (0, 0, 1)


def test_a_row_without_an_answer_does_not_hide_a_later_one_with(read):
  loaded = read({"problem": "p", "answer": ""}, {"problem": "p", "answer": "7"})
  assert loaded.rows[0].gold == ("7",)
  assert loaded[1:4] == (0, 0, 1)


# -- the task -----------------------------------------------------------------

ROWS = [{"problem": f"What is {i}?", "answer": i} for i in range(40)]


def test_a_folder_has_a_split_for_each_file(tmp_path):
  write(tmp_path / "train.parquet", ROWS[:30])
  write(tmp_path / "aime.json", ROWS[30:])
  task = make_task("math", tmp_path)
  problems = task.load("train")
  assert [p.prompt for p in problems] == [r["problem"] for r in ROWS[:30]]
  part = make_task("math", tmp_path).load("aime[2:4]")
  assert part == task.load("aime")[2:4]
  assert problems[7].answer == {
    "gold": ["7"],
    "id": "train:7",
    "source": "train",
    "level": None,
  }
  json.dumps(problems[7].answer)
  assert task.verify(problems[7], r"\boxed{7}") == Verdict(1.0, "correct", "7")
  assert task.equivalent("1/2", "0.5") and not task.equivalent("1", "2")


def test_a_file_has_disjoint_splits_and_all(tmp_path):
  load = make_task("math", write(tmp_path / "set.jsonl", ROWS)).load
  with warnings.catch_warnings():
    warnings.simplefilter("error")  # the parts share nothing
    parts = [load(name) for name in ("train", "validation", "test")]
  assert [len(part) for part in parts] == [30, 5, 5]  # an eighth each
  with pytest.warns(UserWarning, match="of the 40 problems of 'all' are in"):
    everything = load("all")
  assert len(everything) == 40
  assert {p.prompt for part in parts for p in part} == {
    p.prompt for p in everything
  }


def test_copies_of_a_prompt_are_in_one_split():
  problems = [Problem(f"p{i % 20}", {"i": i}) for i in range(80)]
  splits = split_problems(problems)
  assert sum(map(len, splits.values())) == 80
  prompts = [{p.prompt for p in split} for split in splits.values()]
  assert sum(map(len, prompts)) == 20  # so no prompt is in two splits
  assert all(prompts)


def test_the_grader_is_part_of_the_name(tmp_path):
  write(tmp_path / "train.jsonl", ROWS)
  task = make_task("math/dapo", tmp_path)
  problem = task.load("train")[7]
  assert task.verify(problem, "Answer: 7").reward == 1.0
  assert task.verify(problem, r"\boxed{7}").reason == "no answer"


def test_what_is_left_out_is_told(tmp_path):
  rows = [*ROWS, ROWS[0], {"problem": ROWS[1]["problem"], "answer": 9}]
  write(tmp_path / "train.jsonl", [*rows, {"problem": "p", "answer": ""}])
  message = "2 with the question of an earlier one .1 of them .* 1 without"
  with pytest.warns(UserWarning, match=message):
    make_task("math", tmp_path).load("train")


def test_a_training_set_that_contains_the_test_set_is_told(tmp_path):
  """The case of gsm_8k in understand-r1-zero: its train holds its test set."""
  write(tmp_path / "test.jsonl", ROWS[:10])
  write(tmp_path / "train.jsonl", ROWS)
  task = make_task("math", tmp_path)
  task.load("test")
  with pytest.warns(UserWarning, match="10 of the 40 .*'train' .* in 'test'"):
    task.load("train")


# -- errors -------------------------------------------------------------------

MALFORMED = [
  ({"answer": "7"}, "column problem is missing"),
  ({"problem": None, "answer": "7"}, "column problem is missing"),
  ({"problem": 7, "answer": "7"}, "column problem is 7, not a text"),
  ({"problem": " ", "answer": "7"}, "column problem is empty"),
  ({"problem": "p\ud83d", "answer": "7"}, r"column problem holds '\\ud83d', h"),
  ({"problem": "p"}, "column answer is missing"),
  ({"problem": "p", "answer": True}, "column answer is True, neither"),
  ({"problem": "p", "answer": [[1]]}, r"column answer is \[1\], neither"),
  ({"problem": "p", "answer": float("inf")}, "column answer is inf, neither"),
  ({"problem": "p", "answer": {"a": "7"}}, "column answer is a dict without"),
  (
    dapo(gold={"question": "p"}),
    r"column reward_model\.ground_truth is a dict without target",
  ),
  (
    dapo(gold={"target": {"a": 1}}),
    r"column reward_model\.ground_truth\.target is \{'a': 1\}, neither",
  ),
  (dapo(prompt=[]), "column prompt is not a list of messages"),
  (dapo(prompt=[{"role": "user"}]), "column prompt is not a list of messages"),
  (
    dapo(prompt=[{"role": "system", "content": "Think."}]),
    "column prompt is empty",
  ),
  (dapo(prompt=7), "column prompt is 7, not a text"),
]


@pytest.mark.parametrize("raw, message", MALFORMED)
def test_a_malformed_row_is_named(raw, message, tmp_path):
  path = write(tmp_path / "train.jsonl", [dapo(), raw])
  with pytest.raises(ValueError, match="row 1: " + message) as error:
    math_data.read(path)
  assert str(path) in str(error.value)


def test_numbers_of_parquet_have_the_digits_that_were_written(tmp_path):
  columns = {
    "half": pyarrow.array([0.1, None], pyarrow.float32()),
    "decimal": [Decimal("1.5000"), Decimal("200.0000")],
    # nanoseconds, for which Python has no type
    "time": pyarrow.array([1, 1_700_000_000_000_000_123], "timestamp[ns]"),
  }
  path = tmp_path / "set.parquet"
  parquet.write_table(
    pyarrow.table({"problem": ["p", "q"], **columns, "answer": ["1", "2"]}),
    path,
  )
  golds = {
    column: [
      row.gold for row in math_data.read(path, columns={"answer": column}).rows
    ]
    for column in ("half", "decimal")
  }
  assert golds == {"half": [("0.1",)], "decimal": [("1.5",), ("200",)]}


def test_a_value_that_python_cannot_hold_is_named(tmp_path):
  days = pyarrow.array([10_000_000], "date32")  # in the year 29349
  path = tmp_path / "set.parquet"
  parquet.write_table(pyarrow.table({"problem": ["p"], "day": days}), path)
  with pytest.raises(ValueError, match=r"set\.parquet: a value cannot be read"):
    math_data.read(path)


def test_empty_lines_count_but_are_no_rows(tmp_path):
  path = tmp_path / "train.jsonl"
  path.write_text(json.dumps(dapo()) + '\n\n{"problem": 7}\n\n')
  with pytest.raises(ValueError, match="row 2: column problem is 7"):
    math_data.read(path)


def test_files_that_are_something_else_are_named(tmp_path):
  (tmp_path / "a.parquet").write_text("text")
  (tmp_path / "b.jsonl").write_text('{"problem": \n')
  (tmp_path / "c.json").write_text('{"problem": "p"}')
  (tmp_path / "d.json").write_text("[1]")
  (tmp_path / "e.json").write_text("[" * 100_000)
  (tmp_path / "f.jsonl").write_bytes(b'{"problem": "\xff"}')
  (tmp_path / "h.csv").write_text("problem,answer\n1+1,2\n")
  (tmp_path / "i.jsonl.gz").write_bytes(b"\x1f\x8b\x08\xff")
  for name, message in {
    "a.parquet": r"a\.parquet is not parquet",
    "b.jsonl": r"b\.jsonl: row 0 is not JSON",
    "c.json": r"c\.json is not a JSON list",
    "d.json": r"d\.json: row 0 is not a JSON object",
    "e.json": r"e\.json is not JSON",
    "f.jsonl": r"f\.jsonl is not text in UTF-8",
    "g.jsonl": r"g\.jsonl is not a file",
    "h.csv": r"h\.csv: row 0 is not JSON: .* by its ending \.parquet, \.json "
    r"or \.jsonl; h\.csv was read as JSON lines$",
    "i.jsonl.gz": r"is not text in UTF-8: .*; i\.jsonl\.gz was read as JSON",
  }.items():
    with pytest.raises(ValueError, match=message):
      math_data.read(tmp_path / name)


def test_settings_that_cannot_work_are_named(tmp_path):
  write(tmp_path / "train.jsonl", ROWS)
  with pytest.raises(ValueError, match=r"task\.data_dir is not set"):
    make_task("math")
  with pytest.raises(ValueError, match=r"task\.data_dir=.* does not exist"):
    make_task("math", tmp_path / "nowhere")
  with pytest.raises(ValueError, match=r"task\.difficulty must be 1"):
    make_task("math", tmp_path, difficulty=2)
  with pytest.raises(ValueError, match=r"task\.name: math/\.\.\. ends in one"):
    make_task("math/exact", tmp_path)
  load = make_task("math", tmp_path).load
  for split in ("test", "train[", "train[:0]", "../train", "train[-:]"):
    with pytest.raises(ValueError, match="split="):
      load(split)
  with pytest.raises(ValueError, match="split='dev' of a file must be one of"):
    make_task("math", tmp_path / "train.jsonl").load("dev")
