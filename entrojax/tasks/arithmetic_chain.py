"""Arithmetic chains: evaluate from the left, writing every value on the way.

Prompt `3+4*2-5:`, where operators have no precedence; the right response is the
value after each operation, `7;14;9`, and nothing else.

A step of a response is what stands between its semicolons. `judge_steps` says
which steps are right, and `judge_pieces` serves it as an exact oracle of steps
in wrong responses, however they were cut.
"""

from collections.abc import Sequence
import itertools
import re

import numpy as np

from entrojax.tasks.sampling import sampled
from entrojax.types import Family, Problem, Verdict

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
  """Draws a chain.

  Args:
    rng: consumed.
    operations: steps of the right response.
    largest: operands lie between 1 and this.
    bound: of the absolute value of each step, at least largest; <= 999999.
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
  """Says of each step of a response whether it is right; never raises on a str.

  A step is right if it follows from the value written before it and every step
  before it is right: after a wrong step none is right, even one that follows
  from the wrong value or that falls back on the right one. A step beyond the
  end of the chain is wrong, and so is one that is not an integer in its usual
  form; spaces around it do not count.

  Deviation: BCPG-NSA (arXiv 2505.14403) lets a judge decide; here a right step
  means a right prefix, which is exact and what a learner may keep.

  Returns:
    One entry per step of response.split(";").
  """
  steps = problem.answer["steps"]
  verdicts = [False] * (response.count(";") + 1)
  written = response.split(";", len(steps))[: len(steps)]
  for i, (step, right) in enumerate(zip(written, steps, strict=False)):
    if step.strip(" ") != right:
      break
    verdicts[i] = True
  return verdicts


def judge_pieces(problem: Problem, pieces: Sequence[str]) -> list[bool]:
  """Says of each piece of a response whether it has no part of a wrong step.

  A semicolon belongs to the step before it. An empty piece is wrong.
  """
  response = "".join(pieces)
  steps = response.split(";")
  right = judge_steps(problem, response)
  ends = list(itertools.accumulate(len(step) + 1 for step in steps))
  wrong_from = next(
    (
      end - len(step) - 1
      for end, step, ok in zip(ends, steps, right, strict=True)
      if not ok
    ),
    len(response),
  )
  ends_of_pieces = itertools.accumulate(map(len, pieces))
  return [
    bool(piece) and end <= wrong_from
    for piece, end in zip(pieces, ends_of_pieces, strict=True)
  ]


def verify(problem: Problem, response: str) -> Verdict:
  """Judges a response: right if every step is there and right.

  Never raises on a str. Reasons: 'too long', 'unparseable', 'wrong step',
  'too few steps', 'too many steps', 'correct'; the first that holds. Spaces are
  allowed around steps.
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
  sampled(generate),
  verify,
  CHARACTERS,
  judge_steps=judge_pieces,
)
