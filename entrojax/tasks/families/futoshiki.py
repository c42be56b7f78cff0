"""Futoshiki: fill a Latin square under inequalities between neighbours.

The prompt `..3./4.../..../.1..;a1<b1,c4<c3:` lists the rows from the top, with
'.' for an empty cell, and then the inequalities. In these a letter stands for a
column and a number for a row, counted from the top. A right response is the
full square, `1432/4213/2341/3124`. Spaces at its ends are ignored, and anything
else makes it wrong. Every square is right that keeps the given digits and the
inequalities and has each digit from 1 to the number of rows once in each row
and column.
"""

import numpy as np

from entrojax.tasks import grids
from entrojax.tasks.sampling import problem_source
from entrojax.types import Family, Problem, Summary, Verdict

MAX_RESPONSE_LENGTH = 128  # characters

CHARACTERS = "123456789abcdefghi./;<,: "

LEVELS = (
  {"size": 4, "givens": 8, "inequalities": 2},
  {"size": 4, "givens": 4, "inequalities": 4},
  {"size": 5, "givens": 8, "inequalities": 6},
  {"size": 5, "givens": 4, "inequalities": 10},
  {"size": 6, "givens": 6, "inequalities": 14},
)


def generate(
  rng: np.random.Generator, *, size: int, givens: int, inequalities: int
) -> Problem:
  """Draw a puzzle.

  Args:
    rng: the source of randomness; it is advanced.
    size: the number of rows, at most 9.
    givens: the number of filled cells.
    inequalities: the number of inequalities between neighbours.
  """
  rows = grids.random_square(rng, size)
  solution = "/".join(rows)
  puzzle = grids.erase(rng, solution, size * size - givens)
  pairs = _neighbours(size)
  chosen = rng.choice(len(pairs), size=inequalities, replace=False)
  orders = [_sort_cells(rows, *pairs[i]) for i in sorted(chosen.tolist())]
  rules = ",".join(f"{_name(low)}<{_name(high)}" for low, high in orders)
  answer = {"puzzle": puzzle, "orders": orders, "solution": solution}
  return Problem(f"{puzzle};{rules}:", answer)


def _neighbours(size: int) -> list[tuple[list[int], list[int]]]:
  """List the pairs of cells [row, column] that share a side."""
  cells = [(i, j) for i in range(size) for j in range(size)]
  right = [([i, j], [i, j + 1]) for i, j in cells if j + 1 < size]
  below = [([i, j], [i + 1, j]) for i, j in cells if i + 1 < size]
  return right + below


def _sort_cells(rows, x: list[int], y: list[int]) -> list[list[int]]:
  """Return the two cells, the one with the smaller digit first."""
  return [x, y] if rows[x[0]][x[1]] < rows[y[0]][y[1]] else [y, x]


def _name(cell: list[int]) -> str:
  """Write a cell [row, column] as in a prompt, such as b1."""
  row, column = cell
  return f"{'abcdefghi'[column]}{row + 1}"


def verify(problem: Problem, response: str) -> Verdict:
  """Verify a response by the rules; no str makes this raise.

  Spaces at both ends are ignored. The reason is the first of these that holds:
  'too long', 'unparseable', 'changed a given', 'repeats a digit',
  'breaks an inequality', 'correct'.
  """
  if len(response) > MAX_RESPONSE_LENGTH:
    return Verdict(0.0, "too long", None)
  puzzle = problem.answer["puzzle"]
  text = response.strip(" ")
  rows = grids.read_square(text, puzzle.index("/"))
  if rows is None:
    return Verdict(0.0, "unparseable", None)
  if not grids.keeps_givens(puzzle, text):
    return Verdict(0.0, "changed a given", text)
  if not grids.is_latin(rows):
    return Verdict(0.0, "repeats a digit", text)
  if not _keeps_orders(rows, problem.answer["orders"]):
    return Verdict(0.0, "breaks an inequality", text)
  return Verdict(1.0, "correct", text)


def solutions(problem: Problem) -> list[str]:
  """List right responses.

  Returns:
    All of them, sorted, for a square of 4 rows; for larger squares the one that
    the problem was made from.
  """
  puzzle, solution = problem.answer["puzzle"], problem.answer["solution"]
  return [
    text
    for text in grids.completions(puzzle, solution)
    if _keeps_orders(text.split("/"), problem.answer["orders"])
  ]


def _keeps_orders(rows: list[str], orders: list[list[list[int]]]) -> bool:
  """Return whether each pair's first cell holds the smaller digit."""
  return all(rows[i][j] < rows[k][l] for (i, j), (k, l) in orders)


FAMILY = Family(
  "futoshiki",
  LEVELS,
  problem_source(generate),
  verify,
  CHARACTERS,
  solutions=solutions,
  summary=Summary(
    "fill a Latin square under inequalities",
    "..12/2..1/3..4/.2.3;b3<c3,c3<c2:",
    "4312/2431/3124/1243",
    "4x4 to 6x6, fewer givens",
    "every square that obeys the rules",
  ),
)
