"""Check truth values of formulas."""

import re

from tests.helpers.truth_values import has_values, rewrite

BY_HAND = [
  ({"models": ["TF", "FT"]}, "FT", "correct"),
  ({"models": ["TF", "FT"]}, "FF", "breaks a formula"),
  ({"models": ["TF", "FT"]}, "FTF", "unparseable"),
]  # fmt: skip


def check(prompt: str, text: str) -> bool:
  names = sorted(set(re.findall("[A-H]", prompt)))
  return has_values(text, len(names)) and all(
    rewrite(formula, text) == "T" for formula in prompt.rstrip(":").split(";")
  )
