"""Turn verdicts on the steps of a response into verdicts on pieces of it.

A step oracle judges the pieces into which a segmenter cut a response, and they
need not begin or end where the response's own steps do.
"""

from collections.abc import Sequence
import itertools


def judge_by_steps(pieces: Sequence[str], right: Sequence[bool]) -> list[bool]:
  """Decide for each piece of a response whether it is free of wrong steps.

  A piece is right if it contains no part of a wrong step. A semicolon belongs
  to the step before it. An empty piece is wrong.

  Args:
    pieces: the response, cut anywhere; joined they are the response.
    right: for each step of response.split(";"), whether it is right.

  Returns:
    bool per piece, True = right.
  """
  steps = "".join(pieces).split(";")
  wrong = itertools.chain.from_iterable(
    itertools.repeat(not ok, len(step) + 1)
    for step, ok in zip(steps, right, strict=True)
  )
  # the number of characters of wrong steps before each character
  before = [0, *itertools.accumulate(wrong)]
  ends = list(itertools.accumulate(map(len, pieces)))
  return [
    start < end and before[start] == before[end]
    for start, end in zip([0, *ends], ends, strict=False)
  ]
