"""Number path (Numbrix): a path through a square visits every cell once.

Prompt `1 . ./. 5 ./7 . .:`, rows from the top; fill in 1, 2, 3, ... so that
each number shares a side with the next. A right response is the full square,
`1 2 3/6 5 4/7 8 9`, and nothing else; any that obeys the rules will do.
"""

import functools
import itertools

import numpy as np

from entrojax.tasks.sampling import sampled
from entrojax.types import Family, Problem, Verdict

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
  """Draws a puzzle.

  Args:
    rng: consumed.
    size: rows, 2 to 9.
    empty: cells to fill.
  """
  path = _random_path(rng, size)
  order = {cell: str(i + 1) for i, cell in enumerate(path)}
  solution = [order[i, j] for i in range(size) for j in range(size)]
  puzzle = solution.copy()
  for cell in rng.choice(size * size, size=empty, replace=False):
    puzzle[cell] = "."
  answer = {"puzzle": _written(puzzle), "solution": _written(solution)}
  return Problem(f"{answer['puzzle']}:", answer)


def _written(cells: list[str]) -> str:
  size = round(len(cells) ** 0.5)
  rows = [cells[i : i + size] for i in range(0, len(cells), size)]
  return "/".join(" ".join(row) for row in rows)


def _random_path(rng: np.random.Generator, size: int) -> list[Cell]:
  """Draws a path by moves that rewire one end of it, from a snake on."""
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
  """Judges a response by the rules; never raises on a str.

  Reasons: 'too long', 'unparseable', 'changed a given', 'wrong numbers',
  'broken path', 'correct'; the first that holds. Spaces are allowed at both
  ends.
  """
  if len(response) > MAX_RESPONSE_LENGTH:
    return Verdict(0.0, "too long", None)
  puzzle = [row.split(" ") for row in problem.answer["puzzle"].split("/")]
  size = len(puzzle)
  text = response.strip(" ")
  rows = [row.split(" ") for row in text.split("/")]
  known = {str(n) for n in range(1, size * size + 1)}
  if len(rows) != size or any(
    len(row) != size or not set(row) <= known for row in rows
  ):
    return Verdict(0.0, "unparseable", None)
  cells = [cell for row in rows for cell in row]
  givens = [cell for row in puzzle for cell in row]
  if any(g not in (".", c) for g, c in zip(givens, cells, strict=True)):
    return Verdict(0.0, "changed a given", text)
  if set(cells) != known:
    return Verdict(0.0, "wrong numbers", text)
  if not _is_path(cells, size):
    return Verdict(0.0, "broken path", text)
  return Verdict(1.0, "correct", text)


def _is_path(cells: list[str], size: int) -> bool:
  """Says whether each number shares a side with the next."""
  places = sorted(range(len(cells)), key=lambda i: int(cells[i]))
  return all(
    abs(x // size - y // size) + abs(x % size - y % size) == 1
    for x, y in itertools.pairwise(places)
  )


def solutions(problem: Problem) -> list[str]:
  """Returns all right responses of 3 rows; of more the one it was made from."""
  puzzle = problem.answer["puzzle"].replace("/", " ").split(" ")
  if len(puzzle) > 9:
    return [problem.answer["solution"]]
  return [
    _written(cells)
    for cells in _all_paths(round(len(puzzle) ** 0.5))
    if all(g in (".", c) for g, c in zip(puzzle, cells, strict=True))
  ]


@functools.cache
def _all_paths(size: int) -> list[list[str]]:
  """Returns the cells of every full square, rows from the top."""
  numbers = [str(i + 1) for i in range(size * size)]
  return [
    list(cells)
    for cells in itertools.permutations(numbers)
    if _is_path(list(cells), size)
  ]


FAMILY = Family(
  "number_path",
  LEVELS,
  sampled(generate),
  verify,
  CHARACTERS,
  solutions=solutions,
)
