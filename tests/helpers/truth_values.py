"""Evaluate formulas of logic slowly, by replacing text with text."""

import itertools
import re


def has_values(text: str, count: int) -> bool:
  """Check that a text is `count` truth values, T or F."""
  return re.fullmatch(f"[TF]{{{count}}}", text) is not None


def rewrite(formula: str, values: str) -> str:
  """Evaluate a formula by replacing text with text until T or F is left."""
  # F is both a variable and a value, so values are lower-case until the end
  for name, value in zip("ABCDEFGH", values, strict=False):
    formula = formula.replace(name, value.lower())
  rules = {"~t": "f", "~f": "t", "(t)": "t", "(f)": "f"}
  for x, y in itertools.product("tf", repeat=2):
    both, either = x == y == "t", "t" in (x, y)
    rules[f"{x}&{y}"] = "t" if both else "f"
    rules[f"{x}|{y}"] = "t" if either else "f"
    rules[f"{x}>{y}"] = "f" if (x, y) == ("t", "f") else "t"
    rules[f"{x}={y}"] = "t" if x == y else "f"
  while len(formula) > 1:
    negations = [rule for rule in rules if rule[0] == "~" and rule in formula]
    rule = (negations or [rule for rule in rules if rule in formula])[0]
    formula = formula.replace(rule, rules[rule], 1)
  return formula.upper()
