"""Formulas of propositional logic over people or variables A, B, C, ... to H.

A formula is the index of a variable, or a tuple (operator, formula, ...). The
operators are '~' not, '&' and, '|' or, '>' implies, '=' if and only if. This
module draws formulas, computes their truth tables, and writes them as prompts
show them. It never parses text that a model wrote.
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
  """Compute the set of assignments that make a formula true.

  Args:
    formula: over variables 0 to num_variables - 1.
    num_variables: the number of variables.

  Returns:
    The set as an integer of 2**num_variables bits. Bit a is 1 if the formula is
    true under assignment a, in which variable i is true if bit i of a is 1.
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
  """Write every assignment in a set (see truth_table), as `TFT`; sorted."""
  return sorted(
    "".join("FT"[a >> i & 1] for i in range(num_variables))
    for a in range(1 << num_variables)
    if table >> a & 1
  )


def write(formula: Formula) -> str:
  """Write a formula with parentheses around all but the outermost operation."""
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
  """Draw a formula in which no variable occurs twice.

  Args:
    rng: the source of randomness; it is advanced.
    num_variables: the number of variables to choose from, at least 2**depth.
    depth: the most nested operations, negations not counted; a part may have
      fewer.
  """
  return _grow(rng, rng.permutation(num_variables).tolist(), depth)


def _grow(rng: np.random.Generator, pool: list[int], depth: int) -> Formula:
  """Draw a formula; its variables are removed from the pool."""
  if depth == 0 or rng.random() < 0.25:
    variable = pool.pop()
    return variable if rng.random() < 0.5 else ("~", variable)
  operator = "&|>="[rng.integers(4)]
  return operator, _grow(rng, pool, depth - 1), _grow(rng, pool, depth - 1)
