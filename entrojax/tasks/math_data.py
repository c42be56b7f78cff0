r"""Local files of mathematics as a task: parquet, JSON lines or a JSON list.

`make_task("math", folder)` reads `folder/train.parquet` (.jsonl, .json) for the
split 'train'; of a single file, `make_task("math", "math500.jsonl")`, the
splits are 'all', and 'train', 'validation' and 'test' cut by a hash of the
question. `entrojax.prepare_data` makes a TFDS data set of either, which is a
folder too. "math/dapo" is the same task with another grader: math_answers.py.

The layouts of GSM8K, MATH, MATH-500, DAPO-Math-17k, DeepScaleR, AIME, AMC,
Minerva, OlympiadBench, RLVR-Decomposed and rllm are told apart row by row, by
the columns that are there; the first that is not null counts:

    question   reward_model.ground_truth.question, extra_info.raw_problem,
               extra_info.question, problem, question, or prompt: a text, or
               messages, of which the user's are taken
    gold       reward_model.ground_truth (a text, a number, a list, or a dict
               with target), answer, final_answer, else out of solution: the
               number after ####, or the last box
    id         unique_id, id, idx, extra_info.index, or file and row
    source     data_source, source, or the file's name
    level      level: 5 or "Level 5"

A question loses DAPO's instruction, which its data set repeats in every prompt:
the template of a run puts it on again, once.
"""

from collections.abc import Mapping, Sequence
import functools
import math
import os
from pathlib import Path
import re
from typing import Any, NamedTuple
import warnings

from entrojax.answers.spelling import boxed
from entrojax.tasks import files, math_answers
from entrojax.types import Problem, Task

Cells = dict[str, Any]  # of a row, by column, as JSON or parquet has them
Message = Mapping[str, str]  # role, content


class Row(NamedTuple):
  """One problem of a file."""

  id: str
  question: str  # without instructions
  messages: tuple[Message, ...] | None  # as they are in the file
  gold: tuple[str, ...]  # stripped, none empty; one of them is to be given
  source: str  # the data set
  level: int | None  # of difficulty, if the file has one
  meta: Mapping[str, Any]  # the other columns but solution


class Loaded(NamedTuple):
  """What a file holds, and what of it was left out."""

  rows: tuple[Row, ...]  # in the file's order
  duplicates: int  # rows left out: their question stands in an earlier one
  conflicts: int  # those of them whose gold answers differ from it
  empty: int  # rows left out: they have no gold answer


class _ColumnError(ValueError):
  """A column holds something else than it should."""


# -- reading ------------------------------------------------------------------


def read(path: str | os.PathLike) -> Loaded:
  """Reads a file.

  Questions that differ in white space only are the same.

  Raises:
    ValueError: a row is malformed; the message names file, row and column.
  """
  path = Path(path)
  rows: dict[str, Row] = {}
  duplicates = conflicts = empty = 0
  for number, raw in files.rows(path):
    try:
      question, gold = _question(raw), _gold(raw)
      same = same_question(question)
      if gold and same not in rows:
        where = f"{path.stem}:{number}"
        rows[same] = _row(raw, question, gold, where, path.stem)
        continue
    except _ColumnError as error:
      raise ValueError(f"{path}: row {number}: column {error}") from error
    if gold:
      duplicates += 1
      conflicts += rows[same].gold != gold
    else:
      empty += 1
  return Loaded(tuple(rows.values()), duplicates, conflicts, empty)


def same_question(question: str) -> str:
  """Returns what is equal of two rows with the same question."""
  return " ".join(question.split())


def _row(
  raw: Cells, question: str, gold: tuple[str, ...], where: str, name: str
) -> Row:
  identifier = _first(raw, "unique_id", "id", "idx", "extra_info.index")
  source = _first(raw, "data_source", "source")
  return Row(
    id=where if identifier is None else str(identifier),
    question=question,
    messages=_messages(raw),
    gold=gold,
    source=name if source is None else str(source),
    level=_level(raw.get("level")),
    meta={k: v for k, v in raw.items() if k not in _USED and not _null(v)},
  )


_USED = frozenset(
  {
    *("unique_id", "id", "idx", "data_source", "source", "level", "prompt"),
    *("problem", "question", "source_prompt", "answer", "final_answer"),
    *("reward_model", "solution"),
  }
)


def _null(value: Any) -> bool:
  """Says whether a cell is empty: tables write NaN for that."""
  return value is None or (isinstance(value, float) and math.isnan(value))


