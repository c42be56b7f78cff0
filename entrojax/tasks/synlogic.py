"""Read SynLogic's own files (arXiv 2505.19641) as a task, parquet or jsonl.

The task "synlogic" of a folder reads `folder/train.parquet` or
`folder/train.jsonl` for the split 'train'. The folder may instead hold a data
set that entrojax.prepare_data wrote. These columns of a row are used:

    data_source  the name of the game, such as "sudoku"
    prompt       a list of messages, each with role and content
    extra_info   a dict; its `game_data_str` is a JSON object with `question`,
                 `answer` and `metadata`

The prompt of a problem is the contents of the messages, joined by empty lines.
Only these games are read: dyck_language, futoshiki, game_of_24, mathador,
numbrix, sudoku and word_sorting. Rows of other games are left out, and a
warning counts them. Rows that cannot be read are left out as well and the first
is named, unless they are more than a twentieth: then the file is refused.

A response is free text with an answer in the form that the prompt asks for. The
last such answer is extracted in the same way as by SynLogic's verifiers. It is
then verified by the rules of the game, or compared with the only right answer
in dyck_language and word_sorting.

Deviation: no answer is evaluated as Python, the target is enforced in the game
of 24, and brackets in a box may be nested.
"""

from collections import Counter
from collections.abc import Callable, Mapping
import functools
import json
import os
from pathlib import Path
import re
from typing import Any, NamedTuple
import warnings

from entrojax.answers.spelling import boxed
from entrojax.tasks import files
from entrojax.tasks.families import (
  countdown,
  dyck,
  futoshiki,
  number_path,
  sudoku,
)
from entrojax.types import Problem, Task, Verdict, Verifier

MAX_RESPONSE_LENGTH = 200_000  # characters
MAX_ANSWER_LENGTH = 4_096  # characters of an extracted answer

Game = Mapping[str, Any]  # question, answer, metadata


class _UnreadableError(ValueError):
  """A row lacks the data that its game's verifier needs."""


# -- extracting the answer from a response -------------------------------------


def python_fence(response: str) -> str | None:
  """Extract the text in the last closed ```python fence; None without one."""
  start = response.rfind("```python")
  if start >= 0 and response.find("```", start + 9) < 0:  # not closed
    start = response.rfind("```python", 0, start)
  if start < 0:
    return None
  inside = response[start + 9 : start + 9 + MAX_ANSWER_LENGTH]
  text, closing, _ = inside.partition("```")
  return text.strip() if closing else None


def double_brackets(response: str) -> str | None:
  """Extract the last text from '[[' to ']]', brackets included.

  White space becomes single spaces, and is removed between two brackets. None:
  there is no such text, or it is too long.
  """
  text = " ".join(response.split()).replace("[ [", "[[").replace("] ]", "]]")
  before, closing, _ = text.rpartition("]]")
  _, opening, inside = before.rpartition("[[")
  if not (closing and opening) or len(inside) > MAX_ANSWER_LENGTH:
    return None
  return f"[[{inside}]]"


def after_thinking(response: str) -> str:
  """Return the text in the last <answer> tag after </think>.

  Without such a tag, return all text after </think>.
  """
  text = response.rpartition("</think>")[2]
  before, closing, _ = text.rpartition("</answer>")
  _, opening, inside = before.rpartition("<answer>")
  return inside if closing and opening else text


def _matrix(text: str) -> list[list[str]] | None:
  """Parse rows of numbers in brackets or parentheses; no row may be empty."""
  text = "".join(text.split())
  row = r"[\[(][0-9]+(?:,[0-9]+)*,?[\])]"
  if not re.fullmatch(rf"[\[(]{row}(?:,{row})*,?[\])]", text, re.ASCII):
    return None
  return [re.findall("[0-9]+", r) for r in re.findall(row, text[1:-1])]


