"""Math path: put digits for question marks so that an equation holds.

Prompt `?4+3*?=29:`; a right response is the whole equation, `14+3*5=29`, and
nothing else; any digits that make it true will do, but no number of several
digits may begin with 0. Products go before sums.
"""

import itertools
import math
import re

import numpy as np

from entrojax.tasks.sampling import sampled
from entrojax.types import Family, Problem, Verdict

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
  """Draws an equation.

  Args:
    rng: consumed.
    numbers: on its left side.
    largest: they lie between 1 and this, at most 99.
    hidden: digits, anywhere in the equation; fewer if it has fewer.
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
  """Evaluates sums of products, the second part of the shape already known."""
  total = 0
  for sign, product in re.findall(r"([+-]?)([0-9*]+)", expression):
    value = math.prod(int(number) for number in product.split("*"))
    total += -value if sign == "-" else value
  return total


def verify(problem: Problem, response: str) -> Verdict:
  """Judges a response; never raises on a str.

  Reasons: 'too long', 'unparseable' (another shape than the prompt's, or a
  leading 0), 'changed a given', 'not equal', 'correct'; the first that holds.
  Spaces are allowed at both ends.
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
  """Returns text with '0' for each digit."""
  return re.sub("[0-9]", "0", text)


def solutions(problem: Problem) -> list[str]:
  """Returns all right responses, sorted; beyond 2 hidden digits one alone."""
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
  sampled(generate),
  verify,
  CHARACTERS,
  solutions=solutions,
)
