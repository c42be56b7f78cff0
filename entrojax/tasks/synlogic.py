"""SynLogic's own files (arXiv 2505.19641) as a task: parquet or jsonl.

`make_task("synlogic", folder)` reads `folder/train.parquet` for the split
'train', or train.jsonl. Of a row these columns count: `data_source`, the task's
key; `prompt`, a list of messages with role and content; and `extra_info`, whose
`game_data_str` is the game in JSON with `question`, `answer` and `metadata`.
Prompts are the contents of the messages, joined by empty lines.

Responses are free text that ends in an answer of the form which the prompt asks
for: it is taken out as SynLogic's verifiers do, always the last one, and judged
by the verifiers here. Rows of tasks that have none are left out and counted.

Deviation: no answer is evaluated as Python, 24 is enforced in the game of 24,
and brackets in a box may be nested.
"""

from collections import Counter
from collections.abc import Callable, Mapping
import functools
import json
import os
from pathlib import Path
import re
from typing import Any
import warnings

from entrojax.answers.spelling import boxed
from entrojax.tasks import (
  countdown,
  dyck,
  files,
  futoshiki,
  number_path,
  sudoku,
)
from entrojax.types import Problem, Task, Verdict, Verifier

MAX_RESPONSE_LENGTH = 200_000  # characters
MAX_ANSWER_LENGTH = 4_096  # characters, once taken out

Game = Mapping[str, Any]  # question, answer, metadata


class _UnreadableError(ValueError):
  """A game lacks what its verifier needs."""


# -- taking the answer out of a response ---------------------------------------


def fenced(response: str) -> str | None:
  """Returns the inside of the last closed python fence."""
  start = response.rfind("```python")
  if start >= 0 and response.find("```", start + 9) < 0:  # not closed
    start = response.rfind("```python", 0, start)
  if start < 0:
    return None
  inside = response[start + 9 : start + 9 + MAX_ANSWER_LENGTH]
  text, closing, _ = inside.partition("```")
  return text.strip() if closing else None


def bracketed(response: str) -> str | None:
  """Returns the last text between '[[' and ']]', brackets included.

  White space becomes single spaces, and goes where brackets follow each other.
  """
  text = " ".join(response.split()).replace("[ [", "[[").replace("] ]", "]]")
  before, closing, _ = text.rpartition("]]")
  _, opening, inside = before.rpartition("[[")
  if not (closing and opening) or len(inside) > MAX_ANSWER_LENGTH:
    return None
  return f"[[{inside}]]"


def after_thinking(response: str) -> str:
  """Returns what follows the thoughts; of it the last answer tag, if any."""
  text = response.rpartition("</think>")[2]
  before, closing, _ = text.rpartition("</answer>")
  _, opening, inside = before.rpartition("<answer>")
  return inside if closing and opening else text


def _matrix(text: str) -> list[list[str]] | None:
  """Reads rows of numbers in brackets or parentheses; no row is empty."""
  text = "".join(text.split())
  row = r"[\[(][0-9]+(?:,[0-9]+)*,?[\])]"
  if not re.fullmatch(rf"[\[(]{row}(?:,{row})*,?[\])]", text, re.ASCII):
    return None
  return [re.findall("[0-9]+", r) for r in re.findall(row, text[1:-1])]


def _digits(rows: list[list[str]] | None) -> str | None:
  """Writes a matrix of single digits as grids do, `12/21`."""
  if rows is None or any(len(cell) != 1 for row in rows for cell in row):
    return None
  return "/".join("".join(row) for row in rows)


# -- games: what a verifier needs, and what it reads -------------------------


def _sudoku(game: Game) -> dict:
  rows = _square(game["metadata"]["original_sudoku"])
  if len(rows) != 9:
    raise _UnreadableError("original_sudoku is not a square of 9 rows")
  return {"puzzle": "/".join("".join(row) for row in rows)}


def _square(grid: Any) -> list[list[str]]:
  """Reads a square of numbers; 0 and X are empty."""
  rows = [[str(cell).upper() for cell in row] for row in grid]
  rows = [["." if c in ("0", "X") else c for c in row] for row in rows]
  cells = [cell for row in rows for cell in row]
  if not rows or any(len(row) != len(rows) for row in rows):
    raise _UnreadableError("its grid is not a square")
  if not all(re.fullmatch(r"\.|[1-9][0-9]{0,2}", cell) for cell in cells):
    raise _UnreadableError("its grid holds something other than numbers")
  return rows


