"""Formulas of propositional logic over people or variables A, B, C, ...

A formula is a variable's index or (operator, part, ...): '~' not, '&' and,
'|' or, '>' implies, '=' if and only if. They are drawn and evaluated here and
written into prompts; nothing that a model writes is ever one.
"""

from collections.abc import Sequence
import itertools

import numpy as np

NAMES = "ABCDEFGH"

Formula = int | tuple  # a variable | (operator, Formula, ...)

OPERATORS = {
  "&": lambda x, y: x and y,
  "|": lambda x, y: x or y,
  ">": lambda x, y: not x or y,
  "=": lambda x, y: x == y,
}


def holds(formula: Formula, values: Sequence[bool]) -> bool:
  """Evaluates a formula; values[i] is the truth of variable i."""
  if isinstance(formula, int):
    return values[formula]
  operator, *parts = formula
  if operator == "~":
    return not holds(parts[0], values)
  x, y = (holds(part, values) for part in parts)
  return OPERATORS[operator](x, y)


def write(formula: Formula) -> str:
  """Writes a formula; parentheses around every operation but the outermost."""
  if isinstance(formula, int):
    return NAMES[formula]
  operator, *parts = formula
  if operator == "~":
    return f"~{_part(parts[0])}"
  return f"{_part(parts[0])}{operator}{_part(parts[1])}"


def _part(formula: Formula) -> str:
  simple = isinstance(formula, int) or formula[0] == "~"
  return write(formula) if simple else f"({write(formula)})"


def random_formula(
  rng: np.random.Generator, num_variables: int, depth: int
) -> Formula:
  """Draws a formula of at most `depth` nested operations on distinct parts."""
  if depth == 0 or rng.random() < 0.25:
    variable = int(rng.integers(num_variables))
    return variable if rng.random() < 0.5 else ("~", variable)
  operator = "&|>="[rng.integers(4)]
  left = random_formula(rng, num_variables, depth - 1)
  right = left
  while _variables(left) & _variables(right):
    right = random_formula(rng, num_variables, depth - 1)
    if len(_variables(left)) == num_variables:
      left = random_formula(rng, num_variables, depth - 1)
  return operator, left, right


def _variables(formula: Formula) -> set[int]:
  if isinstance(formula, int):
    return {formula}
  return set().union(*(_variables(part) for part in formula[1:]))


def assignments(num_variables: int) -> list[tuple[bool, ...]]:
  """Returns every assignment of truth values."""
  return list(itertools.product((True, False), repeat=num_variables))


def letters(values: Sequence[bool]) -> str:
  """Writes truth values, `TFT`."""
  return "".join("T" if value else "F" for value in values)
