"""Check queens that do not attack each other."""

import itertools
import re

QUEENS = {"puzzle": "1......."}
BY_HAND = [
  (QUEENS, "15863724", "correct"),
  (QUEENS, "16837425", "correct"),
  (QUEENS, "17468253", "correct"),
  (QUEENS, "12345678", "attack"),
  (QUEENS, "15863742", "attack"),
  (QUEENS, "11111111", "attack"),
  (QUEENS, "25713864", "moved a queen"),
  (QUEENS, "1586372", "unparseable"),
  (QUEENS, "15863729", "unparseable"),
]  # fmt: skip


def check(prompt: str, text: str) -> bool:
  puzzle = prompt.rstrip(":")
  if not re.fullmatch(puzzle.replace(".", f"[1-{len(puzzle)}]"), text):
    return False
  queens = list(enumerate(int(c) for c in text))
  return all(
    b != d and abs(a - c) != abs(b - d)
    for (a, b), (c, d) in itertools.combinations(queens, 2)
  )
