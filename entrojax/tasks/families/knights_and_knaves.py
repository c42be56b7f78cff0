"""Knights and Knaves: who always tells the truth, and who always lies?

In the prompt `A:~B;B:A=C;C:A|~B:` each name is followed by that person's
statement, in which A means "A is a knight" and ~ & | > = stand for not, and,
or, implies, if and only if. The right response has one letter per person, in
order, T for a knight and F for a knave: `FTF`. Spaces at its ends are ignored,
and anything else makes it wrong. There is exactly one solution.
"""

import numpy as np

from entrojax.tasks import formulas
from entrojax.tasks.sampling import problem_source
from entrojax.types import Family, Problem, Summary, Verdict

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
  """Draw a puzzle with exactly one solution.

  Args:
    rng: the source of randomness; it is advanced.
    people: the number of people, 2 to 8; each makes one statement.
    depth: the most nested operations in a statement.
  """
  while True:
    statements = [
      formulas.random_formula(rng, people, depth) for _ in range(people)
    ]
    # a person is a knight if and only if the statement is true
    kinds = (1 << (1 << people)) - 1
    for speaker, statement in enumerate(statements):
      agrees = ("=", speaker, statement)
      kinds &= formulas.truth_table(agrees, people)
    if kinds.bit_count() == 1:
      break
  [solution] = formulas.models(kinds, people)
  puzzle = ";".join(
    f"{name}:{formulas.write(statement)}"
    for name, statement in zip(formulas.NAMES, statements, strict=False)
  )
  return Problem(f"{puzzle}:", {"solution": solution})


def verify(problem: Problem, response: str) -> Verdict:
  """Verify a response; no str makes this raise.

  Spaces at both ends are ignored. The reason is 'too long', 'unparseable',
  'wrong' or 'correct'.
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
  "knights_and_knaves",
  LEVELS,
  problem_source(generate),
  verify,
  CHARACTERS,
  summary=Summary(
    "who tells the truth, who lies",
    "A:~A>~B;B:~C>~B;C:~A&B:",
    "FTT",
    "3 to 7 people, nested statements",
  ),
)
