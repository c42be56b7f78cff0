"""Word sorting: put words into alphabetical order.

Prompt `tok,abe,tof:`; the right response is `abe,tof,tok` and nothing else.
Words are random letters, distinct, and may share their first letters.
"""

import re

import numpy as np

from entrojax.tasks.sampling import sampled
from entrojax.types import Family, Problem, Verdict

LETTERS = "abcdefghijklmnopqrstuvwxyz"
CHARACTERS = LETTERS + ",: "
MAX_RESPONSE_LENGTH = 256  # characters

LEVELS = (
  {"words": 3, "length": 3, "shared": 0},
  {"words": 5, "length": 4, "shared": 1},
  {"words": 8, "length": 5, "shared": 2},
  {"words": 12, "length": 6, "shared": 3},
)


def generate(
  rng: np.random.Generator, *, words: int, length: int, shared: int
) -> Problem:
  """Draws words.

  Args:
    rng: consumed.
    words: how many.
    length: letters of a word.
    shared: first letters that half of the words have in common.
  """
  stem = _letters(rng, shared)
  found: list[str] = []
  while len(found) < words:
    begun = stem if rng.random() < 0.5 else ""
    word = begun + _letters(rng, length - len(begun))
    if word not in found:
      found.append(word)
  solution = ",".join(sorted(found))
  return Problem(f"{','.join(found)}:", {"solution": solution})


def _letters(rng: np.random.Generator, count: int) -> str:
  return "".join(LETTERS[i] for i in rng.integers(len(LETTERS), size=count))


def verify(problem: Problem, response: str) -> Verdict:
  """Judges a response; never raises on a str.

  Reasons: 'too long', 'unparseable', 'wrong words', 'wrong order', 'correct';
  the first that holds. Spaces are allowed at both ends.
  """
  if len(response) > MAX_RESPONSE_LENGTH:
    return Verdict(0.0, "too long", None)
  text = response.strip(" ")
  if not re.fullmatch("[a-z,]+", text):
    return Verdict(0.0, "unparseable", None)
  solution = problem.answer["solution"]
  if sorted(text.split(",")) != solution.split(","):
    return Verdict(0.0, "wrong words", text)
  if text != solution:
    return Verdict(0.0, "wrong order", text)
  return Verdict(1.0, "correct", text)


FAMILY = Family("word_sorting", LEVELS, sampled(generate), verify, CHARACTERS)
