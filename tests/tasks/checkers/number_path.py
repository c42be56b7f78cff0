"""Check paths of numbers."""

import re

PATH = {"puzzle": "1 . ./. 5 ./7 . ."}
BY_HAND = [
  (PATH, "1 2 3/6 5 4/7 8 9", "correct"),
  (PATH, "1 2 3/4 5 6/7 8 9", "broken path"),
  (PATH, "1 2 3/6 5 4/7 8 8", "wrong numbers"),
  (PATH, "1 2 3/4 6 5/7 8 9", "changed a given"),
  (PATH, "1 2 3/6 5 4/7 8 10", "unparseable"),
  (PATH, "1 2 3/6 5 4/7 8  9", "unparseable"),
  (PATH, "1 2 3/6 5 4/7 8 09", "unparseable"),
]  # fmt: skip


def check(prompt: str, text: str) -> bool:
  puzzle = prompt.rstrip(":").replace(".", "[1-9][0-9]?")
  if not re.fullmatch(puzzle, text):
    return False
  place = {
    int(cell): (i, j)
    for i, row in enumerate(text.split("/"))
    for j, cell in enumerate(row.split(" "))
  }
  numbers = range(1, text.count("/") * (text.count("/") + 2) + 2)
  return set(place) == set(numbers) and all(
    sum(abs(a - b) for a, b in zip(place[n], place[n + 1], strict=True)) == 1
    for n in numbers[:-1]
  )