def _get(raw: Cells, column: str) -> Any:
  """Returns a cell, 'a.b' of nested ones; None: it is not there, or empty."""
  value: Any = raw
  for key in column.split("."):
    value = value.get(key) if isinstance(value, dict) else None
  return None if _null(value) else value


def _first(raw: Cells, *columns: str) -> Any:
  values = (_get(raw, column) for column in columns)
  return next((value for value in values if value is not None), None)


def _question(raw: Cells) -> str:
  columns = (
    "reward_model.ground_truth.question",
    "extra_info.raw_problem",
    "extra_info.question",
    "problem",
    "question",
    "prompt",
  )
  for column in columns:
    value = _get(raw, column)
    if value is None:
      continue
    if column == "prompt" and isinstance(value, list):
      said = _messages(raw) or ()
      value = "\n\n".join(m["content"] for m in said if m["role"] == "user")
    if not isinstance(value, str):
      raise _ColumnError(f"{column} is {value!r:.80}, not a text")
    value = without_instruction(value).strip()
    if not value:
      raise _ColumnError(f"{column} is empty")
    context = _get(raw, "context")  # of OlympiadBench
    if isinstance(context, str) and column == "question":
      value = f"{context}\n\n{value}".strip()
    return value
  raise _ColumnError("problem is missing, and so are question and prompt")


def without_instruction(prompt: str) -> str:
  """Takes DAPO's first and last paragraph off a prompt, if they are there."""
  first, _, rest = prompt.strip().partition("\n\n")
  question, _, last = rest.rpartition("\n\n")
  if (
    first.startswith("Solve the following math problem")
    and "Answer:" in first
    and last.startswith("Remember to put your answer")
  ):
    return question
  return prompt


def _messages(raw: Cells) -> tuple[Message, ...] | None:
  for column in ("prompt", "source_prompt"):
    value = _get(raw, column)
    if not isinstance(value, list):
      continue
    if not value or not all(
      isinstance(message, dict)
      and isinstance(message.get("role"), str)
      and isinstance(message.get("content"), str)
      for message in value
    ):
      raise _ColumnError(
        f"{column} is not a list of messages with role and content"
      )
    return tuple(
      {"role": message["role"], "content": message["content"]}
      for message in value
    )
  return None


def _level(value: Any) -> int | None:
  """Reads 5, 5.0 or "Level 5"; "Level ?" and other words are no level."""
  text = "" if _null(value) else str(value)
  match = re.fullmatch(r"(?:level\s*)?([0-9]{1,4})(?:\.0)?", text.strip(), re.I)
  return int(match[1]) if match else None


# -- gold answers -------------------------------------------------------------


def _gold(raw: Cells) -> tuple[str, ...]:
  """Returns the gold answers, of which a response has to give one."""
  for column in ("reward_model.ground_truth", "answer", "final_answer"):
    value = _get(raw, column)
    if isinstance(value, dict):
      if "target" not in value:
        raise _ColumnError(f"{column} is a dict without target")
      column, value = f"{column}.target", value["target"]
    if _null(value):
      continue
    values = value if isinstance(value, list) else [value]
    texts = [_text(v, column) for v in values if not _null(v)]
    gold = tuple(text for text in texts if text)
    if raw.get("is_multiple_answer") is True and len(gold) > 1:
      return (", ".join(gold),)  # all of them, not one
    return gold
  solution = _get(raw, "solution")
  if isinstance(solution, str):
    found = answer_of_solution(solution)
    return (found,) if found else ()
  if not {"reward_model", "answer", "final_answer", "solution"} & set(raw):
    raise _ColumnError("answer is missing, and so is solution")
  return ()


def _text(value: Any, column: str) -> str:
  """Writes a gold answer; 142.0 is 142."""
  if isinstance(value, str):
    if column == "answer" and "####" in value:
      return answer_of_solution(value) or ""
    return value.strip()
  if isinstance(value, float) and math.isfinite(value):
    return str(int(value)) if value.is_integer() else repr(value)
  if isinstance(value, int) and not isinstance(value, bool):
    return str(value)
  raise _ColumnError(f"{column} is {value!r:.80}, neither a text nor a number")