def _digits(rows: list[list[str]] | None) -> str | None:
  """Write a matrix of single digits as grids.py does, `12/21`."""
  if rows is None or any(len(cell) != 1 for row in rows for cell in row):
    return None
  return "/".join("".join(row) for row in rows)


# -- games ---------------------------------------------------------------------
# `_read_GAME` turns the JSON of a game into the answer of a Problem, which is
# what the verifier needs. `_extract_GAME` extracts from a response the text
# that the verifier reads.


def _read_sudoku(game: Game) -> dict:
  rows = _square(game["metadata"]["original_sudoku"])
  if len(rows) != 9:
    raise _UnreadableError("original_sudoku is not a square of 9 rows")
  return {"puzzle": "/".join("".join(row) for row in rows)}


def _extract_sudoku(response: str) -> str | None:
  """Extract the grid in a fence; comments are left out.

  If no fence is closed, the last one reaches to the end of the response.
  """
  text = python_fence(response)
  if text is None:
    _, opening, text = response.rpartition("```python")
    text = text[:MAX_ANSWER_LENGTH] if opening else ""
  return _digits(_matrix(re.sub("#.*", "", text)))


def _square(grid: Any) -> list[list[str]]:
  """Read a square of numbers; 0 and X are empty cells."""
  rows = [[str(cell).upper() for cell in row] for row in grid]
  rows = [["." if c in ("0", "X") else c for c in row] for row in rows]
  cells = [cell for row in rows for cell in row]
  if not rows or any(len(row) != len(rows) for row in rows):
    raise _UnreadableError("its grid is not a square")
  if not all(re.fullmatch(r"\.|[1-9][0-9]{0,2}", cell) for cell in cells):
    raise _UnreadableError("its grid holds something other than numbers")
  return rows


def _read_game_of_24(game: Game) -> dict:
  numbers = [int(number) for number in game["metadata"]["numbers"]]
  target = int(game["metadata"].get("result", 24))
  operators = list(game["metadata"].get("operators", "+-*/"))
  return {"numbers": numbers, "target": target, "operators": operators}


def _verify_24(problem: Problem, text: str) -> Verdict:
  """Verify as Countdown does, but allow only the operators of the game."""
  verdict = countdown.verify(problem, text)
  used = set(text) & set("+-*/")
  if verdict.reward and not used <= set(problem.answer["operators"]):
    return Verdict(0.0, "wrong operators", verdict.answer)
  return verdict


def _read_futoshiki(game: Game) -> dict:
  size = int(game["metadata"]["grid_size"])
  rows = _grid_in(game["question"], size)
  orders = []
  for x, y, sign in game["metadata"]["constraints"]:
    cells = [[int(i) for i in cell] for cell in (x, y)]
    if sign not in ("<", ">") or not all(
      len(cell) == 2 and set(cell) <= set(range(size)) for cell in cells
    ):
      raise _UnreadableError(f"constraint {[x, y, sign]} is not an inequality")
    orders.append(cells if sign == "<" else cells[::-1])
  return {"puzzle": "/".join("".join(row) for row in rows), "orders": orders}


def _grid_in(question: str, size: int) -> list[list[str]]:
  """Find the puzzle in a question: `size` lines of `size` digits or X."""
  rows: list[list[str]] = []
  for line in question.splitlines():
    cells = line.split()
    fits = len(cells) == size and all(
      re.fullmatch("[1-9Xx]", cell) for cell in cells
    )
    rows = [*rows, cells] if fits else []
    if len(rows) == size:
      return _square(rows)
  raise _UnreadableError(f"its question shows no grid of {size} rows")


def _extract_futoshiki(response: str) -> str | None:
  """Extract [[1 2, 2 1]], whose rows are separated by commas, as `12/21`."""
  text = double_brackets(response)
  if text is None:
    return None
  rows = [re.findall(r"[^\s\[\]]+", row) for row in text.split(",")]
  return _digits(rows)


