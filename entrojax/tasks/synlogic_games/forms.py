r"""Read what SynLogic's games record and what models answer.

An answer is free text that ends with a grid, a list or a word in the form that
the prompt asks for. The functions here extract the last such text. Nothing is
evaluated as Python: `literal` rewrites lists, tuples and dicts as JSON. All
functions take any str and never raise, and their time is linear in its length.

A record is the JSON object of a game. `table` and its like check what a
verifier needs of it, so that an unreadable row is found when a file is read.
"""

from collections.abc import Callable, Mapping
import json
import re
from typing import Any, NamedTuple

from entrojax.answers.spelling import boxed
from entrojax.types import Verdict, Verifier

MAX_ANSWER_LENGTH = 4_096  # characters of an extracted answer
MAX_LITERAL_LENGTH = 16_384  # characters of a list, with its white space

Game = Mapping[str, Any]  # question, answer, metadata
Extract = Callable[[str], str | None]  # response -> the text to verify
Rows = list[list[str]]  # of a table; all have one length
Cell = tuple[int, int]  # row, column, from 0


class UnreadableError(ValueError):
  """A row lacks the data that its game's verifier needs."""


class Rules(NamedTuple):
  """How to read and to verify one game."""

  read: Callable[[Game], dict]  # game -> the answer of a Problem
  extract: Extract
  verify: Verifier  # of the extracted text


# -- extracting the answer from a response -------------------------------------


def after_thinking(response: str) -> str:
  """Return the text in the last <answer> tag after </think>.

  Without such a tag, return all text after </think>.
  """
  text = response.rpartition("</think>")[2]
  before, closing, _ = text.rpartition("</answer>")
  _, opening, inside = before.rpartition("<answer>")
  return inside if closing and opening else text


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


def extract_square(response: str) -> str | None:
  """Extract [[1 2, 2 1]], whose rows are separated by commas, as `12/21`."""
  text = double_brackets(response)
  if text is None:
    return None
  return joined_digits(
    [re.findall(r"[^\s\[\]]+", row) for row in text.split(",")]
  )


def joined_digits(rows: list[list[str]] | None) -> str | None:
  """Write a table of single characters as grids.py does, `12/21`."""
  if rows is None or any(len(cell) != 1 for row in rows for cell in row):
    return None
  return "/".join("".join(row) for row in rows)


def boxed_as(spell: Extract) -> Extract:
  r"""Build the extraction of the last \boxed{}, spelled by a function."""

  def extract(response: str) -> str | None:
    text = boxed(after_thinking(response))
    return None if text is None else spell(text)

  return extract


def value(response: str) -> Any:
  """Extract the list, tuple or dict of an answer.

  It stands in the last closed fence, otherwise in one that is not closed,
  otherwise it is the whole answer, otherwise it stands in double brackets.

  Returns:
    The parsed value, with lists for tuples; None without one.
  """
  text = after_thinking(response)
  parts = text.split("```")
  not_closed = parts[-1:] if len(parts) % 2 == 0 else []
  places = [*parts[1:-1:2][-1:], *not_closed, text, double_brackets(text) or ""]
  for place in places:
    parsed = literal(_BEFORE_LITERAL.sub("", place, count=1))
    if isinstance(parsed, list | dict):
      return parsed
  return None


_BEFORE_LITERAL = re.compile(r"\A\s*(?:(?:python|json)\b\s*)?(?:\w+\s*=\s*)?")


def literal(text: str) -> Any:
  """Parse a list, tuple, dict, text or integer as Python or JSON writes it.

  Tuples become lists. Comments and a comma after the last item are allowed.

  Returns:
    The value; None if the text is longer than MAX_LITERAL_LENGTH or is no such
    literal.
  """
  if len(text) > MAX_LITERAL_LENGTH:
    return None
  # a text that is not closed reaches to the end, so no quote is read twice
  try:
    without_comments = _TOKEN.sub(_as_json, text)
    return json.loads(_LAST_COMMA.sub(_keep_text, without_comments))
  except (ValueError, RecursionError):
    return None


_TEXT = r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)'
_TOKEN = re.compile(
  rf"{_TEXT}|'(?:[^'\\]|\\.)*(?:(')|\\?\Z)|[()]|#[^\n]*", re.DOTALL
)
_LAST_COMMA = re.compile(rf"({_TEXT})|,(?=\s*[\]}}])", re.DOTALL)


