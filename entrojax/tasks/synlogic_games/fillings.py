r"""SynLogic's games in which blanks are filled, judged by their rules.

Every filling that obeys the rules is right, whatever the record's own solution.
An answer to arrow_maze, skyscraper_puzzle, survo and wordscapes is the whole
table. For math_path it is an equation in double brackets, and for calcudoko a
square in the form of futoshiki, [[1 2, 2 1]].

Deviation: an equation is computed with exact fractions, a blank of an arrow
maze takes an arrow alone, and a word of a crossword must stand in adjacent
cells.
"""

from collections.abc import Sequence
from fractions import Fraction
import math
import operator
import re

from entrojax.tasks import grids
from entrojax.tasks.synlogic_games import forms
from entrojax.tasks.synlogic_games.forms import (
  Game,
  Rows,
  Rules,
  cells_with,
  size_of,
  verdict,
)
from entrojax.types import Problem, Verdict


def _columns(rows: Rows) -> list[list[str]]:
  return [list(column) for column in zip(*rows, strict=True)]


# -- arrow_maze: rays of arrows from numbers -----------------------------------

_ARROWS = {
  "↑": (-1, 0),
  "↓": (1, 0),
  "←": (0, -1),
  "→": (0, 1),
  "↖": (-1, -1),
  "↗": (-1, 1),
  "↘": (1, 1),
  "↙": (1, -1),
}
_ARROW = f"[{''.join(_ARROWS)}]"


def _read_arrow_maze(game: Game) -> dict:
  maze = game["metadata"]["maze"]
  return {"maze": forms.table(maze, rf"X|{_ARROW}|\d{{1,3}}", "maze")}


def _verify_arrow_maze(problem: Problem, text: str) -> Verdict:
  """Verify a maze whose blanks are arrows.

  The arrows that begin beside a number and point away from it, in a row of
  equal ones, are its rays. The reason is the first of these that holds:
  'unparseable', 'changed a given', 'wrong length' (a number has not as many
  arrows in its rays), 'arrow on no ray', 'correct'.
  """
  maze = problem.answer["maze"]
  rows = forms.read_answer(text, rf"{_ARROW}|\d{{1,3}}", size_of(maze))
  if rows is None:
    return verdict("unparseable", text)
  blanks = set(cells_with(maze, "X"))
  if any(
    not re.fullmatch(_ARROW, cell) if (i, j) in blanks else cell != maze[i][j]
    for i, row in enumerate(rows)
    for j, cell in enumerate(row)
  ):
    return verdict("changed a given", text)
  on_rays: set[forms.Cell] = set()
  for i, j in cells_with(rows, r"\d+"):
    rays = [_ray(rows, i, j, arrow) for arrow in _ARROWS]
    if sum(map(len, rays)) != int(rows[i][j]):
      return verdict("wrong length", text)
    on_rays.update(*rays)
  left = on_rays != set(cells_with(rows, _ARROW))
  return verdict("arrow on no ray" if left else "correct", text)


def _ray(rows: Rows, i: int, j: int, arrow: str) -> list[forms.Cell]:
  """List the equal arrows that follow a cell in their own direction."""
  ray, (down, right) = [], _ARROWS[arrow]
  cell = (i + down, j + right)
  while (
    forms.is_inside(cell, size_of(rows)) and rows[cell[0]][cell[1]] == arrow
  ):
    ray.append(cell)
    cell = (cell[0] + down, cell[1] + right)
  return ray


# -- calcudoko: a Latin square with sums and products --------------------------


def _read_calcudoko(game: Game) -> dict:
  metadata = game["metadata"]
  size = int(metadata["grid_size"])
  if not 1 <= size <= 9:
    raise forms.UnreadableError(f"grid_size {size} is not between 1 and 9")
  regions = []
  for region in metadata["regions"]:
    cells = [_region_cell(cell, size) for cell in region["cells"]]
    if region["operator"] not in ("+", "-", "*", "/", "÷"):
      raise forms.UnreadableError(f"operator {region['operator']!r} is unknown")
    regions.append([cells, region["operator"], int(region["target"])])
  return {"size": size, "regions": regions}


