"""Check who tells the truth."""

from tests.helpers.truth_values import has_values, rewrite

BY_HAND = [
  ({"solution": "TFT"}, "TFT", "correct"),
  ({"solution": "TFT"}, "TFF", "wrong"),
  ({"solution": "TFT"}, "TF", "unparseable"),
  ({"solution": "TFT"}, "tft", "unparseable"),
]  # fmt: skip


def check(prompt: str, text: str) -> bool:
  statements = prompt.rstrip(":").split(";")
  return has_values(text, len(statements)) and all(
    rewrite(statement[2:], text) == kind
    for statement, kind in zip(statements, text, strict=True)
  )
