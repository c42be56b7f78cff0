"""Consensus: a step is right if every judge says so."""

from collections.abc import Sequence


def consensus(verdicts: Sequence[Sequence[bool]]) -> list[bool]:
  """Returns the logical AND over judges, of each step.

  BCPG-NSA, arXiv 2505.14403, sec. 3.2: few steps, and those surely right.

  Args:
    verdicts: [judges][K], at least one judge.

  Raises:
    ValueError: there is no judge, or they judged different numbers of steps.
  """
  if not verdicts:
    raise ValueError("consensus of no judge")
  counts = {len(of_judge) for of_judge in verdicts}
  if len(counts) > 1:
    raise ValueError(f"judges disagree on the number of steps: {counts}")
  return [all(of_step) for of_step in zip(*verdicts, strict=True)]
