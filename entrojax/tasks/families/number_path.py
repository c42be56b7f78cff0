"""Number path (Numbrix): number a path that visits every cell of a square once.

The prompt `1 . ./. 5 ./7 . .:` lists the rows from the top, with '.' for an
empty cell. Fill in 1, 2, 3, ... so that each number shares a side with the
next. A right response is the full square, `1 2 3/6 5 4/7 8 9`. Spaces at its
ends are ignored, and anything else makes it wrong. Every square that keeps the
given numbers and obeys the rules is right.
"""

import functools
import itertools

import numpy as np

from entrojax.tasks.sampling import problem_source
from entrojax.types import Family, Problem, Summary, Verdict

CHARACTERS = "0123456789./: "
MAX_RESPONSE_LENGTH = 1024  # characters

LEVELS = (
  {"size": 3, "empty": 4},
  {"size": 4, "empty": 6},
  {"size": 4, "empty": 10},
  {"size": 5, "empty": 15},
  {"size": 6, "empty": 22},
)

Cell = tuple[int, int]  # row, column


def generate(rng: np.random.Generator, *, size: int, empty: int) -> Problem:
  """Draw a puzzle.

  Args:
    rng: the source of randomness; it is advanced.
    size: the number of rows, 2 to 9.
    empty: the number of cells to fill.
  """
  path = _random_path(rng, size)
  order = {cell: str(i + 1) for i, cell in enumerate(path)}
  solution = [order[i, j] for i in range(size) for j in range(size)]
  puzzle = solution.copy()
  for cell in rng.choice(size * size, size=empty, replace=False):
    puzzle[cell] = "."
  answer = {"puzzle": _write(puzzle), "solution": _write(solution)}
  return Problem(f"{answer['puzzle']}:", answer)


def _write(cells: list[str]) -> str:
  """Write the cells of a square, row by row, as in a prompt."""
  size = round(len(cells) ** 0.5)
  rows = [cells[i : i + size] for i in range(0, len(cells), size)]
  return "/".join(" ".join(row) for row in rows)


def _random_path(rng: np.random.Generator, size: int) -> list[Cell]:
  """Draw a path: start from a snake, then rewire one end of it many times."""
  path = [
    (i, j if i % 2 == 0 else size - 1 - j)
    for i in range(size)
    for j in range(size)
  ]
  for _ in range(4 * size * size):
    if rng.random() < 0.5:
      path.reverse()
    row, column = path[-1]
    d_row, d_column = ((0, 1), (1, 0), (0, -1), (-1, 0))[rng.integers(4)]
    neighbour = row + d_row, column + d_column
    if neighbour in path:
      after = path.index(neighbour) + 1
      path[after:] = path[after:][::-1]
  return path


def verify(problem: Problem, response: str) -> Verdict:
  """Verify a response by the rules; no str makes this raise.

  Spaces at both ends are ignored. The reason is the first of these that holds:
  'too long', 'unparseable', 'changed a given', 'wrong numbers', 'broken path',
  'correct'.
  """
  if len(response) > MAX_RESPONSE_LENGTH:
    return Verdict(0.0, "too long", None)
  puzzle = [row.split(" ") for row in problem.answer["puzzle"].split("/")]
  size = len(puzzle)
  text = response.strip(" ")
  rows = [row.split(" ") for row in text.split("/")]
  numbers = {str(n) for n in range(1, size * size + 1)}
  if len(rows) != size or any(
    len(row) != size or not set(row) <= numbers for row in rows
  ):
    return Verdict(0.0, "unparseable", None)
  cells = [cell for row in rows for cell in row]
  givens = [cell for row in puzzle for cell in row]
  if any(g not in (".", c) for g, c in zip(givens, cells, strict=True)):
    return Verdict(0.0, "changed a given", text)
  if set(cells) != numbers:
    return Verdict(0.0, "wrong numbers", text)
  if not _is_path(cells, size):
    return Verdict(0.0, "broken path", text)
  return Verdict(1.0, "correct", text)


def _is_path(cells: list[str], size: int) -> bool:
  """Return whether each number shares a side with the next."""
  places = sorted(range(len(cells)), key=lambda i: int(cells[i]))
  return all(
    abs(x // size - y // size) + abs(x % size - y % size) == 1
    for x, y in itertools.pairwise(places)
  )


def solutions(problem: Problem) -> list[str]:
  """List right responses.

  Returns:
    All of them for a square of 3 rows; for larger squares the one that the
    problem was made from.
  """
  puzzle = problem.answer["puzzle"].replace("/", " ").split(" ")
  if len(puzzle) > 9:
    return [problem.answer["solution"]]
  return [
    _write(cells)
    for cells in _all_paths(round(len(puzzle) ** 0.5))
    if all(g in (".", c) for g, c in zip(puzzle, cells, strict=True))
  ]


@functools.cache
def _all_paths(size: int) -> list[list[str]]:
  """List the cells of every full square that is a path, row by row."""
  numbers = [str(i + 1) for i in range(size * size)]
  return [
    list(cells)
    for cells in itertools.permutations(numbers)
    if _is_path(list(cells), size)
  ]


FAMILY = Family(
  "number_path",
  LEVELS,
  problem_source(generate),
  verify,
  CHARACTERS,
  solutions=solutions,
  summary=Summary(
    "number a path through all cells",
    "3 2 ./4 . ./. 6 9:",
    "3 2 1/4 7 8/5 6 9",
    "3x3 to 6x6, 4 to 22 empty cells",
    "every path",
  ),
)
