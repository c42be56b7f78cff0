r"""SynLogic's games in which things are placed on a table, judged by rules.

Every placement that obeys the rules is right, whatever the record's own
solution. Places of tents, walls and numbers are answered as a whole table,
stars and dominoes as a list of cells, counted from (1, 1).

Deviation: a wall puzzle's free cells must be X or A, while the published
verifier also takes new numbers there, and each region of norinori needs two
covered cells, while the published one passes regions without any.
"""

from collections import Counter
import functools
import re
from typing import Any

from entrojax.tasks.synlogic_games import forms
from entrojax.tasks.synlogic_games.forms import (
  Cell,
  Game,
  Rows,
  Rules,
  cells_with,
  size_of,
  verdict,
)
from entrojax.types import Problem, Verdict

# -- campsite: tents beside trees ----------------------------------------------


def _read_campsite(game: Game) -> dict:
  metadata = game["metadata"]
  grid = forms.table(metadata["grid"], "[TX]", "grid")
  rows, columns = size_of(grid)
  return {
    "grid": grid,
    "rows": forms.integers(
      metadata["row_constraints"], "row_constraints", rows
    ),
    "columns": forms.integers(
      metadata["col_constraints"], "col_constraints", columns
    ),
  }


def _verify_campsite(problem: Problem, text: str) -> Verdict:
  """Verify a table with a tent C for each tree T.

  The reason is the first of these that holds: 'unparseable', 'moved a tree',
  'wrong count', 'tents touch', 'no match' (there is no pairing of each tent
  with a tree beside it), 'correct'.
  """
  grid = problem.answer["grid"]
  rows = forms.read_answer(text, "[TCX]", size_of(grid))
  if rows is None:
    return verdict("unparseable", text)
  if cells_with(rows, "T") != cells_with(grid, "T"):
    return verdict("moved a tree", text)
  counts = (
    [row.count("C") for row in rows],
    [column.count("C") for column in zip(*rows, strict=True)],
  )
  if counts != (problem.answer["rows"], problem.answer["columns"]):
    return verdict("wrong count", text)
  tents, trees = cells_with(rows, "C"), cells_with(rows, "T")
  if _touch(tents, size_of(rows)):
    return verdict("tents touch", text)
  if len(tents) != len(trees) or not _can_match(tents, trees, size_of(rows)):
    return verdict("no match", text)
  return verdict("correct", text)


def _touch(cells: list[Cell], size: tuple[int, int]) -> bool:
  """Return whether two of some cells are neighbours, also diagonally."""
  taken = set(cells)
  return any(
    taken & set(forms.neighbours(*cell, size, diagonals=True)) for cell in cells
  )


def _can_match(
  tents: list[Cell], trees: list[Cell], size: tuple[int, int]
) -> bool:
  """Return whether each tent can have a tree of its own beside it."""
  tent_of: dict[Cell, Cell] = {}

  def place(tent: Cell, tried: set[Cell]) -> bool:
    for tree in set(forms.neighbours(*tent, size)) & set(trees) - tried:
      tried.add(tree)
      if tree not in tent_of or place(tent_of[tree], tried):
        tent_of[tree] = tent
        return True
    return False

  return all(place(tent, set()) for tent in tents)


# -- kukurasu: weighted sums ---------------------------------------------------


def _read_kukurasu(game: Game) -> dict:
  metadata = game["metadata"]
  return {
    "rows": forms.integers(metadata["row_sums"], "row_sums"),
    "columns": forms.integers(metadata["col_sums"], "col_sums"),
  }


def _verify_kukurasu(problem: Problem, text: str) -> Verdict:
  """Verify a table of 1 and X in which the k-th cell of a line weighs k.

  The reason is 'unparseable', 'wrong sum' or 'correct'.
  """
  sums = problem.answer["rows"], problem.answer["columns"]
  rows = forms.read_answer(text, "[1X]", (len(sums[0]), len(sums[1])))
  if rows is None:
    return verdict("unparseable", text)
  lines = rows, list(zip(*rows, strict=True))
  weights = tuple(list(map(_weight, side)) for side in lines)
  return verdict("correct" if weights == sums else "wrong sum", text)


def _weight(line) -> int:
  return sum(k for k, cell in enumerate(line, 1) if cell == "1")


# -- number_wall: islands of a given size --------------------------------------


def _read_number_wall(game: Game) -> dict:
  return {"grid": forms.table(game["metadata"]["grid"], r"X|\d{1,3}", "grid")}


def _verify_number_wall(problem: Problem, text: str) -> Verdict:
  """Verify a table in which walls A part islands of numbers and X.

  The reason is the first of these that holds: 'unparseable', 'changed a given',
  'wall of 2 x 2', 'wrong island' (an island has not one number, or not as many
  cells), 'islands touch' (at corners), 'correct'.
  """
  grid = problem.answer["grid"]
  rows = forms.read_answer(text, r"[XA]|\d{1,3}", size_of(grid))
  if rows is None:
    return verdict("unparseable", text)
  if cells_with(rows, r"\d+") != cells_with(grid, r"\d+") or any(
    rows[i][j] != grid[i][j] for i, j in cells_with(grid, r"\d+")
  ):
    return verdict("changed a given", text)
  island = _islands(rows)
  squares = [
    [(i, j), (i, j + 1), (i + 1, j + 1), (i + 1, j)]
    for i in range(len(rows) - 1)
    for j in range(len(rows[0]) - 1)
  ]
  if not all(any(cell in island for cell in square) for square in squares):
    return verdict("wall of 2 x 2", text)
  for members in _groups(island):
    numbers = [rows[i][j] for i, j in members if rows[i][j] != "X"]
    if len(numbers) != 1 or int(numbers[0]) != len(members):
      return verdict("wrong island", text)
  if any(
    len({island[c] for c in square if c in island}) > 1 for square in squares
  ):
    return verdict("islands touch", text)
  return verdict("correct", text)


