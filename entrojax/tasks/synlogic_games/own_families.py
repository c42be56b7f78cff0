r"""SynLogic's games that a family of this package also has.

The family's own verifier judges them. A record is rewritten as the answer of
such a problem, and the answer of a response in the family's form.

Deviation: no answer is evaluated as Python, and the target is enforced in the
game of 24.
"""

import re
from typing import Any

from entrojax.tasks.families import (
  countdown,
  dyck,
  futoshiki,
  number_path,
  sudoku,
)
from entrojax.tasks.synlogic_games import forms
from entrojax.tasks.synlogic_games.forms import Game, Rules, UnreadableError
from entrojax.types import Problem, Verdict


def _matrix(text: str) -> list[list[str]] | None:
  """Parse rows of numbers in brackets or parentheses; no row may be empty."""
  text = "".join(text.split())
  row = r"[\[(][0-9]+(?:,[0-9]+)*,?[\])]"
  if not re.fullmatch(rf"[\[(]{row}(?:,{row})*,?[\])]", text, re.ASCII):
    return None
  return [re.findall("[0-9]+", r) for r in re.findall(row, text[1:-1])]


def _read_sudoku(game: Game) -> dict:
  rows = _square(game["metadata"]["original_sudoku"])
  if len(rows) != 9:
    raise UnreadableError("original_sudoku is not a square of 9 rows")
  return {"puzzle": "/".join("".join(row) for row in rows)}


def _extract_sudoku(response: str) -> str | None:
  """Extract the grid in a fence; comments are left out.

  If no fence is closed, the last one reaches to the end of the response.
  """
  text = forms.python_fence(response)
  if text is None:
    _, opening, text = response.rpartition("```python")
    text = text[: forms.MAX_ANSWER_LENGTH] if opening else ""
  return forms.joined_digits(_matrix(re.sub("#.*", "", text)))


def _square(grid: Any) -> list[list[str]]:
  """Read a square of numbers; 0 and X are empty cells."""
  rows = [[str(cell).upper() for cell in row] for row in grid]
  rows = [["." if c in ("0", "X") else c for c in row] for row in rows]
  cells = [cell for row in rows for cell in row]
  if not rows or any(len(row) != len(rows) for row in rows):
    raise UnreadableError("its grid is not a square")
  if not all(re.fullmatch(r"\.|[1-9][0-9]{0,2}", cell) for cell in cells):
    raise UnreadableError("its grid holds something other than numbers")
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
      raise UnreadableError(f"constraint {[x, y, sign]} is not an inequality")
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
  raise UnreadableError(f"its question shows no grid of {size} rows")


def _read_dyck(game: Game) -> dict:
  solution = "".join(str(game["metadata"]["full_sequence"]).split())
  if not solution or not set(solution) <= set("".join(dyck.BRACKETS)):
    raise UnreadableError(f"full_sequence {solution!r} has more than brackets")
  return {"solution": solution}


def _extract_dyck(response: str) -> str:
  return "".join(forms.after_thinking(response).split())


def _read_numbrix(game: Game) -> dict:
  rows = _square(game["metadata"]["grid"])
  return {"puzzle": "/".join(" ".join(row) for row in rows)}


def _extract_numbrix(response: str) -> str | None:
  rows = _matrix(forms.double_brackets(response) or "")
  return None if rows is None else "/".join(" ".join(row) for row in rows)


RULES = {
  "dyck_language": Rules(_read_dyck, _extract_dyck, dyck.verify),
  "futoshiki": Rules(_read_futoshiki, forms.extract_square, futoshiki.verify),
  "game_of_24": Rules(_read_game_of_24, forms.python_fence, _verify_24),
  "numbrix": Rules(_read_numbrix, _extract_numbrix, number_path.verify),
  "sudoku": Rules(_read_sudoku, _extract_sudoku, sudoku.verify),
}
