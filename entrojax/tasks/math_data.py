"""Read local files of mathematics (parquet or JSON) as a task.

The task "math" of a folder reads `folder/train.parquet` (or .jsonl, .json), or
its shards, for the split 'train'; see files.py. The task "math" of a single
file reads that file. Its split 'all' is the whole file, and a hash of the
question divides it into 'train', 'validation' and 'test'.
`entrojax.prepare_data` turns either into a TFDS data set, whose folder can be
given instead. "math/dapo" is the same task with another grader; see
math_answers.py.

Rows with the question of an earlier row, and rows without a gold answer, are
left out with a warning. Some data sets write `proof` or `notfound` where there
is no answer. Rows that cannot be read are left out as well and the first is
named, unless they are more than a twentieth: then the file is refused.

The files of GSM8K, MATH, MATH-500, DAPO-Math-17k, DeepScaleR, AIME, AMC,
Minerva, OlympiadBench, RLVR-Decomposed and rllm can be read as they are. Each
field of a row comes from the first of these columns that exists and is not
null:

    question   reward_model.ground_truth.question, extra_info.raw_problem,
               extra_info.question, problem, question, prompt (a text, or a
               list of messages, from which the user's are taken)
    gold       reward_model.ground_truth (a text, a number, a list, or a dict
               with target), answer, final_answer, solution (what stands
               after ####, or the last box)
    id         unique_id, id, idx, extra_info.index; otherwise file and row
    source     data_source, source; otherwise the file's name
    level      level, written 5 or "Level 5"

The case of a column's name does not matter. The setting task.columns can name
other columns for question, answer, id, source and level.

In the column answer, too, only what stands after #### counts, if it is there.
If a row has a list of gold answers, any one of them is right, unless its
column is_multiple_answer is true: then a response must give all.

DAPO's data set repeats the same instruction in every prompt. It is removed from
the question, because the prompt template of a run adds it again.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
import functools
import math
import os
from pathlib import Path
import re
from types import MappingProxyType
from typing import Any, NamedTuple
import warnings

from entrojax.answers.spelling import boxed
from entrojax.tasks import files, math_answers
from entrojax.tasks.files import question_key
from entrojax.types import Problem, Task

Cells = dict[str, Any]  # column -> value of a row, as JSON or parquet give it
Message = Mapping[str, str]  # role, content


class Row(NamedTuple):
  """One problem of a file."""

  id: str
  question: str  # without instructions
  messages: tuple[Message, ...] | None  # unchanged, if the file has messages
  gold: tuple[str, ...]  # stripped, not empty; any one of them is right
  source: str  # name of the data set
  level: int | None  # difficulty, if the file has one
  meta: Mapping[str, Any]  # the columns not used above, without solution


class FileContents(NamedTuple):
  """The rows of a split, and the number of rows that were left out."""

  rows: tuple[Row, ...]  # in the file's order
  duplicates: int  # rows left out because an earlier row has their question
  conflicts: int  # duplicates whose gold answers differ from the earlier row's
  empty: int  # rows left out because they have no gold answer
  unreadable: tuple[
    str, ...
  ] = ()  # for each row left out, why it is unreadable


_NO_COLUMNS: Mapping[str, str] = MappingProxyType({})
# what task.columns may name -> the columns in whose place it is read
COLUMNS = {
  "question": ("question", "problem", "prompt", "reward_model", "extra_info"),
  "answer": ("answer", "final_answer", "solution", "reward_model"),
  "id": ("id", "unique_id", "idx", "extra_info"),
  "source": ("source", "data_source"),
  "level": ("level",),
}
# what published files write where there is no answer
PLACEHOLDERS = frozenset({"proof", "notfound", "not found", "n/a"})


class _ColumnError(ValueError):
  """The value of a column is malformed."""


# -- reading ------------------------------------------------------------------


def read(
  *paths: str | os.PathLike, columns: Mapping[str, str] = _NO_COLUMNS
) -> FileContents:
  """Read a split; leave out rows with a repeated question or without an answer.

  Questions that differ only in white space count as the same.

  Args:
    *paths: the split's file, or its shards in order.
    columns: the file's column for a key of COLUMNS, where it is another one
      than those in this module's docstring.

  Raises:
    ValueError: too many rows are malformed; the message names file, row and
      column of the first.
  """
  rows: dict[str, Row] = {}
  duplicates = conflicts = empty = count = 0
  unreadable: list[str] = []
  for path in map(Path, paths):
    for number, cells in files.rows(path):
      count += 1
      try:
        raw = _with_columns(cells, columns)
        question, gold = _question(raw), _gold(raw)
        key = question_key(question)
        if gold and key not in rows:
          where = f"{path.stem}:{number}"
          rows[key] = _row(raw, question, gold, where, files.split_name(path))
          continue
      except _ColumnError as error:
        unreadable.append(f"{path}: row {number}: column {error}")
        continue
      if gold:
        duplicates += 1
        conflicts += rows[key].gold != gold
      else:
        empty += 1
  files.refuse_many(unreadable, count)
  return FileContents(
    tuple(rows.values()), duplicates, conflicts, empty, tuple(unreadable)
  )


def parse_columns(texts: Sequence[str]) -> dict[str, str]:
  """Parse the setting task.columns, such as ('question=query', 'answer=key').

  Raises:
    ValueError: a text has another form, or names no key of COLUMNS.
  """
  parsed = {}
  for text in texts:
    key, equals, column = str(text).partition("=")
    if key not in COLUMNS or not equals or not column:
      raise ValueError(
        f"task.columns: {text!r} is not KEY=COLUMN, where KEY is one of "
        f"{', '.join(COLUMNS)} and COLUMN is a column of the files"
      )
    parsed[key] = column
  return parsed


def _with_columns(cells: Cells, columns: Mapping[str, str]) -> Cells:
  """Return a row with lower-case columns, and those that a user has named.

  Raises:
    _ColumnError: a column that the user has named is not there.
  """
  raw = {name.lower(): value for name, value in cells.items()} | cells
  if not columns:
    return raw
  named = {}
  for key, column in columns.items():
    if column.partition(".")[0] not in cells:
      raise _ColumnError(f"{column} is missing, and task.columns names it")
    named[key] = _get(cells, column)
  # a column that is read first otherwise must not come before the named one
  hidden = {name for key in named for name in COLUMNS[key]}
  kept = {name: value for name, value in raw.items() if name not in hidden}
  return kept | named


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
  """Return whether a cell is empty; tables write NaN for empty cells."""
  return value is None or (isinstance(value, float) and math.isnan(value))


def _get(raw: Cells, column: str) -> Any:
  """Return a cell, with 'a.b' for nested dicts; None if missing or empty."""
  value: Any = raw
  for key in column.split("."):
    value = value.get(key) if isinstance(value, dict) else None
  return None if _null(value) else value


def _first(raw: Cells, *columns: str) -> Any:
  """Return the first of some cells that is not empty, or None."""
  values = (_get(raw, column) for column in columns)
  return next((value for value in values if value is not None), None)


def _question(raw: Cells) -> str:
  """Read the question of a row, without DAPO's instruction."""
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
      messages = _messages(raw) or ()
      value = "\n\n".join(m["content"] for m in messages if m["role"] == "user")
    if not isinstance(value, str):
      raise _ColumnError(f"{column} is {value!r:.80}, not a text")
    value = without_instruction(value).strip()
    if not value:
      raise _ColumnError(f"{column} is empty")
    context = _get(raw, "context")  # a column of OlympiadBench
    if isinstance(context, str) and column == "question":
      value = f"{context}\n\n{value}".strip()
    if broken := files.broken_character(value):
      raise _ColumnError(f"{column} holds {broken}")
    return value
  raise _ColumnError("problem is missing, and so are question and prompt")


