"""Word sorting: put words into alphabetical order.

For the prompt `tok,abe,tof:` the right response is `abe,tof,tok`; spaces around
it are ignored. Words consist of random letters, are distinct, and may share
their first letters.
"""

import re

import numpy as np

from entrojax.tasks.sampling import problem_source
from entrojax.types import Family, Problem, Summary, Verdict

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
  """Draw words in random order.

  Args:
    rng: the source of randomness; it is advanced.
    words: the number of words.
    length: the number of letters in a word.
    shared: about half of the words begin with the same letters; this is the
      number of those letters.
  """
  stem = _letters(rng, shared)
  texts: list[str] = []
  while len(texts) < words:
    start = stem if rng.random() < 0.5 else ""
    word = start + _letters(rng, length - len(start))
    if word not in texts:
      texts.append(word)
  solution = ",".join(sorted(texts))
  return Problem(f"{','.join(texts)}:", {"solution": solution})


def _letters(rng: np.random.Generator, count: int) -> str:
  """Draw a text of random letters."""
  return "".join(LETTERS[i] for i in rng.integers(len(LETTERS), size=count))


def verify(problem: Problem, response: str) -> Verdict:
  """Verify a response; no str makes this raise.

  Spaces at both ends are ignored. The reason is the first of these that holds:
  'too long', 'unparseable', 'wrong words', 'wrong order', 'correct'.
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


FAMILY = Family(
  "word_sorting",
  LEVELS,
  problem_source(generate),
  verify,
  CHARACTERS,
  summary=Summary(
    "sort words",
    "sop,kms,api:",
    "api,kms,sop",
    "3 to 12 words, shared first letters",
  ),
)
