"""Knights and Knaves: who always tells the truth, and who always lies?

Prompt `A:~B;B:A=C;C:A|~B:`: after each name what that person says, where A
means "A is a knight" and ~ & | > = are not, and, or, implies, if and only if.
The right response names each person in order, T for a knight and F for a
knave, `TFT`, and nothing else. There is exactly one solution.
"""

from collections.abc import Sequence

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
  everybody = formulas.assignments(people)
  kinds = everybody[rng.integers(len(everybody))]
  while True:
    statements = [_statement(rng, kinds, i, depth) for i in range(people)]
    others = (k for k in everybody if k != kinds)
    if not any(_is_consistent(statements, k) for k in others):
      break
  told = ";".join(
    f"{name}:{formulas.write(statement)}"
    for name, statement in zip(formulas.NAMES, statements, strict=False)
  )
  return Problem(f"{told}:", {"solution": formulas.letters(kinds)})


def _statement(
  rng: np.random.Generator, kinds: Sequence[bool], speaker: int, depth: int
) -> formulas.Formula:
  """Draws what a speaker can say: the truth if a knight, else a lie."""
  while True:
    formula = formulas.random_formula(rng, len(kinds), depth)
    if formulas.holds(formula, kinds) == kinds[speaker]:
      return formula


def _is_consistent(
  statements: Sequence[formulas.Formula], kinds: Sequence[bool]
) -> bool:
  """Says whether knights alone would tell the truth."""
  return all(
    formulas.holds(statement, kinds) == kind
    for statement, kind in zip(statements, kinds, strict=True)
  )


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
