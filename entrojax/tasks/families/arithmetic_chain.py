"""Arithmetic chains: evaluate from left to right and write every value.

Prompt `3+4*2-5:`, in which no operator takes precedence over another. The right
response is the value after each operation, `7;14;9`. Spaces around a value are
ignored, and anything else makes the response wrong.

The steps of a response are the texts between its semicolons. `judge_steps`
decides exactly which of them are right: those before the first wrong one.
`judge_pieces` is the step oracle of this family. It takes a response that was
cut anywhere, and calls a piece right if it has no part of a wrong step
(../step_pieces.py).
"""

from collections.abc import Sequence
import re

import numpy as np

from entrojax.tasks.sampling import problem_source
from entrojax.tasks.step_pieces import judge_by_steps
from entrojax.types import Family, Problem, Summary, Verdict

CHARACTERS = "0123456789+-*;: "
MAX_RESPONSE_LENGTH = 128  # characters
_RESPONSE = re.compile(r"-?[0-9]{1,6}(?:;-?[0-9]{1,6})*")

LEVELS = (
  {"operations": 2, "largest": 9, "bound": 99},
  {"operations": 3, "largest": 9, "bound": 99},
  {"operations": 5, "largest": 9, "bound": 99},
  {"operations": 6, "largest": 19, "bound": 999},
  {"operations": 10, "largest": 19, "bound": 999},
)


def generate(
  rng: np.random.Generator, *, operations: int, largest: int, bound: int
) -> Problem:
  """Draw a chain of operations.

  Args:
    rng: the source of randomness; it is advanced.
    operations: the number of operations, and so of steps in the right response.
    largest: operands lie between 1 and this, inclusive.
    bound: no step exceeds this in absolute value; from `largest` to 999999.
  """
  value = int(rng.integers(1, largest + 1))
  chain = str(value)
  steps: list[str] = []
  while len(steps) < operations:
    operator, operand = (
      "+-*"[rng.integers(3)],
      int(rng.integers(1, largest + 1)),
    )
    result = {
      "+": value + operand,
      "-": value - operand,
      "*": value * operand,
    }[operator]
    if abs(result) <= bound:
      value = result
      chain += f"{operator}{operand}"
      steps.append(str(value))
  return Problem(f"{chain}:", {"steps": steps, "solution": ";".join(steps)})


def judge_steps(problem: Problem, response: str) -> list[bool]:
  """Decide for each step of a response whether it is right.

  A step is right if it follows from the value written before it and if every
  earlier step is right. After a wrong step no step is right, even one that
  follows from the wrong value or returns to the right one. A step beyond the
  end of the chain is wrong, and so is a step that is not an integer in its
  usual form. Spaces around a step are ignored. No str makes this raise.

  Deviation: BCPG-NSA (arXiv 2505.14403) lets a judge decide. Here a right step
  means a right prefix, which is exact and which a learner may keep.

  Returns:
    bool per step of response.split(";"), True = right.
  """
  steps = problem.answer["steps"]
  right = [False] * (response.count(";") + 1)
  texts = response.split(";", len(steps))[: len(steps)]
  for i, (text, step) in enumerate(zip(texts, steps, strict=False)):
    if text.strip(" ") != step:
      break
    right[i] = True
  return right


def judge_pieces(problem: Problem, pieces: Sequence[str]) -> list[bool]:
  """Decide for each piece of a response whether it is free of wrong steps."""
  return judge_by_steps(pieces, judge_steps(problem, "".join(pieces)))


def verify(problem: Problem, response: str) -> Verdict:
  """Verify a response: it is right if all steps are present and right.

  Spaces around steps are ignored. No str makes this raise. The reason is the
  first of these that holds: 'too long', 'unparseable', 'wrong step',
  'too few steps', 'too many steps', 'correct'.
  """
  if len(response) > MAX_RESPONSE_LENGTH:
    return Verdict(0.0, "too long", None)
  text = ";".join(step.strip(" ") for step in response.split(";"))
  if not _RESPONSE.fullmatch(text):
    return Verdict(0.0, "unparseable", None)
  expected = problem.answer["steps"]
  count = len(text.split(";"))
  if not all(judge_steps(problem, text)[: len(expected)]):
    return Verdict(0.0, "wrong step", text)
  if count < len(expected):
    return Verdict(0.0, "too few steps", text)
  if count > len(expected):
    return Verdict(0.0, "too many steps", text)
  return Verdict(1.0, "correct", text)


FAMILY = Family(
  "arithmetic_chain",
  LEVELS,
  problem_source(generate),
  verify,
  CHARACTERS,
  judge_steps=judge_pieces,
  summary=Summary(
    "evaluate from left to right, writing every value",
    "3+4*2-5:",
    "7;14;9",
    "2 to 10 operations, operands up to 9 or 19",
  ),
)
