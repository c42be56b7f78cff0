"""Propositional logic: find truth values that make every formula true.

Prompt `A|~B;C>(A&D);B=~C:`, where ~ & | > = are not, and, or, implies, if and
only if. A right response gives a value to each variable in order, `TFTF`, and
nothing else; any model of the formulas will do.
"""

import numpy as np

from entrojax.tasks import formulas
from entrojax.tasks.sampling import sampled
from entrojax.types import Family, Problem, Verdict

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
  """Draws formulas, each one ruling out some models, until few are left.

  Args:
    rng: consumed.
    variables: A, B, ...; 2 to 8, each in some formula.
    depth: nested operations of a formula.
    most_models: right responses, at most; at least 1.
  """
  table = (1 << (1 << variables)) - 1  # no formula yet: all are models
  written: list[str] = []
  while table.bit_count() > most_models or not _all_named(written, variables):
    formula = formulas.random_formula(rng, variables, depth)
    left = table & formulas.truth_table(formula, variables)
    few = table.bit_count() <= most_models  # then only variables are missing
    if left and (few or left != table):
      table = left
      written.append(formulas.write(formula))
  models = formulas.models(table, variables)
  answer = {"models": models, "solution": models[rng.integers(len(models))]}
  return Problem(f"{';'.join(written)}:", answer)


def _all_named(written: list[str], variables: int) -> bool:
  text = "".join(written)
  return all(name in text for name in formulas.NAMES[:variables])


def verify(problem: Problem, response: str) -> Verdict:
  """Judges a response; never raises on a str.

  Reasons: 'too long', 'unparseable', 'breaks a formula', 'correct'. Spaces are
  allowed at both ends.
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
  sampled(generate),
  verify,
  CHARACTERS,
  solutions=lambda problem: problem.answer["models"],
)
