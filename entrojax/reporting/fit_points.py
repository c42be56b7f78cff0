"""Choose the points to which a report fits curves, and fit a line through 0.

A report fits two things to a run. One is the entropy law of reward against
entropy: this file chooses its points, and entropy/law.py fits it. The other is
a straight line through the origin, of the measured entropy change of each
rollout step against the predicted one: this file chooses its points and fits
it.
"""

import math
from typing import NamedTuple

import numpy as np

from entrojax.reporting.run_logs import (
  ENTROPY,
  TRAINING_REWARD,
  RunLog,
  datasets,
  series,
)

MIN_EVALUATIONS = 5  # with fewer, the law is fitted to the training reward


class LawPoints(NamedTuple):
  """The points of a run's entropy law, in the order of the run."""

  entropy: np.ndarray  # [K], nats
  reward: np.ndarray  # [K]
  metric: str  # the reward's name in metrics.jsonl


def law_points(run: RunLog) -> LawPoints:
  """Pair entropies with rewards for the entropy law of a run.

  The reward is pass@1 on the first data set, by name, on which the run was
  evaluated at least MIN_EVALUATIONS times. Each evaluation is paired with the
  training entropy of the same optimizer step, or of the first training step
  if the evaluation came before it. Without such a data set, the reward is the
  mean training reward of each line that has an entropy too.
  """
  for data in datasets([run]):
    metric = f"val/{data}/pass@1"
    steps, reward = _finite_series(run, metric)
    entropy_steps, entropy = _finite_series(run, ENTROPY)
    if steps.size >= MIN_EVALUATIONS and entropy_steps.size:
      before = np.searchsorted(entropy_steps, steps, "right") - 1
      return LawPoints(entropy[np.maximum(before, 0)], reward, metric)
  pairs = [
    [row.get(name, np.nan) for name in (ENTROPY, TRAINING_REWARD)]
    for row in run.rows
  ]
  points = np.array(pairs, np.float64).reshape(-1, 2)
  points = points[np.isfinite(points).all(axis=1)]
  return LawPoints(points[:, 0], points[:, 1], TRAINING_REWARD)


def entropy_changes(run: RunLog) -> tuple[np.ndarray, np.ndarray]:
  """Return the predicted and the measured entropy change of rollout steps.

  Returns:
    predicted [K], nats per unit of natural gradient step: minus the mean
      covariance of a rollout step.
    measured [K], nats: the entropy of the next rollout step minus the entropy
      of this one. A step without a successor is left out.
  """
  names = (ENTROPY, "covariance/predicted_change")
  by_step = {
    row["rollout_step"]: [row.get(name, np.nan) for name in names]
    for row in run.rows
    if ENTROPY in row and "rollout_step" in row
  }
  pairs = [
    (predicted, by_step[step + 1][0] - entropy)
    for step, (entropy, predicted) in by_step.items()
    if step + 1 in by_step
  ]
  points = np.array(pairs, np.float64).reshape(-1, 2)
  points = points[np.isfinite(points).all(axis=1)]
  return points[:, 0], points[:, 1]


def line_through_origin(
  x: np.ndarray, y: np.ndarray
) -> tuple[float, float, float]:
  """Fit y = slope x by least squares.

  Args:
    x: f64[K].
    y: f64[K].

  Returns:
    The slope, its standard error, and the correlation of x and y. A number is
    NaN if there are too few points for it or if nothing varies.
  """
  squares = x @ x
  if x.size < 2 or squares == 0:
    return math.nan, math.nan, math.nan
  slope = x @ y / squares
  rest = y - slope * x
  error = math.sqrt(rest @ rest / (x.size - 1) / squares)
  x, y = x - x.mean(), y - y.mean()
  spread = math.sqrt((x @ x) * (y @ y))
  return float(slope), error, float(x @ y / spread) if spread else math.nan


def _finite_series(run: RunLog, metric: str) -> tuple[np.ndarray, np.ndarray]:
  steps, values = series(run, metric)
  finite = np.isfinite(values)
  return steps[finite], values[finite]
