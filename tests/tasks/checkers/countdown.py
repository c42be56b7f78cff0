"""Check expressions that use all numbers."""

import re

from tests.helpers.exact_arithmetic import evaluate

HAND = {"numbers": [3, 5, 7, 9], "target": 24}
BY_HAND = [
  (HAND, "(3+9)*(7-5)", "correct"),
  (HAND, "3+5+7+9", "correct"),
  (HAND, "3*5+9", "wrong numbers"),
  (HAND, "3*5+9+7", "wrong value"),
]


def check(prompt: str, text: str) -> bool:
  numbers, target = prompt.rstrip(":").split("=")
  if not re.fullmatch(r"[0-9+\-*/() ]*", text) or re.search(r"\b0[0-9]", text):
    return False
  used = sorted(int(n) for n in re.findall("[0-9]{1,9}", text))
  given = sorted(int(n) for n in numbers.split(" "))
  return used == given and evaluate(text) == int(target)