def _read_dyck(game: Game) -> dict:
  solution = "".join(str(game["metadata"]["full_sequence"]).split())
  if not solution or not set(solution) <= set("".join(dyck.BRACKETS)):
    raise _UnreadableError(f"full_sequence {solution!r} has more than brackets")
  return {"solution": solution}


def _extract_dyck(response: str) -> str:
  return "".join(after_thinking(response).split())


def _read_word_sorting(game: Game) -> dict:
  if not isinstance(game["answer"], str):
    raise _UnreadableError("its answer is not a text")
  return {"solution": _words(game["answer"])}


def _words(text: str) -> str:
  """Remove white space and replace full-width commas."""
  return "".join(text.replace("，", ",").split())


def _verify_words(problem: Problem, text: str) -> Verdict:
  if text == problem.answer["solution"]:
    return Verdict(1.0, "correct", text)
  return Verdict(0.0, "wrong", text)


def _read_numbrix(game: Game) -> dict:
  rows = _square(game["metadata"]["grid"])
  return {"puzzle": "/".join(" ".join(row) for row in rows)}


def _extract_numbrix(response: str) -> str | None:
  rows = _matrix(double_brackets(response) or "")
  return None if rows is None else "/".join(" ".join(row) for row in rows)


def _extract_words(response: str) -> str | None:
  text = boxed(response)
  return None if text is None else _words(text)


class _Rules(NamedTuple):
  """How to read and to verify one game."""

  read: Callable[[Game], dict]  # game -> the answer of a Problem
  extract: Callable[[str], str | None]  # response -> the text to verify
  verify: Verifier  # of that text


_RULES = {
  "dyck_language": _Rules(_read_dyck, _extract_dyck, dyck.verify),
  "futoshiki": _Rules(_read_futoshiki, _extract_futoshiki, futoshiki.verify),
  "game_of_24": _Rules(_read_game_of_24, python_fence, _verify_24),
  "numbrix": _Rules(_read_numbrix, _extract_numbrix, number_path.verify),
  "sudoku": _Rules(_read_sudoku, _extract_sudoku, sudoku.verify),
  "word_sorting": _Rules(_read_word_sorting, _extract_words, _verify_words),
}
_ALIASES = {"mathador": "game_of_24"}  # data_source -> key of _RULES


def verify(problem: Problem, response: str) -> Verdict:
  """Verify a response by the rules of its game; no str makes this raise.

  The reason is 'too long', 'no answer', or a reason of the game's verifier.
  """
  if len(response) > MAX_RESPONSE_LENGTH:
    return Verdict(0.0, "too long", None)
  rules = _RULES[problem.answer["task"]]
  text = rules.extract(response)
  if not text or len(text) > MAX_ANSWER_LENGTH:
    return Verdict(0.0, "no answer", None)
  return rules.verify(problem, text)


# -- files --------------------------------------------------------------------


class Contents(NamedTuple):
  """The problems of a split, and the rows that were left out."""

  problems: list[Problem]  # of all games with a verifier here, in order
  left_out: Counter[str]  # for each other game, the number of its rows
  unreadable: list[str]  # for each row of a game here, why it is unreadable

  def describe_left_out(self) -> str:
    """Describe the rows that were left out; '' if there are none."""
    parts = []
    if self.left_out:
      counts = ", ".join(f"{n} {key}" for key, n in self.left_out.most_common())
      parts.append(f"rows of games that have no verifier here: {counts}")
    if self.unreadable:
      parts.append(files.describe_unreadable(self.unreadable))
    return "; ".join(parts)


def read(*paths: str | os.PathLike) -> Contents:
  """Read a split: its file, or its shards in order.

  Raises:
    ValueError: too many rows are malformed; the message names file, row and
      column of the first.
  """
  problems: list[Problem] = []
  left_out: Counter[str] = Counter()
  unreadable: list[str] = []
  columns, count = ["data_source", "prompt", "extra_info"], 0
  for path in paths:
    for number, row in files.rows(Path(path), columns):
      count += 1
      try:
        key = _game_key(row)
        if key in _RULES:
          problems.append(_problem(row, key))
        else:
          left_out[key] += 1
      except _UnreadableError as error:
        unreadable.append(f"{path}: row {number}: {error}")
  files.refuse_many(unreadable, count)
  return Contents(problems, left_out, unreadable)