def answer_of_solution(solution: str) -> str | None:
  r"""Returns the number after the last ####, without commas, or the last box.

  Of a solution, not of a response: \fbox{5} and \boxed 5 count as boxes.
  """
  _, marks, after = solution.rpartition("####")
  if marks:
    return after.strip().partition("\n")[0].replace(",", "").strip() or None
  text = re.sub(r"\\fbox(?=\s*\{)", r"\\boxed", solution)
  return boxed(re.sub(r"\\boxed\s+([^\s{}$\\]+)", r"\\boxed{\1}", text))


# -- the task -----------------------------------------------------------------


def problem(row: Row) -> Problem:
  """Makes the problem of a row; its prompt is the question."""
  answer = {"gold": list(row.gold), "id": row.id, "source": row.source}
  return Problem(row.question, answer | {"level": row.level})


class Splits:
  """Reads splits: see this file's head.

  Tells what was left out, and how many problems a split shares with another
  that was read before: a training set that contains the test set.
  """

  def __init__(self, path: Path):
    """Makes it of a file, or of a folder with a file for each split."""
    self._path = path
    self._read = functools.cache(_told)
    self._questions: dict[str, set[str]] = {}  # split -> its questions

  def __call__(self, split: str) -> tuple[Problem, ...]:
    """Reads a split, 'train', or a part of one, 'train[100:200]'.

    Raises:
      ValueError: no such split, a malformed row, or no problem in it.
    """
    name, part = files.parse_split(split)
    rows = self._rows(name)[part]
    if not rows:
      raise ValueError(f"split={split!r} of {self._path} holds no problem")
    self._tell_shared(split, {same_question(row.question) for row in rows})
    return tuple(map(problem, rows))

  def _rows(self, name: str) -> Sequence[Row]:
    if self._path.is_dir():
      return self._read(files.find(self._path, name))
    rows = self._read(self._path)
    if name == "all":
      return rows
    splits = split_rows(rows)
    if name not in splits:
      raise ValueError(
        f"split={name!r} of a file must be one of {('all', *splits)}"
      )
    return splits[name]

  def _tell_shared(self, split: str, questions: set[str]) -> None:
    for other, others in self._questions.items():
      shared = len(questions & others)
      if shared and other != split:
        warnings.warn(
          f"{self._path}: {shared} of the {len(questions)} problems of "
          f"{split!r} are in {other!r} too",
          stacklevel=3,
        )
    self._questions[split] = questions


def split_rows(rows: Sequence[Row]) -> dict[str, list[Row]]:
  """Cuts the rows of a file into splits by the hash of the question."""
  from entrojax.tasks.builder import split_problems  # takes a second

  splits = split_problems(Problem(row.question, {"row": row}) for row in rows)
  return {
    name: [part.answer["row"] for part in problems]
    for name, problems in splits.items()
  }


def left_out(loaded: Loaded) -> str:
  """Says how many rows of a file were left out and why; '' for none."""
  _, duplicates, conflicts, empty = loaded
  counts = {
    f"{duplicates} with the question of an earlier one ({conflicts} of them "
    "with another answer)": duplicates,
    f"{empty} without an answer": empty,
  }
  return ", ".join(text for text, count in counts.items() if count)


def _told(path: Path) -> tuple[Row, ...]:
  """Reads a file and tells what was left out."""
  loaded = read(path)
  told = left_out(loaded)
  if told:
    warnings.warn(f"{path}: left out rows: {told}", stacklevel=4)
  return loaded.rows


def task(
  path: str | os.PathLike | None,
  difficulty: int = 1,
  *,
  grader: str = "boxed",
) -> Task:
  """Makes the task of a file, a folder of files or a prepared data set.

  Args:
    path: of it.
    difficulty: 1, for a file holds problems of the difficulty it was made with.
    grader: one of math_answers.GRADERS.

  Raises:
    ValueError: there is no such file, or grader, or a difficulty is given.
  """
  if path is None:
    raise ValueError("task.data_dir is not set: the folder of the math files")
  if difficulty != 1:
    raise ValueError(
      f"task.difficulty must be 1 for math, got {difficulty}: its files hold "
      "problems of the difficulty they were made with"
    )
  path = Path(path).expanduser()
  if not path.exists():
    raise ValueError(f"task.data_dir={str(path)!r} does not exist")
  made = math_answers.make_grader(grader)
  return Task(
    name="math",
    load=files.stored_loader(path, "math") or Splits(path),
    verify=math_answers.make_verifier(made),
    equivalent=math_answers.equivalent(made),
  )
