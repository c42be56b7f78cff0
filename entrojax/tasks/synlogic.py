"""Read SynLogic's own files (arXiv 2505.19641) as a task, parquet or jsonl.

The task "synlogic" of a folder reads `folder/train.parquet` or
`folder/train.jsonl` for the split 'train'. The folder may instead hold a data
set that entrojax.prepare_data wrote. These columns of a row are used:

    data_source  the name of the game, such as "sudoku"
    prompt       a list of messages, each with role and content
    extra_info   a dict; its `game_data_str` is a JSON object with `question`,
                 `answer` and `metadata`

The prompt of a problem is the contents of the messages, joined by empty lines.
The output of SynLogic's generators can be read, too: there `question`, `answer`
and `metadata` are columns, the question is the prompt, and the file or a folder
above it has the name of the game, as in their repository.

All games of synlogic_games are read. Rows of other names are left out, and a
warning counts them. Rows that cannot be read are left out as well and the first
is named, unless they are more than a twentieth: then the file is refused. If
a game has 20 or more rows and none can be read, the file has it in a form that
is unknown here. It then counts as a game without a verifier.

A response is free text with an answer in the form that the prompt asks for. The
last such answer is extracted. It is then verified by the rules of the game, or
compared with the only right answer. No answer is evaluated as Python, and
brackets in a box may be nested.
"""

from collections import Counter
import functools
import json
import os
from pathlib import Path
from typing import Any, NamedTuple
import warnings

from entrojax.tasks import files
from entrojax.tasks.synlogic_games import (
  ALIASES,
  MAX_ANSWER_LENGTH,
  RULES,
  Game,
  UnreadableError,
)
from entrojax.types import Problem, Task, Verdict

MAX_RESPONSE_LENGTH = 200_000  # characters
ROWS_OF_A_FORM = (
  20  # so many unreadable rows of a game have a form of their own
)


def verify(problem: Problem, response: str) -> Verdict:
  """Verify a response by the rules of its game; no str makes this raise.

  The reason is 'too long', 'no answer', or a reason of the game's verifier.
  """
  if len(response) > MAX_RESPONSE_LENGTH:
    return Verdict(0.0, "too long", None)
  rules = RULES[problem.answer["task"]]
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
  unreadable: dict[str, list[str]] = {}  # by game
  columns, count = ["data_source", "prompt", "extra_info"], 0
  for path in paths:
    for number, row in files.rows(Path(path), columns):
      count += 1
      key = ""
      try:
        key = _game_key(row, Path(path))
        if key in RULES:
          problems.append(_problem(row, key))
        else:
          left_out[key] += 1
      except UnreadableError as error:
        message = f"{path}: row {number}: {error}"
        unreadable.setdefault(key, []).append(message)
  readable = {problem.answer["task"] for problem in problems}
  for key in set(unreadable) - readable - {""}:
    if len(unreadable[key]) >= ROWS_OF_A_FORM:
      texts = unreadable.pop(key)
      left_out[f"{key} ({texts[0]})"] = len(texts)
  messages = [text for texts in unreadable.values() for text in texts]
  files.refuse_many(messages, count)
  return Contents(problems, left_out, messages)


def _game_key(row: dict[str, Any], path: Path) -> str:
  """Read the name of the game, in one spelling."""
  source = row.get("data_source") or (_generated(row) and _named_by(path))
  if not isinstance(source, str):
    raise UnreadableError(
      f"column data_source is {row.get('data_source')!r}, not a name, and the "
      "file does not lie in a folder with a game's name"
    )
  key = source.rpartition("/")[2].lower().replace("-", "_").replace(" ", "_")
  return ALIASES.get(key, key)


def _named_by(path: Path) -> str | None:
  """Return the game's name that a file has, or the nearest folder above it."""
  names = [path.stem, *(folder.name for folder in path.resolve().parents)]
  return next(
    (name for name in names if ALIASES.get(name, name) in RULES), None
  )


def _generated(row: dict[str, Any]) -> bool:
  """Return whether a row was written by one of SynLogic's generators."""
  return "extra_info" not in row and "question" in row


def _problem(row: dict[str, Any], key: str) -> Problem:
  generated = _generated(row)
  prompt = row["question"] if generated else _prompt(row.get("prompt"))
  game = _checked(row) if generated else _game(row.get("extra_info"))
  if broken := files.broken_character(prompt):
    raise UnreadableError(f"the prompt holds {broken}")
  try:
    answer = RULES[key].read(game)
  except (KeyError, TypeError, ValueError, AttributeError) as error:
    reason = f"no {error}" if isinstance(error, KeyError) else error
    raise UnreadableError(
      f"column extra_info: game_data_str of a {key}: {reason}"
    ) from error
  return Problem(prompt, {"task": key, **answer})


def _prompt(messages: Any) -> str:
  try:
    contents = [message["content"] for message in messages]
    text = "\n\n".join(contents)
  except (KeyError, TypeError) as error:
    raise UnreadableError(
      "column prompt is not a list of messages with a content"
    ) from error
  if not text:
    raise UnreadableError("column prompt is empty")
  return text


def _game(extra_info: Any) -> Game:
  """Read game_data_str; a game's own reader checks what its verifier needs."""
  try:
    game = json.loads(extra_info["game_data_str"])
  except (KeyError, TypeError, ValueError, RecursionError) as error:
    raise UnreadableError(
      f"column extra_info: game_data_str is missing or not JSON: {error}"
    ) from error
  return _checked(game)


def _checked(game: Any) -> Game:
  """Check that the record of a game is a dict with a question.

  Games without metadata get an empty dict.
  """
  if not isinstance(game, dict) or not isinstance(game.get("question"), str):
    raise UnreadableError(
      "column extra_info: game_data_str has no question of type str"
    )
  if not isinstance(game.get("metadata") or {}, dict):
    raise UnreadableError(
      "column extra_info: game_data_str has no metadata of type dict"
    )
  return {**game, "metadata": game.get("metadata") or {}}


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
