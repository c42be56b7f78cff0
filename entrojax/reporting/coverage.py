"""Compute which problems a policy solves that its base does not, and how sure.

Everything follows from the number of right answers to each prompt, and from how
far the answers agree. The base is the run's own first evaluation.

A prompt that the base solves in 0 of n samples and the policy in 1 is not
evidence of a gain by itself. If the two did not differ, the c right answers to
a prompt among the n0 of the base and the n1 of the policy would be a random
choice of c of all n0 + n1 samples. So the numbers that chance alone would give
are

    gained: sum over prompts of C(n1, c) / C(n0 + n1, c)
    lost:   sum over prompts of C(n0, c) / C(n0 + n1, c)        with c > 0

Shape letters: Q prompts, n samples of each.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from entrojax.answers.pass_at_k import pass_at_k
from entrojax.reporting.run_logs import RightAnswers, RunLog

FIFTHS = 5  # parts of the prompts by difficulty
BINS = 10  # of the confidence


class Support(NamedTuple):
  """The prompts that some sample solves, at the start and at the end."""

  start: int  # prompts that the base solves
  end: int  # prompts that the policy solves
  gained: int  # the policy solves them and the base does not
  lost: int
  gained_by_chance: float  # expected if policy and base did not differ
  lost_by_chance: float


class Calibration(NamedTuple):
  """How often the most frequent answer is right, by its share of the votes."""

  confidence: np.ndarray  # f64[K], mean in each bin with prompts
  accuracy: np.ndarray  # f64[K], share of prompts whose majority is right
  prompts: np.ndarray  # i64[K]
  error: float  # mean over prompts of |accuracy - confidence| of their bin


def of_data(run: RunLog, data: str) -> list[RightAnswers]:
  """Return the evaluations of a run on a data set, in their order."""
  return [e for e in run.right_answers if e.data == data]


def first_and_last(
  run: RunLog, data: str
) -> tuple[RightAnswers, RightAnswers] | None:
  """Return the first and the last evaluation, if there are two of the same
  prompts.
  """
  evaluations = of_data(run, data)
  if len(evaluations) < 2 or evaluations[0].step == evaluations[-1].step:
    return None
  first, last = evaluations[0], evaluations[-1]
  return (first, last) if first.prompts == last.prompts else None


def support(base: RightAnswers, policy: RightAnswers) -> Support:
  """Count the prompts that policy and base solve, and those by chance."""
  solved, solves = base.right > 0, policy.right > 0
  both = base.right + policy.right
  return Support(
    start=int(solved.sum()),
    end=int(solves.sum()),
    gained=int((solves & ~solved).sum()),
    lost=int((solved & ~solves).sum()),
    gained_by_chance=_by_chance(both, policy.num_samples, base.num_samples),
    lost_by_chance=_by_chance(both, base.num_samples, policy.num_samples),
  )


def _by_chance(right: np.ndarray, own: int, other: int) -> float:
  """Sum C(own, c) / C(own + other, c) over the prompts with c > 0."""
  steps = np.arange(own + other)
  factors = np.maximum(own - steps, 0) / (own + other - steps)
  # entry c: the chance that all c right answers are among the own samples
  chances = np.concatenate([[0.0], np.cumprod(factors)])
  return float(chances[right].sum())


def by_difficulty(
  base: RightAnswers, policy: RightAnswers, k: int
) -> np.ndarray:
  """Compute the policy's pass@k f64[5] by fifth of difficulty for the base.

  The fifths are of equal size, from the prompts that the base solves least
  often to those that it solves most often; equal ones stay in their order.
  """
  values = pass_at_k(policy.num_samples, policy.right, k)
  parts = np.array_split(values[np.argsort(base.right, kind="stable")], FIFTHS)
  return np.array([part.mean() if part.size else np.nan for part in parts])


def calibration(evaluations: Sequence[RightAnswers]) -> Calibration | None:
  """Compare the confidence of maj@n with its accuracy, in ten equal bins.

  Args:
    evaluations: one, or several of different seeds, whose prompts count alike.

  Returns:
    The bins; None if no evaluation has the votes, as in older runs.
  """
  votes = [
    (e.confidence, e.majority_right)
    for e in evaluations
    if e.confidence is not None and e.majority_right is not None
  ]
  if not votes:
    return None
  confidence, right = (np.concatenate(x) for x in zip(*votes, strict=True))
  bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
  counts = np.bincount(bins, minlength=BINS)
  kept = counts > 0
  mean = lambda x: np.bincount(bins, x, BINS)[kept] / counts[kept]
  mean_confidence, accuracy = mean(confidence), mean(right.astype(float))
  gaps = np.abs(accuracy - mean_confidence) * counts[kept]
  error = float(gaps.sum() / counts.sum())
  return Calibration(mean_confidence, accuracy, counts[kept], error)