def _as_json(token: re.Match) -> str:
  first = token[0][0]
  if token[1]:
    return json.dumps(token[0][1:-1].replace("\\'", "'"))
  return {"(": "[", ")": "]", "#": ""}.get(first, token[0])


def _keep_text(match: re.Match) -> str:
  return match[1] or ""


def written(parsed: Any) -> str | None:
  """Write a parsed value as JSON in one way; None stays None."""
  if parsed is None:
    return None
  return json.dumps(parsed, sort_keys=True, ensure_ascii=False)


PAIR = r"[(\[]([0-9]{1,3}),([0-9]{1,3})[)\]]"  # (row,column) or [row,column]


# -- checking a record ---------------------------------------------------------


def fields(game: Game) -> Mapping[str, Any]:
  """Return all fields of a record, also those that stand in its metadata."""
  return {**game, **(game.get("metadata") or {})}


def table(rows: Any, cell: str, what: str) -> Rows:
  """Check a table of texts or integers and write its cells as texts.

  Args:
    rows: the table of a record.
    cell: the regular expression that each cell must match.
    what: names the table in the error.

  Raises:
    UnreadableError: it is no such table.
  """
  cells = read_table(rows, cell)
  if cells is None:
    raise UnreadableError(f"{what} is not a table of cells that match {cell}")
  return cells


def read_table(rows: Any, cell: str) -> Rows | None:
  """Write the cells of a table as texts; None if it is no table of such cells.

  It must be a list of lists of one length, and not empty.
  """
  if not isinstance(rows, list) or not all(isinstance(r, list) for r in rows):
    return None
  if not rows or not rows[0] or len({len(row) for row in rows}) != 1:
    return None
  cells = [[str(c) if _is_cell(c) else "?" for c in row] for row in rows]
  pattern = re.compile(cell, re.ASCII)
  fits = all(pattern.fullmatch(c) for row in cells for c in row)
  return cells if fits else None


def _is_cell(item: Any) -> bool:
  return isinstance(item, str | int) and not isinstance(item, bool)


def integers(items: Any, what: str, length: int | None = None) -> list[int]:
  """Check a list of integers, of a given length unless that is None.

  Raises:
    UnreadableError: it is no such list; `what` names it.
  """
  if not isinstance(items, list) or len(items) != (length or len(items)):
    raise UnreadableError(f"{what} is not a list of {length or ''} integers")
  return [int(item) for item in items]


# -- tables of cells -----------------------------------------------------------


def extract_value(response: str) -> str | None:
  """Extract the list or dict of an answer, written as JSON in one way."""
  return written(value(response))


def read_answer(text: str, cell: str, size: tuple[int, int]) -> Rows | None:
  """Read an extracted table; None if it is no table of such cells and size."""
  rows = read_table(literal(text), cell)
  return rows if rows and size_of(rows) == size else None


def verdict(reason: str, text: str) -> Verdict:
  """Build the verdict of a reason; only an unparseable answer cannot vote."""
  answer = None if reason == "unparseable" else text
  return Verdict(float(reason == "correct"), reason, answer)


def size_of(rows: Rows) -> tuple[int, int]:
  """Return the numbers of rows and columns."""
  return len(rows), len(rows[0])


def cells_with(rows: Rows, content: str) -> list[Cell]:
  """List the cells that match a regular expression."""
  return [
    (i, j)
    for i, row in enumerate(rows)
    for j, cell in enumerate(row)
    if re.fullmatch(content, cell)
  ]


def neighbours(
  i: int, j: int, size: tuple[int, int], diagonals: bool = False
) -> list[Cell]:
  """List the cells of a table beside a cell.

  Args:
    i: the row of the cell.
    j: its column.
    size: the numbers of rows and columns.
    diagonals: whether cells that touch at a corner count, too.
  """
  steps = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]
  cells = [(i + a, j + b) for a, b in steps if diagonals or 0 in (a, b)]
  return [cell for cell in cells if is_inside(cell, size)]


def is_inside(cell: Cell, size: tuple[int, int]) -> bool:
  """Return whether a cell lies in a table of some size."""
  return 0 <= cell[0] < size[0] and 0 <= cell[1] < size[1]