def _region_cell(cell: object, size: int) -> list[int]:
  """Read a cell, `(1,2)` or [1, 2], which is counted from 1."""
  numbers = [int(n) - 1 for n in re.findall(r"\d+", str(cell))]
  if len(numbers) != 2 or not all(0 <= n < size for n in numbers):
    raise forms.UnreadableError(f"cell {cell!r} is not in the grid")
  return numbers


def _verify_calcudoko(problem: Problem, text: str) -> Verdict:
  """Verify a Latin square whose regions have their results.

  The reason is the first of these that holds: 'unparseable', 'repeats a digit'
  (also in a region), 'wrong result', 'correct'.
  """
  rows = grids.read_square(text, problem.answer["size"])
  if rows is None:
    return verdict("unparseable", text)
  regions = [
    ([int(rows[i][j]) for i, j in cells], sign, target)
    for cells, sign, target in problem.answer["regions"]
  ]
  if not grids.is_latin(rows) or any(
    len(set(numbers)) != len(numbers) for numbers, _, _ in regions
  ):
    return verdict("repeats a digit", text)
  right = all(_has_result(*region) for region in regions)
  return verdict("correct" if right else "wrong result", text)


def _has_result(numbers: list[int], sign: str, target: int) -> bool:
  """Return whether numbers give a target; two may be taken in either order."""
  if sign == "+":
    return sum(numbers) == target
  if sign == "*":
    return math.prod(numbers) == target
  if len(numbers) != 2:
    return False
  small, large = sorted(numbers)
  if sign == "-":
    return large - small == abs(target)
  return target in (Fraction(large, small), Fraction(small, large))


# -- math_path: digits of an equation ------------------------------------------


def _read_math_path(game: Game) -> dict:
  puzzle = "".join(str(game["metadata"]["query_expr"]).split())
  if not re.fullmatch(r"[0-9?]+(?:(?:[-+*/%]|=-?)[0-9?]+)+", puzzle, re.ASCII):
    raise forms.UnreadableError(f"query_expr {puzzle!r} is not an equation")
  if puzzle.count("=") != 1:
    raise forms.UnreadableError(f"query_expr {puzzle!r} has not one '='")
  return {"puzzle": puzzle}


def _extract_equation(response: str) -> str | None:
  text = forms.double_brackets(response)
  return None if text is None else "".join(text.split()).strip("[]\"'")


def _verify_math_path(problem: Problem, text: str) -> Verdict:
  """Verify an equation.

  The reason is the first of these that holds: 'unparseable' (its shape is not
  the puzzle's, or a number begins with 0), 'changed a given', 'not equal',
  'correct'.
  """
  puzzle = problem.answer["puzzle"]
  if re.sub("[0-9]", "?", text) != re.sub("[0-9]", "?", puzzle) or re.search(
    "(?<![0-9])0[0-9]", text
  ):
    return verdict("unparseable", text)
  if any(p not in ("?", t) for p, t in zip(puzzle, text, strict=True)):
    return verdict("changed a given", text)
  left, right = map(_result, text.split("="))
  equal = left is not None and left == right
  return verdict("correct" if equal else "not equal", text)


_OPERATORS = {"*": operator.mul, "/": operator.truediv, "%": operator.mod}


def _result(side: str) -> Fraction | None:
  """Compute a sum of products, quotients and remainders; None: by zero."""
  total = Fraction(0)
  for sign, term in re.findall(r"([+-]?)([0-9*/%]+)", side):
    first, *rest = re.findall("[*/%]|[0-9]+", term)
    result = Fraction(first)
    for name, number in zip(rest[::2], rest[1::2], strict=True):
      if name != "*" and int(number) == 0:
        return None
      result = _OPERATORS[name](result, Fraction(number))
    total += -result if sign == "-" else result
  return total


# -- skyscraper_puzzle: what is seen from each side ----------------------------

_SIDES = ("top", "bottom", "left", "right")


def _read_skyscrapers(game: Game) -> dict:
  metadata = game["metadata"]
  size = int(metadata["n"])
  return {side: forms.integers(metadata[side], side, size) for side in _SIDES}