def _game_key(row: dict[str, Any]) -> str:
  """Read the name of the game, in one spelling."""
  source = row.get("data_source")
  if not isinstance(source, str) or not source:
    raise _UnreadableError(f"column data_source is {source!r}, not a name")
  key = source.rpartition("/")[2].lower().replace("-", "_").replace(" ", "_")
  return _ALIASES.get(key, key)


def _problem(row: dict[str, Any], key: str) -> Problem:
  prompt = _prompt(row.get("prompt"))
  game = _game(row.get("extra_info"))
  try:
    answer = _RULES[key].read(game)
  except (KeyError, TypeError, ValueError, AttributeError) as error:
    reason = f"no {error}" if isinstance(error, KeyError) else error
    raise _UnreadableError(
      f"column extra_info: game_data_str of a {key}: {reason}"
    ) from error
  return Problem(prompt, {"task": key, **answer})


def _prompt(messages: Any) -> str:
  try:
    contents = [message["content"] for message in messages]
    text = "\n\n".join(contents)
  except (KeyError, TypeError) as error:
    raise _UnreadableError(
      "column prompt is not a list of messages with a content"
    ) from error
  if not text:
    raise _UnreadableError("column prompt is empty")
  return text


def _game(extra_info: Any) -> Game:
  """Read game_data_str; a game's own reader checks what its verifier needs."""
  try:
    game = json.loads(extra_info["game_data_str"])
  except (KeyError, TypeError, ValueError, RecursionError) as error:
    raise _UnreadableError(
      f"column extra_info: game_data_str is missing or not JSON: {error}"
    ) from error
  fields = {"question": str, "metadata": dict}
  for name, kind in fields.items():
    if not isinstance(game, dict) or not isinstance(game.get(name), kind):
      raise _UnreadableError(
        f"column extra_info: game_data_str has no {name} of type "
        f"{kind.__name__}"
      )
  return game


def load(split: str, folder: str | os.PathLike) -> tuple[Problem, ...]:
  """Load a split; a warning counts the rows that were left out.

  Args:
    split: the name of a file without its ending, or a part, 'train[100:200]'.
    folder: the folder of SynLogic's files.

  Raises:
    ValueError: there is no such split, a row is malformed, or the split holds
      no problem.
  """
  name, part = files.parse_split(split)
  paths = files.find(Path(folder), name, ("parquet", "jsonl"))
  contents = read(*paths)
  if left_out := contents.describe_left_out():
    warnings.warn(f"{paths[0]}: left out {left_out}", stacklevel=3)
  problems = contents.problems
  files.require_problems(len(problems[part]), split, folder)
  return tuple(problems[part])


def task(folder: str | os.PathLike | None, difficulty: int) -> Task:
  """Build the task of a folder of SynLogic's files, or of a prepared data set.

  Args:
    folder: SynLogic's files, or the output of entrojax.prepare_data.
    difficulty: must be 1, because files have no levels.

  Raises:
    ValueError: the folder is None, or the difficulty is not 1.
  """
  if folder is None:
    raise ValueError(
      "task.data_dir is not set; it must be the folder of SynLogic's files"
    )
  if difficulty != 1:
    raise ValueError(
      f"task.difficulty must be 1 for synlogic, got {difficulty}: its files "
      "have a fixed difficulty"
    )
  folder = Path(folder).expanduser()
  read_files = files.LeakWarning(functools.partial(load, folder=folder), folder)
  stored = files.stored_loader(folder, "synlogic")
  return Task("synlogic", stored or read_files, verify)
