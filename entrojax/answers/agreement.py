"""Measure how far the answers to a prompt agree with each other.

    confidence   the share of the n samples that give the most frequent answer
    entropy      -sum p log p over the different answers, in nats

Answers that do not parse have no vote: they lower the confidence, and they do
not count in the entropy. Of tied answers, the one that was sampled first is the
most frequent one, as for maj@n.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Agreement(NamedTuple):
  """How far the n answers to each of Q prompts agree."""

  confidence: np.ndarray  # f64[Q], in [0, 1]
  majority_right: np.ndarray  # bool[Q], whether the most frequent one is right
  entropy: np.ndarray  # f64[Q], nats, in [0, log n]


def agreement(
  answers: Sequence[Sequence[str | None]], correct: np.ndarray
) -> Agreement:
  """Count the answers to each prompt.

  Args:
    answers: [Q][n] normalised answers; None: unparseable.
    correct: bool[Q, n], which samples are right.
  """
  rows = [_of_prompt(*row) for row in zip(answers, correct, strict=True)]
  columns = [np.array(column) for column in zip(*rows, strict=True)]
  return Agreement(*columns)


def _of_prompt(
  answers: Sequence[str | None], correct: np.ndarray
) -> tuple[float, bool, float]:
  votes = Counter(answer for answer in answers if answer is not None)
  if not votes:
    return 0.0, False, 0.0
  first, count = votes.most_common(1)[0]
  shares = np.array([*votes.values()]) / votes.total()
  entropy = float(-np.sum(shares * np.log(shares)))
  return (
    count / len(answers),
    bool(correct[list(answers).index(first)]),
    max(entropy, 0.0),
  )
