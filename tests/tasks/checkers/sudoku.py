"""Check sudokus."""

from tests.helpers.latin_squares import obeys_grid

SUDOKU = {"puzzle": "1.3./..2./2.../...2", "solution": "1234/3421/2143/4312"}
BY_HAND = [
  (SUDOKU, "1234/3421/2143/4312", "correct"),
  (SUDOKU, "1432/3124/2341/4213", "changed a given"),
  (SUDOKU, "1234/3421/2113/4332", "repeats a digit"),
  # a Latin square whose boxes repeat
  ({"puzzle": "..../" * 3 + "...."}, "1234/2341/3412/4123", "repeats a digit"),
  # an empty square has many solutions, and each is right
  ({"puzzle": "..../" * 3 + "...."}, "1234/3412/2143/4321", "correct"),
  (SUDOKU, "1234/3421/2143", "unparseable"),
  (SUDOKU, "1234/3421/2143/431", "unparseable"),
  (SUDOKU, "1234/3421/2143/4315", "unparseable"),
  (SUDOKU, "1234 3421 2143 4312", "unparseable"),
  (SUDOKU, "1234/3421/2143/4312\n", "unparseable"),
  (SUDOKU, "1234/3421/2143/4312/", "unparseable"),
  (SUDOKU, "1.3./..2./2.../...2", "unparseable"),
  (SUDOKU, "1234/3421/2143/4312" + " " * 120, "too long"),
]  # fmt: skip


def check(prompt: str, text: str) -> bool:
  return obeys_grid(prompt.rstrip(":"), text, with_boxes=True)
