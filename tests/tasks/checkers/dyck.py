"""Check closing brackets."""

import re

BY_HAND = [
  ({"solution": ")})"}, ")})", "correct"),
  ({"solution": ")})"}, "))}", "wrong"),
  ({"solution": ")})"}, "())})", "wrong"),
  ({"solution": ")})"}, ")}) x", "unparseable"),
  ({"solution": ")})"}, "", "unparseable"),
]  # fmt: skip


def check(prompt: str, text: str) -> bool:
  if not text or not set(text) <= set(")]}>"):
    return False
  word = prompt.rstrip(":") + text
  while word != (shorter := re.sub(r"\(\)|\[\]|\{\}|<>", "", word)):
    word = shorter
  return not word
