"""Sudoku: fill a square so that no row, column or box repeats a digit.

The prompt `1.3./..2./2.../...2:` lists the rows from the top, with '.' for an
empty cell. A right response is the full square, `1234/3421/2143/4312`. Spaces
at its ends are ignored, and anything else makes it wrong. A puzzle may have
several solutions, and each is right. Boxes are 2 x 2 cells in a square of 4
rows and 3 x 3 cells in a square of 9 rows.
"""

import math

import numpy as np

from entrojax.tasks import grids
from entrojax.tasks.sampling import problem_source
from entrojax.types import Family, Problem, Summary, Verdict

MAX_RESPONSE_LENGTH = 128  # characters

CHARACTERS = "123456789./: "

LEVELS = (
  {"size": 4, "empty": 4},
  {"size": 4, "empty": 8},
  {"size": 4, "empty": 11},
  {"size": 9, "empty": 20},
  {"size": 9, "empty": 40},
  {"size": 9, "empty": 54},
)


def generate(rng: np.random.Generator, *, size: int, empty: int) -> Problem:
  """Draw a puzzle.

  Args:
    rng: the source of randomness; it is advanced.
    size: the number of rows, 4 or 9.
    empty: the number of cells to fill.
  """
  rows = grids.random_square(rng, size, math.isqrt(size))
  solution = "/".join(rows)
  puzzle = grids.erase(rng, solution, empty)
  return Problem(f"{puzzle}:", {"puzzle": puzzle, "solution": solution})


def verify(problem: Problem, response: str) -> Verdict:
  """Verify a response by the rules; no str makes this raise.

  Spaces at both ends are ignored. The reason is the first of these that holds:
  'too long', 'unparseable', 'changed a given', 'repeats a digit', 'correct'.
  """
  if len(response) > MAX_RESPONSE_LENGTH:
    return Verdict(0.0, "too long", None)
  puzzle = problem.answer["puzzle"]
  size = puzzle.index("/")
  text = response.strip(" ")
  rows = grids.read_square(text, size)
  if rows is None:
    return Verdict(0.0, "unparseable", None)
  if not grids.keeps_givens(puzzle, text):
    return Verdict(0.0, "changed a given", text)
  boxes = grids.boxes(rows, math.isqrt(size))
  if not grids.is_latin(rows) or any(len(set(box)) < size for box in boxes):
    return Verdict(0.0, "repeats a digit", text)
  return Verdict(1.0, "correct", text)


def solutions(problem: Problem) -> list[str]:
  """List right responses.

  Returns:
    All of them, sorted, for a square of 4 rows; for 9 rows the one that the
    problem was made from.
  """
  puzzle, solution = problem.answer["puzzle"], problem.answer["solution"]
  return grids.completions(puzzle, solution, math.isqrt(puzzle.index("/")))


FAMILY = Family(
  "sudoku",
  LEVELS,
  problem_source(generate),
  verify,
  CHARACTERS,
  solutions=solutions,
  summary=Summary(
    "fill a square",
    "1.3./..2./2.../...2:",
    "1234/3421/2143/4312",
    "4x4, then 9x9, more empty cells",
    "every square that obeys the rules",
  ),
)
