"""Formulas of propositional logic over people or variables A, B, C, ...

A formula is a variable's index or (operator, part, ...): '~' not, '&' and,
'|' or, '>' implies, '=' if and only if. They are drawn and evaluated here and
written into prompts; nothing that a model writes is ever one.
"""

from collections.abc import Callable
import functools

import numpy as np

NAMES = "ABCDEFGH"

Formula = int | tuple  # a variable | (operator, Formula, ...)

OPERATORS: dict[str, Callable[[int, int, int], int]] = {
  "&": lambda x, y, true: x & y,
  "|": lambda x, y, true: x | y,
  ">": lambda x, y, true: (true ^ x) | y,
  "=": lambda x, y, true: true ^ x ^ y,
}


def truth_table(formula: Formula, num_variables: int) -> int:
  """Returns the assignments that make a formula true, as a set of bits.

  Bit a stands for the assignment in which variable i is true where bit i of a
  is 1; there are 2**num_variables.
  """
  true = (1 << (1 << num_variables)) - 1
  if isinstance(formula, int):
    return _variable_table(formula, num_variables)
  operator, *parts = formula
  if operator == "~":
    return true ^ truth_table(parts[0], num_variables)
  x, y = (truth_table(part, num_variables) for part in parts)
  return OPERATORS[operator](x, y, true)


@functools.lru_cache
def _variable_table(variable: int, num_variables: int) -> int:
  return sum(1 << a for a in range(1 << num_variables) if a >> variable & 1)


def models(table: int, num_variables: int) -> list[str]:
  """Writes every assignment of a set of bits, as `TFT`, sorted."""
  return sorted(
    "".join("FT"[a >> i & 1] for i in range(num_variables))
    for a in range(1 << num_variables)
    if table >> a & 1
  )


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
  """Draws a formula that names no variable twice.

  Args:
    rng: consumed.
    num_variables: at least 2**depth.
    depth: of nested operations, negation aside; a part may have fewer.
  """
  return _grow(rng, rng.permutation(num_variables).tolist(), depth)


def _grow(rng: np.random.Generator, pool: list[int], depth: int) -> Formula:
  """Draws a formula whose variables it takes from the pool."""
  if depth == 0 or rng.random() < 0.25:
    variable = pool.pop()
    return variable if rng.random() < 0.5 else ("~", variable)
  operator = "&|>="[rng.integers(4)]
  return operator, _grow(rng, pool, depth - 1), _grow(rng, pool, depth - 1)
