"""Choose the points to which a report fits curves, and fit a line through 0.

A report fits two things to a run. One is the entropy law of reward against
entropy: this file chooses its points and names what makes the law inapplicable,
and entropy/law.py fits it. The other is
a straight line through the origin, of the measured entropy change of each
rollout step against the predicted one: this file chooses its points and fits
it.
"""

from collections.abc import Mapping
import math
from typing import NamedTuple

import numpy as np

from entrojax import objectives
from entrojax.entropy.law import MIN_POINTS
from entrojax.reporting.formatting import listing
from entrojax.reporting.run_logs import (
  ENTROPY,
  TRAINING_REWARD,
  RunLog,
  datasets,
  series,
)
from entrojax.system.outside import last_name
from entrojax.traits import ObjectiveTraits, public_functions, traits_of

# with fewer evaluations, the law is fitted to the training reward
MIN_EVALUATIONS = MIN_POINTS
MIN_BLOCK = 10  # rollout steps that make a point of the law
MAX_BLOCKS = 60  # a longer run has longer blocks
STEP_METRICS = (ENTROPY, TRAINING_REWARD)  # of a rollout step


class LawPoints(NamedTuple):
  """The points of a run's entropy law, in the order of the run."""

  entropy: np.ndarray  # [K], nats
  reward: np.ndarray  # [K]
  metric: str  # the reward's name in metrics.jsonl
  block: int  # rollout steps in a point; 0: each point is an evaluation


def law_points(run: RunLog) -> LawPoints:
  """Pair entropies with rewards for the entropy law of a run.

  The points are evaluations: pass@1 and the entropy on the first data set, by
  name, on which the run was evaluated at least MIN_EVALUATIONS times. Without
  such a data set, they are block means of the training reward and entropy. A
  single training batch is no point, because its reward and its entropy both
  depend on how difficult its prompts are. The mean entropy of a block is the
  logarithm of the mean of exp(H), so that the blocks obey a law that the steps
  obey.

  The entropy of an evaluation belongs to the distribution from which it
  samples. With another temperature than the rollout's, it is another entropy.
  """
  return choose_points(
    {
      data: _finite_pairs(run, evaluation_metrics(data))
      for data in datasets([run])
    },
    _finite_pairs(run, STEP_METRICS),
  )


def evaluation_metrics(data: str) -> tuple[str, str]:
  """Return the metrics of a data set that make a point of the law."""
  return f"val/{data}/entropy", f"val/{data}/pass@1"


def choose_points(
  evaluations: Mapping[str, np.ndarray], steps: np.ndarray
) -> LawPoints:
  """Choose the points of the entropy law; see `law_points`.

  Args:
    evaluations: entropy and pass@1 of the evaluations on each data set,
      f64[K, 2], without those that are not finite.
    steps: entropy and reward of the rollout steps, f64[N, 2], without those
      that are not finite.
  """
  for data, pairs in sorted(evaluations.items()):
    if len(pairs) >= MIN_EVALUATIONS:
      entropy, reward = pairs.T
      return LawPoints(entropy, reward, evaluation_metrics(data)[1], 0)
  steps = steps.copy()
  block = max(MIN_BLOCK, len(steps) // MAX_BLOCKS)
  steps[:, 0] = np.exp(steps[:, 0])
  number = len(steps) // block
  parts = np.array_split(steps, number) if number else []
  means = np.array([part.mean(axis=0) for part in parts]).reshape(-1, 2)
  return LawPoints(np.log(means[:, 0]), means[:, 1], TRAINING_REWARD, block)


def interventions(run: RunLog) -> list[str]:
  """Name what acts on the entropy of a run, which the law does not allow.

  These are a controller, the projection, advantage rules and further members
  of the objective chain that changed a gradient, a surrogate whose settings act
  on the entropy, and recorded rollouts. A run without a config.json has no
  names.
  """
  config = run.config
  section = lambda name: config.get(name) or {}
  controller = last_name(section("control").get("name") or "no_control")
  rules = [last_name(name) for name in config.get("advantage") or ()]
  chain = [last_name(name) for name in config.get("objective") or ()]
  names = [controller] if controller != "no_control" else []
  names += [
    name
    for name in rules + chain[1:]
    if np.nansum(series(run, f"{name}/gradient_change")[1]) > 0
  ]
  names += [
    f"{surrogate}, by its settings"
    for surrogate in chain[:1]
    if _traits(surrogate).acts_on_entropy(section(surrogate))
  ]
  switched = ("projection", "offline")
  return names + [name for name in switched if section(name).get("enabled")]


def _traits(surrogate: str) -> ObjectiveTraits:
  """Return the traits of a surrogate; the usual ones for a user's own."""
  function = public_functions(objectives).get(surrogate)
  traits = traits_of(function) if function else None
  return traits or ObjectiveTraits(kind="surrogate")


def inapplicable(run: RunLog) -> list[str]:
  """Return a warning if something in a run makes the law inapplicable."""
  names = interventions(run)
  reason = "the law is for runs in which nothing intervenes on the entropy"
  return [f"{reason}; here there is {listing(names)}"] if names else []


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


def _finite_pairs(run: RunLog, names: tuple[str, str]) -> np.ndarray:
  """Return f64[K, 2], two metrics of the lines that have finite ones."""
  pairs = [[row.get(name, np.nan) for name in names] for row in run.rows]
  points = np.array(pairs, np.float64).reshape(-1, 2)
  return points[np.isfinite(points).all(axis=1)]