def without_instruction(prompt: str) -> str:
  """Remove DAPO's first and last paragraph from a prompt, if present."""
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
  """Read the messages of a row, reduced to role and content; None without."""
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
  """Parse 5, 5.0 or "Level 5"; None for any other text, such as "Level ?"."""
  text = "" if _null(value) else str(value)
  match = re.fullmatch(r"(?:level\s*)?([0-9]{1,4})(?:\.0)?", text.strip(), re.I)
  return int(match[1]) if match else None


# -- gold answers -------------------------------------------------------------


def _gold(raw: Cells) -> tuple[str, ...]:
  """Read the gold answers of a row; a right response gives one of them."""
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
    gold = tuple(t for t in texts if t and t.lower() not in PLACEHOLDERS)
    if raw.get("is_multiple_answer") is True and len(gold) > 1:
      return (", ".join(gold),)  # a response must give all of them
    return gold
  solution = _get(raw, "solution")
  if isinstance(solution, str):
    answer = answer_of_solution(solution) or ""
    has_one = answer and answer.lower() not in PLACEHOLDERS
    return (answer,) if has_one else ()
  if not {"reward_model", "answer", "final_answer", "solution"} & set(raw):
    raise _ColumnError("answer is missing, and so is solution")
  return ()


def _text(value: Any, column: str) -> str:
  """Convert a gold answer to text; 142.0 becomes 142, and 1e23 all digits."""
  if isinstance(value, str):
    if column == "answer" and "####" in value:
      return answer_of_solution(value) or ""
    return value.strip()
  if isinstance(value, float | Decimal) and math.isfinite(value):
    # the digits that the file has: int(1e23) is 99999999999999991611392
    number = Decimal(repr(value)) if isinstance(value, float) else value
    if number == number.to_integral_value():
      return str(int(number))
    if isinstance(value, float):
      return repr(value)
    return f"{number:f}".rstrip("0")  # a column's scale adds zeros
  if isinstance(value, int) and not isinstance(value, bool):
    return str(value)
  raise _ColumnError(f"{column} is {value!r:.80}, neither a text nor a number")


