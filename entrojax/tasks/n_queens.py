"""N queens: place one queen in each row so that none attacks another.

Prompt `1...6...:`, for each row the column of its queen, '.' = not placed yet.
A right response gives all columns, `15863724`, keeps the queens that stand, and
is nothing else; any that obeys the rules will do.
"""

import functools

import numpy as np

from entrojax.tasks.grids import DIGITS, keeps_givens
from entrojax.tasks.sampling import sampled
from entrojax.types import Family, Problem, Verdict

CHARACTERS = "123456789.: "
MAX_RESPONSE_LENGTH = 64  # characters

LEVELS = (
  {"size": 8, "missing": 3},
  {"size": 8, "missing": 5},
  {"size": 9, "missing": 5},
  {"size": 9, "missing": 6},
)


def generate(rng: np.random.Generator, *, size: int, missing: int) -> Problem:
  """Draws a board.

  Args:
    rng: consumed.
    size: rows and columns, 4 to 9.
    missing: queens to place.
  """
  solutions = _solutions(size)
  solution = solutions[rng.integers(len(solutions))]
  board = list(solution)
  for row in rng.choice(size, size=missing, replace=False):
    board[row] = "."
  puzzle = "".join(board)
  return Problem(f"{puzzle}:", {"puzzle": puzzle, "solution": solution})


@functools.lru_cache
def _solutions(size: int, placed: str = "") -> list[str]:
  """Returns every solution that begins with the rows placed, in order."""
  if len(placed) == size:
    return [placed]
  return [
    solution
    for column in DIGITS[:size]
    if _is_safe(placed + column)
    for solution in _solutions(size, placed + column)
  ]


def _is_safe(columns: str) -> bool:
  """Says whether no two queens share a column or a diagonal."""
  numbers = [int(column) for column in columns]
  return all(
    len({column + slope * row for row, column in enumerate(numbers)})
    == len(numbers)
    for slope in (-1, 0, 1)
  )


def verify(problem: Problem, response: str) -> Verdict:
  """Judges a response by the rules; never raises on a str.

  Reasons: 'too long', 'unparseable', 'moved a queen', 'attack', 'correct'; the
  first that holds. Spaces are allowed at both ends.
  """
  if len(response) > MAX_RESPONSE_LENGTH:
    return Verdict(0.0, "too long", None)
  puzzle = problem.answer["puzzle"]
  text = response.strip(" ")
  if len(text) != len(puzzle) or not set(text) <= set(DIGITS[: len(puzzle)]):
    return Verdict(0.0, "unparseable", None)
  if not keeps_givens(puzzle, text):
    return Verdict(0.0, "moved a queen", text)
  if not _is_safe(text):
    return Verdict(0.0, "attack", text)
  return Verdict(1.0, "correct", text)


def solutions(problem: Problem) -> list[str]:
  """Returns all right responses, sorted."""
  puzzle = problem.answer["puzzle"]
  return [s for s in _solutions(len(puzzle)) if keeps_givens(puzzle, s)]


FAMILY = Family(
  "n_queens",
  LEVELS,
  sampled(generate),
  verify,
  CHARACTERS,
  solutions=solutions,
)
