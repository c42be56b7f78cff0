"""Futoshiki: fill a Latin square under inequalities between neighbours.

Prompt `..3./4.../..../.1..;a1<b1,c4<c3:`, rows from the top, '.' = empty; then
inequalities, columns being letters and rows numbers from the top. A right
response is the full square, `1234/...`, and nothing else; any that obeys the
rules will do.
"""

import numpy as np

from entrojax.tasks import grids
from entrojax.tasks.sampling import sampled
from entrojax.types import Family, Problem, Verdict

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
  """Draws a puzzle.

  Args:
    rng: consumed.
    size: rows, at most 9.
    givens: filled cells.
    inequalities: pairs of neighbours whose order is told.
  """
  rows = grids.random_square(rng, size)
  solution = "/".join(rows)
  puzzle = grids.erased(rng, solution, size * size - givens)
  pairs = _neighbours(size)
  chosen = rng.choice(len(pairs), size=inequalities, replace=False)
  orders = [_ordered(rows, *pairs[i]) for i in sorted(chosen.tolist())]
  rules = ",".join(f"{_name(low)}<{_name(high)}" for low, high in orders)
  answer = {"puzzle": puzzle, "orders": orders, "solution": solution}
  return Problem(f"{puzzle};{rules}:", answer)


def _neighbours(size: int) -> list[tuple[list[int], list[int]]]:
  """Returns the pairs of cells [row, column] that share a side."""
  cells = [(i, j) for i in range(size) for j in range(size)]
  right = [([i, j], [i, j + 1]) for i, j in cells if j + 1 < size]
  below = [([i, j], [i + 1, j]) for i, j in cells if i + 1 < size]
  return right + below


def _ordered(rows, x: list[int], y: list[int]) -> list[list[int]]:
  """Returns the two cells, the smaller digit's first."""
  return [x, y] if rows[x[0]][x[1]] < rows[y[0]][y[1]] else [y, x]


def _name(cell: list[int]) -> str:
  row, column = cell
  return f"{'abcdefghi'[column]}{row + 1}"


def verify(problem: Problem, response: str) -> Verdict:
  """Judges a response by the rules; never raises on a str.

  Reasons: 'too long', 'unparseable', 'changed a given', 'repeats a digit',
  'breaks an inequality', 'correct'; the first that holds. Spaces are allowed at
  both ends.
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
  """Returns all right responses of 4 rows; of more the one it was made from."""
  puzzle, solution = problem.answer["puzzle"], problem.answer["solution"]
  return [
    text
    for text in grids.completions(puzzle, solution)
    if _keeps_orders(text.split("/"), problem.answer["orders"])
  ]


def _keeps_orders(rows: list[str], orders: list[list[list[int]]]) -> bool:
  return all(rows[i][j] < rows[k][l] for (i, j), (k, l) in orders)


FAMILY = Family(
  "futoshiki",
  LEVELS,
  sampled(generate),
  verify,
  CHARACTERS,
  solutions=solutions,
)
