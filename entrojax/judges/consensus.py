"""Consensus: a step counts as right if every judge calls it right."""

from collections.abc import Sequence


def consensus(verdicts: Sequence[Sequence[bool]]) -> list[bool]:
  """Compute the logical AND over judges for each step of a response.

  BCPG-NSA, arXiv 2505.14403, sec. 3.2. This marks few steps, but these are
  almost surely right.

  Args:
    verdicts: [judges][steps], True = the judge calls the step right. There must
      be at least one judge.

  Returns:
    bool per step, True = right.

  Raises:
    ValueError: there is no judge, or their numbers of steps differ.
  """
  if not verdicts:
    raise ValueError("there is no judge: consensus needs at least one")
  counts = {len(steps) for steps in verdicts}
  if len(counts) > 1:
    raise ValueError(f"judges disagree on the number of steps: {counts}")
  return [all(votes) for votes in zip(*verdicts, strict=True)]
