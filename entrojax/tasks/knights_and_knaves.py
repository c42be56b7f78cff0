"""Knights and Knaves: who always tells the truth, and who always lies?

Prompt `A:~B;B:A=C;C:A|~B:`: after each name what that person says, where A
means "A is a knight" and ~ & | > = are not, and, or, implies, if and only if.
The right response names each person in order, T for a knight and F for a
knave, `TFT`, and nothing else. There is exactly one solution.
"""

import numpy as np

from entrojax.tasks import formulas
from entrojax.tasks.sampling import sampled
from entrojax.types import Family, Problem, Verdict

CHARACTERS = formulas.NAMES + "TF~&|>=():; "
MAX_RESPONSE_LENGTH = 64  # characters

LEVELS = (
  {"people": 3, "depth": 1},
  {"people": 4, "depth": 1},
  {"people": 5, "depth": 1},
  {"people": 5, "depth": 2},
  {"people": 7, "depth": 2},
)


def generate(rng: np.random.Generator, *, people: int, depth: int) -> Problem:
  """Draws a puzzle.

  Args:
    rng: consumed.
    people: who speak, 2 to 8.
    depth: nested operations of a statement.
  """
  while True:
    statements = [
      formulas.random_formula(rng, people, depth) for _ in range(people)
    ]
    # knights, and they alone, tell the truth
    kinds = (1 << (1 << people)) - 1
    for speaker, statement in enumerate(statements):
      agrees = ("=", speaker, statement)
      kinds &= formulas.truth_table(agrees, people)
    if kinds.bit_count() == 1:
      break
  [solution] = formulas.models(kinds, people)
  told = ";".join(
    f"{name}:{formulas.write(statement)}"
    for name, statement in zip(formulas.NAMES, statements, strict=False)
  )
  return Problem(f"{told}:", {"solution": solution})


def verify(problem: Problem, response: str) -> Verdict:
  """Judges a response; never raises on a str.

  Reasons: 'too long', 'unparseable', 'wrong', 'correct'. Spaces are allowed at
  both ends.
  """
  if len(response) > MAX_RESPONSE_LENGTH:
    return Verdict(0.0, "too long", None)
  text = response.strip(" ")
  solution = problem.answer["solution"]
  if len(text) != len(solution) or not set(text) <= {"T", "F"}:
    return Verdict(0.0, "unparseable", None)
  if text != solution:
    return Verdict(0.0, "wrong", text)
  return Verdict(1.0, "correct", text)


FAMILY = Family(
  "knights_and_knaves", LEVELS, sampled(generate), verify, CHARACTERS
)
