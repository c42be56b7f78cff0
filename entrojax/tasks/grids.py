"""Draw, read and check squares of digits, for sudoku.py and futoshiki.py.

A square is written row by row, `12/21`, with '.' for an empty cell. A
Latin square repeats no digit in a row or a column. A square of Sudoku repeats
none in a box either. n_queens.py uses `keeps_givens`, too.
"""

from collections.abc import Sequence
import functools
import itertools

import numpy as np

DIGITS = "123456789"


def read_square(text: str, size: int) -> list[str] | None:
  """Read rows of the digits 1 to size; None if the text is no such square."""
  rows = text.split("/")
  if len(rows) != size or any(len(row) != size for row in rows):
    return None
  allowed = set(DIGITS[:size])
  return rows if all(set(row) <= allowed for row in rows) else None


def keeps_givens(puzzle: str, text: str) -> bool:
  """Return whether a text has every given of a puzzle of the same length."""
  return all(p in (".", t) for p, t in zip(puzzle, text, strict=True))


def is_latin(rows: Sequence[str]) -> bool:
  """Return whether no digit occurs twice in a row or in a column."""
  size = len(rows)
  lines = [*rows, *zip(*rows, strict=True)]
  return all(len(set(line)) == size for line in lines)


def boxes(rows: Sequence[str], side: int) -> list[str]:
  """List the side x side boxes of a square of side * side rows."""
  starts = range(0, side * side, side)
  return [
    "".join(rows[i + k][j : j + side] for k in range(side))
    for i in starts
    for j in starts
  ]


def erase(rng: np.random.Generator, square: str, count: int) -> str:
  """Empty `count` random cells of a written square."""
  text = list(square)
  cells = [i for i, character in enumerate(text) if character != "/"]
  for i in rng.choice(len(cells), size=count, replace=False):
    text[cells[i]] = "."
  return "".join(text)


def random_square(
  rng: np.random.Generator, size: int, box_side: int | None = None
) -> list[str]:
  """Draw a Latin square; with box_side, its boxes repeat no digit either.

  The search fills cell by cell and backtracks. It starts again after too many
  steps, so that its time has no heavy tail.

  Args:
    rng: the source of randomness; it is advanced.
    size: the number of rows, at most 9.
    box_side: the side of the boxes, in cells; None: there are no boxes.

  Returns:
    The rows, each a text of `size` digits.
  """
  while True:
    rows = _fill(rng, size, box_side, max_steps=8 * size * size)
    if rows is not None:
      return rows


def completions(
  puzzle: str, solution: str, box_side: int | None = None
) -> list[str]:
  """List the full squares that keep the givens of a puzzle.

  Args:
    puzzle: a written square; '.' is an empty cell.
    solution: one of the squares to list.
    box_side: the side of boxes that must not repeat a digit either; None: there
      are no boxes.

  Returns:
    All such squares, sorted, if they have at most 4 rows; otherwise `solution`
    alone.
  """
  if puzzle.index("/") > 4:
    return [solution]
  squares = _all_squares(puzzle.index("/"), box_side)
  return [square for square in squares if keeps_givens(puzzle, square)]


@functools.cache
def _all_squares(size: int, box_side: int | None) -> list[str]:
  """Write every Latin square, sorted (4 rows: 576, and 288 with boxes)."""
  lines = ["".join(line) for line in itertools.permutations(DIGITS[:size])]
  return [
    "/".join(rows)
    for rows in itertools.product(lines, repeat=size)
    if is_latin(rows)
    and (
      box_side is None
      or all(len(set(box)) == size for box in boxes(rows, box_side))
    )
  ]


def _fill(
  rng: np.random.Generator, size: int, box_side: int | None, *, max_steps: int
) -> list[str] | None:
  """Fill a square by backtracking; None if that takes over max_steps steps."""
  cells = size * size
  orders = rng.permuted(np.tile(np.arange(size), (cells, 1)), axis=1).tolist()
  units = [_units(cell, size, box_side) for cell in range(cells)]
  used = [0] * (3 * size)  # digits in each row, column and box, as bits
  choice = [-1] * cells  # index of the candidate that each cell tries
  cell = 0
  for _ in range(max_steps):
    row, column, box = units[cell]
    order = orders[cell]
    if choice[cell] >= 0:
      bit = 1 << order[choice[cell]]
      used[row] ^= bit
      used[column] ^= bit
      used[box] ^= bit
    taken = used[row] | used[column] | used[box]
    choice[cell] += 1
    while choice[cell] < size and taken >> order[choice[cell]] & 1:
      choice[cell] += 1
    if choice[cell] == size:
      choice[cell] = -1
      cell -= 1
      continue
    bit = 1 << order[choice[cell]]
    used[row] |= bit
    used[column] |= bit
    used[box] |= bit
    cell += 1
    if cell == cells:
      text = "".join(DIGITS[o[c]] for o, c in zip(orders, choice, strict=True))
      return [text[i : i + size] for i in range(0, cells, size)]
  return None


def _units(cell: int, size: int, box_side: int | None) -> tuple[int, int, int]:
  """Return the indices of a cell's row, column and box among all units.

  Without boxes each row also counts as a box, which adds no constraint.
  """
  row, column = divmod(cell, size)
  box = row
  if box_side is not None:
    box = row // box_side * box_side + column // box_side
  return row, size + column, 2 * size + box
