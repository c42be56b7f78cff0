"""N queens: place one queen in each row so that none attacks another.

The prompt `1..6....:` gives for each row the column of its queen, with '.' for
a queen that is not placed yet. A right response gives all columns, `15863724`.
Spaces at its ends are ignored, and anything else makes it wrong. It keeps the
queens that are placed, and no two queens share a column or a diagonal. Every
such placement is right.
"""

import functools

import numpy as np

from entrojax.tasks.grids import DIGITS, keeps_givens
from entrojax.tasks.sampling import problem_source
from entrojax.types import Family, Problem, Summary, Verdict

CHARACTERS = "123456789.: "
MAX_RESPONSE_LENGTH = 64  # characters

LEVELS = (
  {"size": 8, "missing": 3},
  {"size": 8, "missing": 5},
  {"size": 9, "missing": 5},
  {"size": 9, "missing": 6},
)


def generate(rng: np.random.Generator, *, size: int, missing: int) -> Problem:
  """Draw a board.

  Args:
    rng: the source of randomness; it is advanced.
    size: the number of rows and of columns, 4 to 9.
    missing: the number of queens to place.
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
  """List every solution that begins with the placed rows, sorted."""
  if len(placed) == size:
    return [placed]
  return [
    solution
    for column in DIGITS[:size]
    if _is_safe(placed + column)
    for solution in _solutions(size, placed + column)
  ]


def _is_safe(columns: str) -> bool:
  """Return whether no two queens share a column or a diagonal."""
  numbers = [int(column) for column in columns]
  return all(
    len({column + slope * row for row, column in enumerate(numbers)})
    == len(numbers)
    for slope in (-1, 0, 1)
  )


def verify(problem: Problem, response: str) -> Verdict:
  """Verify a response by the rules; no str makes this raise.

  Spaces at both ends are ignored. The reason is the first of these that holds:
  'too long', 'unparseable', 'moved a queen', 'attack', 'correct'.
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
  """List all right responses, sorted."""
  puzzle = problem.answer["puzzle"]
  return [s for s in _solutions(len(puzzle)) if keeps_givens(puzzle, s)]


FAMILY = Family(
  "n_queens",
  LEVELS,
  problem_source(generate),
  verify,
  CHARACTERS,
  solutions=solutions,
  summary=Summary(
    "place queens that do not attack each other",
    "51.6.7.4:",
    "51863724",
    "8x8 and 9x9, 3 to 6 missing queens",
    "every placement that obeys the rules",
  ),
)