def _islands(rows: Rows) -> dict[Cell, Cell]:
  """Map each cell without a wall to one cell that stands for its island."""
  island: dict[Cell, Cell] = {}
  for start in cells_with(rows, "[^A]+"):
    reached = [] if start in island else [start]
    while reached:
      cell = reached.pop()
      island[cell] = start
      reached += [
        (i, j)
        for i, j in forms.neighbours(*cell, size_of(rows))
        if rows[i][j] != "A" and (i, j) not in island
      ]
  return island


def _groups(island: dict[Cell, Cell]) -> list[list[Cell]]:
  groups: dict[Cell, list[Cell]] = {}
  for cell, start in island.items():
    groups.setdefault(start, []).append(cell)
  return list(groups.values())


# -- norinori and star_placement_puzzle: so many cells in each region ----------


def _read_norinori(game: Game) -> dict:
  regions = game["metadata"]["region_grid"]
  return {"regions": forms.table(regions, r"\w{1,3}", "region_grid")}


def _read_stars(game: Game) -> dict:
  return {**_read_norinori(game), "stars": int(game["metadata"]["k"])}


def _extract_dominoes(response: str) -> str | None:
  """Extract the dominoes after the last `[[(`, otherwise all of the answer."""
  text = "".join(forms.after_thinking(response).split())
  dominoes = _DOMINO.findall(text, max(text.rfind("[[("), 0))
  ends = [
    sorted([(int(a), int(b)), (int(c), int(d))]) for a, b, c, d in dominoes
  ]
  return forms.written(sorted(ends)) if ends else None


_DOMINO = re.compile(f"{forms.PAIR},{forms.PAIR}")


def _verify_norinori(problem: Problem, text: str) -> Verdict:
  """Verify dominoes, [[(1, 2), (1, 3)], ...], two covered cells in each region.

  The reason is the first of these that holds: 'unparseable', 'outside', 'no
  domino' (two cells are not side by side), 'dominoes touch', 'wrong count',
  'shadow left', 'correct'.
  """
  regions = problem.answer["regions"]
  dominoes = [[(i - 1, j - 1) for i, j in ends] for ends in forms.literal(text)]
  owner = {cell: n for n, ends in enumerate(dominoes) for cell in ends}
  if not all(forms.is_inside(cell, size_of(regions)) for cell in owner):
    return verdict("outside", text)
  beside = functools.partial(forms.neighbours, size=size_of(regions))
  if any(second not in beside(*first) for first, second in dominoes):
    return verdict("no domino", text)
  if len(owner) != 2 * len(dominoes) or any(
    owner.get(near, n) != n
    for cell, n in owner.items()
    for near in beside(*cell)
  ):
    return verdict("dominoes touch", text)
  covered = Counter(regions[i][j] for i, j in owner)
  names = {name for row in regions for name in row} - {"X"}
  if any(covered[name] != 2 for name in names):
    return verdict("wrong count", text)
  left = covered["X"] < len(cells_with(regions, "X"))
  return verdict("shadow left" if left else "correct", text)


def _extract_stars(response: str) -> str | None:
  """Extract the cells of a dict such as {'A': [(1, 1)], 'B': [(3, 2)]}."""
  stars = forms.value(response)
  if not isinstance(stars, dict):
    return None
  cells = [_as_cell(cell) for part in stars.values() for cell in _as_list(part)]
  if not cells or None in cells:
    return None
  return forms.written(sorted(cell for cell in cells if cell))


def _as_list(part: Any) -> list:
  return part if isinstance(part, list) else [part]


def _as_cell(cell: Any) -> Cell | None:
  row = forms.read_table([cell], r"\d{1,3}")
  return (int(row[0][0]), int(row[0][1])) if row and len(row[0]) == 2 else None


def _verify_stars(problem: Problem, text: str) -> Verdict:
  """Verify stars, so many in each row, column and region.

  The reason is the first of these that holds: 'outside', 'wrong count', 'stars
  touch', 'correct'.
  """
  regions, count = problem.answer["regions"], problem.answer["stars"]
  stars = sorted({(i - 1, j - 1) for i, j in forms.literal(text)})
  if not all(forms.is_inside(cell, size_of(regions)) for cell in stars):
    return verdict("outside", text)
  counters = (
    Counter(i for i, _ in stars),
    Counter(j for _, j in stars),
    Counter(regions[i][j] for i, j in stars),
  )
  names = {name for row in regions for name in row}
  lines = range(len(regions)), range(len(regions[0])), names
  for counter, line in zip(counters, lines, strict=True):
    if any(counter[name] != count for name in line):
      return verdict("wrong count", text)
  touch = _touch(stars, size_of(regions))
  return verdict("stars touch" if touch else "correct", text)


RULES = {
  "campsite": Rules(_read_campsite, forms.extract_value, _verify_campsite),
  "kukurasu": Rules(_read_kukurasu, forms.extract_value, _verify_kukurasu),
  "norinori": Rules(_read_norinori, _extract_dominoes, _verify_norinori),
  "number_wall": Rules(
    _read_number_wall, forms.extract_value, _verify_number_wall
  ),
  "star_placement_puzzle": Rules(_read_stars, _extract_stars, _verify_stars),
}