def _game_of_24(game: Game) -> dict:
  numbers = [int(number) for number in game["metadata"]["numbers"]]
  target = int(game["metadata"].get("result", 24))
  operators = list(game["metadata"].get("operators", "+-*/"))
  return {"numbers": numbers, "target": target, "operators": operators}


def _verify_24(problem: Problem, text: str) -> Verdict:
  """Judges as Countdown does, with the operators allowed alone."""
  verdict = countdown.verify(problem, text)
  used = set(text) & set("+-*/")
  if verdict.reward and not used <= set(problem.answer["operators"]):
    return Verdict(0.0, "wrong operators", verdict.answer)
  return verdict


def _futoshiki(game: Game) -> dict:
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
  """Finds `size` lines of `size` digits or X in a question: the givens."""
  found: list[list[str]] = []
  for line in question.splitlines():
    cells = line.split()
    fits = len(cells) == size and all(
      re.fullmatch("[1-9Xx]", cell) for cell in cells
    )
    found = [*found, cells] if fits else []
    if len(found) == size:
      return _square(found)
  raise _UnreadableError(f"its question shows no grid of {size} rows")


def _spaced(response: str) -> str | None:
  """Reads [[1 2, 2 1]], whose rows are separated by commas, as `12/21`."""
  text = bracketed(response)
  if text is None:
    return None
  rows = [re.findall(r"[^\s\[\]]+", row) for row in text.split(",")]
  return _digits(rows)


def _dyck(game: Game) -> dict:
  solution = "".join(str(game["metadata"]["full_sequence"]).split())
  if not solution or not set(solution) <= set("".join(dyck.BRACKETS)):
    raise _UnreadableError(f"full_sequence {solution!r} is not one of brackets")
  return {"solution": solution}


def _word_sorting(game: Game) -> dict:
  return {"solution": _words(game["answer"])}


def _words(text: str) -> str:
  return "".join(text.replace("，", ",").split())


def _verify_words(problem: Problem, text: str) -> Verdict:
  if text == problem.answer["solution"]:
    return Verdict(1.0, "correct", text)
  return Verdict(0.0, "wrong", text)


def _numbrix(game: Game) -> dict:
  rows = _square(game["metadata"]["grid"])
  return {"puzzle": "/".join(" ".join(row) for row in rows)}


def _numbers(response: str) -> str | None:
  rows = _matrix(bracketed(response) or "")
  return None if rows is None else "/".join(" ".join(row) for row in rows)


def _box_of_words(response: str) -> str | None:
  text = boxed(response)
  return None if text is None else _words(text)


# task -> (game -> answer, response -> text or None, verifier of that text)
_TASKS: dict[
  str,
  tuple[Callable[[Game], dict], Callable[[str], str | None], Verifier],
] = {
  "dyck_language": (
    _dyck,
    lambda response: "".join(after_thinking(response).split()),
    dyck.verify,
  ),
  "futoshiki": (_futoshiki, _spaced, futoshiki.verify),
  "game_of_24": (_game_of_24, fenced, _verify_24),
  "numbrix": (_numbrix, _numbers, number_path.verify),
  "sudoku": (
    _sudoku,
    lambda response: _digits(_matrix(fenced(response) or "")),
    sudoku.verify,
  ),
  "word_sorting": (_word_sorting, _box_of_words, _verify_words),
}
_OTHER_KEYS = {"mathador": "game_of_24"}


def verify(problem: Problem, response: str) -> Verdict:
  """Judges a response by its game's rules; never raises on a str.

  Reasons: 'too long', 'no answer', else those of the game's verifier.
  """
  if len(response) > MAX_RESPONSE_LENGTH:
    return Verdict(0.0, "too long", None)
  _, extract, judge = _TASKS[problem.answer["task"]]
  text = extract(response)
  if not text or len(text) > MAX_ANSWER_LENGTH:
    return Verdict(0.0, "no answer", None)
  return judge(problem, text)


