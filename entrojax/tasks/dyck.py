"""Dyck language: close the brackets that are still open.

Prompt `([]{(:`; the right response is the shortest ending, `)})`, and nothing
else.
"""

import numpy as np

from entrojax.tasks.sampling import sampled
from entrojax.types import Family, Problem, Verdict

BRACKETS = ("()", "[]", "{}", "<>")
CHARACTERS = "()[]{}<>: "
MAX_RESPONSE_LENGTH = 64  # characters

LEVELS = (
  {"kinds": 2, "length": 8, "most_open": 4},
  {"kinds": 3, "length": 16, "most_open": 6},
  {"kinds": 4, "length": 24, "most_open": 10},
  {"kinds": 4, "length": 48, "most_open": 16},
)


def generate(
  rng: np.random.Generator, *, kinds: int, length: int, most_open: int
) -> Problem:
  """Draws the beginning of a word.

  Args:
    rng: consumed.
    kinds: of brackets, at most 4.
    length: brackets of the prompt.
    most_open: open brackets at any place, and so of the right response.
  """
  prompt, stack = "", ""
  for position in range(length):
    must_open = not stack or (position == length - 1 and len(stack) == 1)
    if len(stack) < most_open and (must_open or rng.random() < 0.55):
      pair = BRACKETS[rng.integers(kinds)]
      prompt += pair[0]
      stack += pair[1]
    else:
      prompt += stack[-1]
      stack = stack[:-1]
  return Problem(f"{prompt}:", {"solution": stack[::-1]})


def verify(problem: Problem, response: str) -> Verdict:
  """Judges a response; never raises on a str.

  Reasons: 'too long', 'unparseable', 'wrong', 'correct'. Spaces are allowed at
  both ends.
  """
  if len(response) > MAX_RESPONSE_LENGTH:
    return Verdict(0.0, "too long", None)
  text = response.strip(" ")
  if not text or not set(text) <= set("".join(BRACKETS)):
    return Verdict(0.0, "unparseable", None)
  if text != problem.answer["solution"]:
    return Verdict(0.0, "wrong", text)
  return Verdict(1.0, "correct", text)


FAMILY = Family("dyck", LEVELS, sampled(generate), verify, CHARACTERS)
