"""Check equations whose digits were hidden."""

import re

from tests.helpers.exact_arithmetic import evaluate

EQUATION = {"puzzle": "?4+3*?=29"}
BY_HAND = [
  (EQUATION, "14+3*5=29", "correct"),
  (EQUATION, "24+3*5=29", "not equal"),
  (EQUATION, "15+3*5=30", "changed a given"),
  (EQUATION, "?4+3*?=29", "unparseable"),
  (EQUATION, "14+3*5", "unparseable"),
  (EQUATION, "14+3+5=29", "unparseable"),
  ({"puzzle": "?4+?*5=29"}, "04+5*5=29", "unparseable"),
  ({"puzzle": "?-?*4=2"}, "6-1*4=2", "correct"),
  ({"puzzle": "9-?-?=4"}, "9-3-2=4", "correct"),
]  # fmt: skip


def check(prompt: str, text: str) -> bool:
  pattern = re.escape(prompt.rstrip(":")).replace(r"\?", "[0-9]")
  if not re.fullmatch(pattern, text) or re.search(r"\b0[0-9]", text):
    return False
  left, right = text.split("=")
  return evaluate(left) == int(right)