def answer_of_solution(solution: str) -> str | None:
  r"""Extract the answer after the last ####, otherwise the last box.

  This is for solutions in data sets, not for responses: \fbox{5} and \boxed 5
  count as boxes too. After ####, a single number loses its commas, and a list
  or a tuple keeps them.
  """
  _, marks, after = solution.rpartition("####")
  if marks:
    line = after.strip().partition("\n")[0].strip()
    if _ONE_NUMBER.fullmatch(line):
      line = line.replace(",", "").strip()
    return line or None
  text = re.sub(r"\\fbox(?=\s*\{)", r"\\boxed", solution)
  return boxed(re.sub(r"\\boxed\s+([^\s{}$\\]+)", r"\\boxed{\1}", text))


_ONE_NUMBER = re.compile(
  r"[^0-9,()\[\]{}]*[0-9][0-9,]*(?:\.[0-9]+)?[^0-9,()\[\]{}]*"
)


# -- the task -----------------------------------------------------------------


def problem(row: Row) -> Problem:
  """Build the problem of a row; its prompt is the question."""
  answer = {"gold": list(row.gold), "id": row.id, "source": row.source}
  return Problem(row.question, answer | {"level": row.level})


class Splits:
  """A callable that loads splits; the module's docstring describes them.

  It warns if rows were left out.
  """

  def __init__(self, path: Path, columns: Mapping[str, str] = _NO_COLUMNS):
    """Build the loader of a file, or of a folder with a file for each split."""
    self._path = path
    self._read = functools.cache(
      functools.partial(_read_and_warn, columns=columns)
    )

  def __call__(self, split: str) -> tuple[Problem, ...]:
    """Load a split, such as 'train', or a part of one, 'train[100:200]'.

    Raises:
      ValueError: there is no such split, too many rows are malformed, or the
        split holds no problem.
    """
    name, part = files.parse_split(split)
    rows = self._rows(name)[part]
    files.require_problems(len(rows), split, self._path)
    return tuple(map(problem, rows))

  def _rows(self, name: str) -> Sequence[Row]:
    """Return the rows of a whole split."""
    if self._path.is_dir():
      return self._read(*files.find(self._path, name))
    rows = self._read(self._path)
    if name == "all":
      return rows
    splits = split_rows(rows)
    if name not in splits:
      raise ValueError(
        f"split={name!r} of a file must be one of {('all', *splits)}"
      )
    return splits[name]


def split_rows(rows: Sequence[Row]) -> dict[str, list[Row]]:
  """Divide the rows of a file into splits by the hash of the question."""
  from entrojax.tasks.builder import split_problems  # the import takes a second

  splits = split_problems(Problem(row.question, {"row": row}) for row in rows)
  return {
    name: [part.answer["row"] for part in problems]
    for name, problems in splits.items()
  }


def describe_left_out(contents: FileContents) -> str:
  """Describe how many rows were left out and why; '' if none were."""
  _, duplicates, conflicts, empty, unreadable = contents
  counts = {
    f"{duplicates} with the question of an earlier one ({conflicts} of them "
    "with another answer)": duplicates,
    f"{empty} without an answer": empty,
    files.describe_unreadable(unreadable): len(unreadable),
  }
  return ", ".join(text for text, count in counts.items() if count)


def _read_and_warn(*paths: Path, columns: Mapping[str, str]) -> tuple[Row, ...]:
  """Read the rows of a split and warn if some were left out."""
  contents = read(*paths, columns=columns)
  left_out = describe_left_out(contents)
  if left_out:
    warnings.warn(f"{paths[0]}: left out rows: {left_out}", stacklevel=5)
  return contents.rows


def task(
  path: str | os.PathLike | None,
  difficulty: int = 1,
  *,
  grader: str = "boxed",
  columns: Sequence[str] = (),
) -> Task:
  """Build the task of a file, a folder of files or a prepared data set.

  Args:
    path: the file or folder; see this module's docstring.
    difficulty: must be 1, because files have no levels.
    grader: a key of math_answers.GRADERS.
    columns: the setting task.columns; see `parse_columns`.

  Raises:
    ValueError: there is no such file or grader, or the difficulty is not 1.
  """
  if path is None:
    raise ValueError(
      "task.data_dir is not set; it must be the file or folder of the problems"
    )
  if difficulty != 1:
    raise ValueError(
      f"task.difficulty must be 1 for math, got {difficulty}: its files have a "
      "fixed difficulty"
    )
  path = Path(path).expanduser()
  if not path.exists():
    raise ValueError(f"task.data_dir={str(path)!r} does not exist")
  rules = math_answers.make_grader(grader)
  named, stored = parse_columns(columns), files.stored_loader(path, "math")
  if named and stored:
    raise ValueError(
      f"task.columns is set, but {path} is a data set of "
      "entrojax.prepare_data, whose columns have been read already"
    )
  load = stored or files.LeakWarning(Splits(path, named), path)
  return Task(
    name="math",
    load=load,
    verify=math_answers.make_verifier(rules),
    equivalent=math_answers.make_equivalence(rules),
  )
