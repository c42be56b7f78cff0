"""Propositional logic: find truth values that make every formula true.

In the prompt `A|~B;C>(A&D);B=~C:` the signs ~ & | > = stand for not, and, or,
implies, if and only if. A right response gives each variable a value, in order:
`TFTT`. Spaces at its ends are ignored, and anything else makes it wrong. Every
assignment that makes all formulas true is right. Such an assignment is called a
model of the formulas.
"""

import numpy as np

from entrojax.tasks import formulas
from entrojax.tasks.sampling import problem_source
from entrojax.types import Family, Problem, Summary, Verdict

CHARACTERS = formulas.NAMES + "TF~&|>=():; "
MAX_RESPONSE_LENGTH = 64  # characters

LEVELS = (
  {"variables": 3, "depth": 1, "most_models": 2},
  {"variables": 4, "depth": 1, "most_models": 2},
  {"variables": 5, "depth": 2, "most_models": 2},
  {"variables": 6, "depth": 2, "most_models": 2},
  {"variables": 7, "depth": 2, "most_models": 2},
)


def generate(
  rng: np.random.Generator, *, variables: int, depth: int, most_models: int
) -> Problem:
  """Draw formulas that each rule out some models, until few models remain.

  Args:
    rng: the source of randomness; it is advanced.
    variables: the number of variables A, B, ..., 2 to 8; each occurs in some
      formula.
    depth: the most nested operations in a formula.
    most_models: there are at most this many right responses, and at least 1.
  """
  table = (1 << (1 << variables)) - 1  # without a formula all are models
  texts: list[str] = []
  while table.bit_count() > most_models or not _name_all(texts, variables):
    formula = formulas.random_formula(rng, variables, depth)
    remaining = table & formulas.truth_table(formula, variables)
    few = table.bit_count() <= most_models  # only variables are missing
    if remaining and (few or remaining != table):
      table = remaining
      texts.append(formulas.write(formula))
  models = formulas.models(table, variables)
  answer = {"models": models, "solution": models[rng.integers(len(models))]}
  return Problem(f"{';'.join(texts)}:", answer)


def _name_all(texts: list[str], variables: int) -> bool:
  """Return whether every variable occurs in some formula."""
  text = "".join(texts)
  return all(name in text for name in formulas.NAMES[:variables])


def verify(problem: Problem, response: str) -> Verdict:
  """Verify a response; no str makes this raise.

  Spaces at both ends are ignored. The reason is 'too long', 'unparseable',
  'breaks a formula' or 'correct'.
  """
  if len(response) > MAX_RESPONSE_LENGTH:
    return Verdict(0.0, "too long", None)
  text = response.strip(" ")
  models = problem.answer["models"]
  if len(text) != len(models[0]) or not set(text) <= {"T", "F"}:
    return Verdict(0.0, "unparseable", None)
  if text not in models:
    return Verdict(0.0, "breaks a formula", text)
  return Verdict(1.0, "correct", text)


FAMILY = Family(
  "propositional_logic",
  LEVELS,
  problem_source(generate),
  verify,
  CHARACTERS,
  solutions=lambda problem: problem.answer["models"],
  summary=Summary(
    "find truth values",
    "C;~A&C;B=A:",
    "FFT",
    "3 to 7 variables, nested formulas",
    "every model of the formulas",
  ),
)
