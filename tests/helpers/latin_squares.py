"""Check squares of digits slowly, line by line."""

import re

import numpy as np


def obeys_grid(puzzle: str, text: str, *, with_boxes: bool) -> bool:
  """Check the givens, rows, columns and, for a sudoku, boxes of a grid."""
  if not re.fullmatch(puzzle.replace(".", "[1-9]"), text):
    return False
  grid = np.array([[int(c) for c in row] for row in text.split("/")])
  size = len(grid)
  units = [*grid, *grid.T]
  if with_boxes:
    side = round(size**0.5)
    boxes = grid.reshape(side, side, side, side).swapaxes(1, 2)
    units += list(boxes.reshape(size, size))
  return all(sorted(unit) == list(range(1, size + 1)) for unit in units)
