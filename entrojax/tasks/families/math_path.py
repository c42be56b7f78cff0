"""Math path: replace question marks by digits so that an equation holds.

For the prompt `?4+3*?=29:` a right response is the whole equation, `14+3*5=29`.
Spaces at its ends are ignored, and anything else makes it wrong. All digits
that make it true are right, but a number of several digits must not begin with
0. Products are evaluated before sums and differences.
"""

import itertools
import math
import re

import numpy as np

from entrojax.tasks.sampling import problem_source
from entrojax.types import Family, Problem, Summary, Verdict

CHARACTERS = "0123456789+-*=?: "
MAX_RESPONSE_LENGTH = 64  # characters

LEVELS = (
  {"numbers": 2, "largest": 99, "hidden": 2},
  {"numbers": 3, "largest": 9, "hidden": 2},
  {"numbers": 3, "largest": 99, "hidden": 3},
  {"numbers": 4, "largest": 99, "hidden": 5},
)


def generate(
  rng: np.random.Generator, *, numbers: int, largest: int, hidden: int
) -> Problem:
  """Draw an equation with hidden digits.

  Args:
    rng: the source of randomness; it is advanced.
    numbers: the number of numbers on the left side.
    largest: these lie between 1 and this, which is at most 99.
    hidden: the number of hidden digits, on either side; all digits are hidden
      if the equation has fewer.
  """
  while True:
    left = str(rng.integers(1, largest + 1))
    for _ in range(numbers - 1):
      left += f"{'+-*'[rng.integers(3)]}{rng.integers(1, largest + 1)}"
    if (value := _value(left)) >= 0:
      break
  solution = f"{left}={value}"
  puzzle = list(solution)
  digits = [i for i, c in enumerate(puzzle) if c.isdigit()]
  for i in rng.permutation(len(digits))[:hidden]:
    puzzle[digits[i]] = "?"
  answer = {"puzzle": "".join(puzzle), "solution": solution}
  return Problem(f"{answer['puzzle']}:", answer)


def _value(expression: str) -> int:
  """Evaluate a sum of products of integers, such as 14+3*5."""
  total = 0
  for sign, product in re.findall(r"([+-]?)([0-9*]+)", expression):
    value = math.prod(int(number) for number in product.split("*"))
    total += -value if sign == "-" else value
  return total


def verify(problem: Problem, response: str) -> Verdict:
  """Verify a response; no str makes this raise.

  Spaces at both ends are ignored. The reason is the first of these that holds:
  'too long', 'unparseable' (the shape differs from the prompt's, or a number
  begins with 0), 'changed a given', 'not equal', 'correct'.
  """
  if len(response) > MAX_RESPONSE_LENGTH:
    return Verdict(0.0, "too long", None)
  puzzle = problem.answer["puzzle"]
  text = response.strip(" ")
  if _shape(text) != _shape(puzzle.replace("?", "0")) or re.search(
    r"(?<![0-9])0[0-9]", text
  ):
    return Verdict(0.0, "unparseable", None)
  if any(p not in ("?", c) for p, c in zip(puzzle, text, strict=True)):
    return Verdict(0.0, "changed a given", text)
  left, right = text.split("=")
  if _value(left) != int(right):
    return Verdict(0.0, "not equal", text)
  return Verdict(1.0, "correct", text)


def _shape(text: str) -> str:
  """Replace each digit of a text by '0'."""
  return re.sub("[0-9]", "0", text)


def solutions(problem: Problem) -> list[str]:
  """List right responses.

  Returns:
    All of them, sorted, if at most 2 digits are hidden; otherwise the one that
    the problem was made from.
  """
  puzzle, solution = problem.answer["puzzle"], problem.answer["solution"]
  hidden = puzzle.count("?")
  if hidden > 2:
    return [solution]
  form = puzzle.replace("?", "{}")
  digits = itertools.product("0123456789", repeat=hidden)
  texts = [form.format(*chosen) for chosen in digits]
  return [text for text in texts if verify(problem, text).reward == 1.0]


FAMILY = Family(
  "math_path",
  LEVELS,
  problem_source(generate),
  verify,
  CHARACTERS,
  solutions=solutions,
  summary=Summary(
    "replace question marks by digits",
    "?4+3*?=29:",
    "14+3*5=29",
    "2 to 4 numbers, 2 to 5 hidden digits",
    "every true equation of this shape",
  ),
)
