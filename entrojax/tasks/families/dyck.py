"""Dyck language: close the brackets that are still open.

For the prompt `([]{(:` the right response is the shortest ending, `)})`. Spaces
at its ends are ignored, and anything else makes it wrong.
"""

import numpy as np

from entrojax.tasks.sampling import problem_source
from entrojax.types import Family, Problem, Summary, Verdict

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
  """Draw the beginning of a balanced word of brackets.

  Args:
    rng: the source of randomness; it is advanced.
    kinds: the number of kinds of brackets, at most 4.
    length: the number of brackets in the prompt.
    most_open: at no place more brackets than this are open, so the right
      response is not longer than this.
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
  """Verify a response; no str makes this raise.

  Spaces at both ends are ignored. The reason is 'too long', 'unparseable',
  'wrong' or 'correct'.
  """
  if len(response) > MAX_RESPONSE_LENGTH:
    return Verdict(0.0, "too long", None)
  text = response.strip(" ")
  if not text or not set(text) <= set("".join(BRACKETS)):
    return Verdict(0.0, "unparseable", None)
  if text != problem.answer["solution"]:
    return Verdict(0.0, "wrong", text)
  return Verdict(1.0, "correct", text)


FAMILY = Family(
  "dyck",
  LEVELS,
  problem_source(generate),
  verify,
  CHARACTERS,
  summary=Summary(
    "close the open brackets",
    "(([[][]]:",
    "))",
    "2 to 4 kinds of brackets, 8 to 48 of them",
  ),
)
