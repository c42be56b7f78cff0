"""Sudoku: fill a square so that no row, column or box repeats a digit.

Prompt `1.3./..2./2.../...2:`, rows from the top, '.' = empty; a right response
is the full square, `1234/3421/2143/4312`, and nothing else. A puzzle may have
several solutions: each is right. Boxes are 2 x 2 of 4 rows, 3 x 3 of 9.
"""

import math

import numpy as np

from entrojax.tasks import grids
from entrojax.tasks.sampling import sampled
from entrojax.types import Family, Problem, Verdict

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
  """Draws a puzzle.

  Args:
    rng: consumed.
    size: rows, 4 or 9.
    empty: cells to fill.
  """
  rows = grids.random_square(rng, size, math.isqrt(size))
  solution = "/".join(rows)
  puzzle = grids.erased(rng, solution, empty)
  return Problem(f"{puzzle}:", {"puzzle": puzzle, "solution": solution})


def verify(problem: Problem, response: str) -> Verdict:
  """Judges a response by the rules; never raises on a str.

  Reasons: 'too long', 'unparseable', 'changed a given', 'repeats a digit',
  'correct'; the first that holds. Spaces are allowed at both ends.
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
  """Returns all right responses of 4 rows; of 9 the one it was made from."""
  puzzle, solution = problem.answer["puzzle"], problem.answer["solution"]
  return grids.completions(puzzle, solution, math.isqrt(puzzle.index("/")))


FAMILY = Family(
  "sudoku", LEVELS, sampled(generate), verify, CHARACTERS, solutions=solutions
)