def _verify_skyscrapers(problem: Problem, text: str) -> Verdict:
  """Verify a Latin square of heights.

  The reason is the first of these that holds: 'unparseable', 'repeats a digit',
  'wrong view', 'correct'.
  """
  views = [problem.answer[side] for side in _SIDES]
  size = len(views[0])
  rows = forms.read_answer(text, r"[1-9]\d?", (size, size))
  if rows is None or max(int(cell) for row in rows for cell in row) > size:
    return verdict("unparseable", text)
  columns = _columns(rows)
  if any(len(set(line)) != size for line in (*rows, *columns)):
    return verdict("repeats a digit", text)
  seen = [
    [_visible(line[::step]) for line in lines]
    for lines in (columns, rows)
    for step in (1, -1)
  ]
  return verdict("correct" if seen == views else "wrong view", text)


def _visible(heights: Sequence[str]) -> int:
  """Count the heights that no earlier height hides."""
  highest = count = 0
  for height in map(int, heights):
    if height > highest:
      highest, count = height, count + 1
  return count


# -- survo: sums of rows and columns -------------------------------------------


def _read_survo(game: Game) -> dict:
  metadata = game["metadata"]
  return {
    "table": forms.table(
      metadata["original_matrix"], r"-?\d{1,6}", "original_matrix"
    ),
    "numbers": sorted(
      forms.integers(metadata["candidate_numbers"], "candidate_numbers")
    ),
  }


def _verify_survo(problem: Problem, text: str) -> Verdict:
  """Verify a table whose last row and column are the sums of the others.

  The reason is the first of these that holds: 'unparseable', 'changed a given',
  'wrong numbers', 'wrong sum', 'correct'.
  """
  table = problem.answer["table"]
  rows = forms.read_answer(text, r"-?\d{1,6}", size_of(table))
  if rows is None:
    return verdict("unparseable", text)
  blanks = set(cells_with(table, "0"))
  if any(
    (i, j) not in blanks and int(cell) != int(table[i][j])
    for i, row in enumerate(rows)
    for j, cell in enumerate(row)
  ):
    return verdict("changed a given", text)
  if sorted(int(rows[i][j]) for i, j in blanks) != problem.answer["numbers"]:
    return verdict("wrong numbers", text)
  lines = [*rows[:-1], *_columns(rows)[:-1]]
  sums = all(sum(map(int, line[:-1])) == int(line[-1]) for line in lines)
  return verdict("correct" if sums else "wrong sum", text)


# -- wordscapes: words of a crossword ------------------------------------------


def _read_wordscapes(game: Game) -> dict:
  record = forms.fields(game)
  words = {
    name: [str(word).lower() for word in record[name]]
    for name in ("across_words", "down_words")
  }
  return {"grid": forms.table(record["grid"], "[X0]", "grid"), **words}


def _verify_wordscapes(problem: Problem, text: str) -> Verdict:
  """Verify a table with a letter for each X; other cells are 0 or blank.

  The reason is the first of these that holds: 'unparseable', 'wrong cells',
  'missing word', 'correct'.
  """
  grid = problem.answer["grid"]
  rows = forms.read_answer(text.lower(), "[^\\W\\d_]|0| ?", size_of(grid))
  if rows is None:
    return verdict("unparseable", text)
  letters = "[^\\W\\d_]"
  if cells_with(rows, letters) != cells_with(grid, "X"):
    return verdict("wrong cells", text)
  for words, lines in (("across_words", rows), ("down_words", _columns(rows))):
    texts = ["".join(cell.strip() or "0" for cell in line) for line in lines]
    if not all(any(word in t for t in texts) for word in problem.answer[words]):
      return verdict("missing word", text)
  return verdict("correct", text)


RULES = {
  "arrow_maze": Rules(
    _read_arrow_maze, forms.extract_value, _verify_arrow_maze
  ),
  "calcudoko": Rules(_read_calcudoko, forms.extract_square, _verify_calcudoko),
  "math_path": Rules(_read_math_path, _extract_equation, _verify_math_path),
  "skyscraper_puzzle": Rules(
    _read_skyscrapers, forms.extract_value, _verify_skyscrapers
  ),
  "survo": Rules(_read_survo, forms.extract_value, _verify_survo),
  "wordscapes": Rules(
    _read_wordscapes, forms.extract_value, _verify_wordscapes
  ),
}