# -- files --------------------------------------------------------------------


def read(path: str | os.PathLike) -> tuple[list[Problem], Counter[str]]:
  """Reads a file.

  Returns:
    The problems of tasks that have a verifier here, in order, and how many rows
    of each other task were left out.

  Raises:
    ValueError: a row is malformed; the message names file, row and column.
  """
  problems: list[Problem] = []
  left_out: Counter[str] = Counter()
  columns = ["data_source", "prompt", "extra_info"]
  for number, row in files.rows(Path(path), columns):
    key = _task_key(row, f"{path}: row {number}")
    if key in _TASKS:
      problems.append(_problem(row, key, f"{path}: row {number}"))
    else:
      left_out[key] += 1
  return problems, left_out


def _task_key(row: dict[str, Any], where: str) -> str:
  source = row.get("data_source")
  if not isinstance(source, str) or not source:
    raise ValueError(f"{where}: column data_source is {source!r}, not a name")
  key = source.rpartition("/")[2].lower().replace("-", "_").replace(" ", "_")
  return _OTHER_KEYS.get(key, key)


def _problem(row: dict[str, Any], key: str, where: str) -> Problem:
  prompt = _prompt(row.get("prompt"), where)
  game = _game(row.get("extra_info"), where)
  try:
    answer = _TASKS[key][0](game)
  except (KeyError, TypeError, ValueError, AttributeError) as error:
    what = f"no {error}" if isinstance(error, KeyError) else error
    raise ValueError(
      f"{where}: column extra_info: game_data_str of a {key}: {what}"
    ) from error
  return Problem(prompt, {"task": key, **answer})


def _prompt(messages: Any, where: str) -> str:
  try:
    contents = [message["content"] for message in messages]
    text = "\n\n".join(contents)
  except (KeyError, TypeError) as error:
    raise ValueError(
      f"{where}: column prompt is not a list of messages with a content"
    ) from error
  if not text:
    raise ValueError(f"{where}: column prompt is empty")
  return text


def _game(extra_info: Any, where: str) -> Game:
  try:
    game = json.loads(extra_info["game_data_str"])
  except (KeyError, TypeError, ValueError, RecursionError) as error:
    raise ValueError(
      f"{where}: column extra_info: game_data_str is missing or not JSON: "
      f"{error}"
    ) from error
  fields = {"question": str, "answer": str, "metadata": dict}
  for name, kind in fields.items():
    if not isinstance(game, dict) or not isinstance(game.get(name), kind):
      raise ValueError(
        f"{where}: column extra_info: game_data_str has no {name} of type "
        f"{kind.__name__}"
      )
  return game


def load(split: str, folder: str | os.PathLike) -> tuple[Problem, ...]:
  """Reads a split, telling how many rows were left out.

  Args:
    split: the name of a file without its ending, or a part, 'train[100:200]'.
    folder: where SynLogic's files are.

  Raises:
    ValueError: no such split, a malformed row, or no problem in it.
  """
  name, part = files.parse_split(split)
  path = files.find(Path(folder), name, ("parquet", "jsonl"))
  problems, left_out = read(path)
  if left_out:
    counts = ", ".join(
      f"{count} {key}" for key, count in left_out.most_common()
    )
    warnings.warn(
      f"{path}: left out rows of tasks without a verifier here: {counts}",
      stacklevel=2,
    )
  if not problems[part]:
    raise ValueError(f"split={split!r} of {folder} holds no problem")
  return tuple(problems[part])


def task(folder: str | os.PathLike | None, difficulty: int) -> Task:
  """Makes the task of a folder of SynLogic's files, or of a prepared data set.

  Raises:
    ValueError: no folder is given, or a difficulty is.
  """
  if folder is None:
    raise ValueError("task.data_dir is not set: the folder of SynLogic's files")
  if difficulty != 1:
    raise ValueError(
      f"task.difficulty must be 1 for synlogic, got {difficulty}: its files "
      "hold problems of the difficulty they were made with"
    )
  folder = Path(folder).expanduser()
  stored = files.stored_loader(folder, "synlogic")
  return Task(
    "synlogic", stored or functools.partial(load, folder=folder), verify
  )
