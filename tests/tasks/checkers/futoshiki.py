"""Check Latin squares under inequalities."""

from tests.helpers.latin_squares import obeys_grid

FUTOSHIKI = {"puzzle": "1../.../...", "orders": [[[0, 2], [0, 1]]]}  # c1<b1
BY_HAND = [
  (FUTOSHIKI, "132/213/321", "correct"),
  (FUTOSHIKI, "132/321/213", "correct"),
  (FUTOSHIKI, "123/231/312", "breaks an inequality"),
  (FUTOSHIKI, "231/312/123", "changed a given"),
  (FUTOSHIKI, "132/132/321", "repeats a digit"),
  (FUTOSHIKI, "142/213/321", "unparseable"),
]  # fmt: skip


def check(prompt: str, text: str) -> bool:
  puzzle, rules = prompt.rstrip(":").split(";")
  if not obeys_grid(puzzle, text, with_boxes=False):
    return False
  rows = text.split("/")
  value = {
    f"{letter}{number}": int(rows[number - 1]["abcdefghi".index(letter)])
    for letter in "abcdefghi"[: len(rows)]
    for number in range(1, len(rows) + 1)
  }
  pairs = [rule.split("<") for rule in rules.split(",")]
  return all(value[low] < value[high] for low, high in pairs)
