"""GRPO's curve over its budgets, and a method's distance from it.

A smaller budget of GRPO also keeps entropy. So a method is compared in three
ways:

- **At equal budget**, with GRPO's run of as many rollout steps: the difference
  of pass@k, paired by seed and prompt (measures.py).
- **At equal entropy**, with GRPO's curve: GRPO's runs of several budgets, with
  the same seed, are points (held-out entropy, pass@k). The base is one more
  point, the budget of 0. Between neighbours in entropy the curve is a straight
  line, and it ends at its first and last point. Points that are nearer than
  NEAR to each other are one point, their mean, because the line between them
  would be steep by chance. A run's height is its pass@k minus the curve's at
  the run's entropy. The interval over the seeds is Student's.
- **At equal pass@1**, in the same way, with the points (pass@1, pass@64).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments.tournament.lines import Line
from experiments.tournament.measures import ENTROPY, Lines

NEAR = 0.005  # nats or pass@1


class Curve(NamedTuple):
  """GRPO's curve over its budgets.

  Attributes:
    lines: all kept lines.
    budgets: GRPO's entries. The base is a point in addition.
    measure: such as "pass@1".
    along: the measure over which it is a curve.
  """

  lines: Lines
  budgets: Sequence[str]
  measure: str
  along: str = ENTROPY

  def points(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `along` [K], ascending, and the measure [K], for a seed.

    They are empty if a budget has not run with this seed, so that all seeds
    have curves of the same budgets.
    """
    own = [
      line
      for line in self.lines.values()
      if line.entry in self.budgets and line.seed == seed
    ]
    if len(own) < len(self.budgets):
      own = []
    ends = [line.end for line in own] + [line.start for line in own[:1]]
    pairs = [(end.get(self.along), end.get(self.measure)) for end in ends]
    points = sorted((x, y) for x, y in pairs if x is not None and y is not None)
    groups: list[list[tuple[float, float]]] = []
    for point in points:
      if groups and point[0] - groups[-1][-1][0] < NEAR:
        groups[-1].append(point)
      else:
        groups.append([point])
    means = [np.mean(group, axis=0) for group in groups]
    array = np.array(means, np.float64).reshape(-1, 2)
    return array[:, 0], array[:, 1]

  def height(self, line: Line) -> float:
    """Return a run's height above the curve; NaN outside of the curve."""
    x, y = self.points(line.seed)
    own, measured = line.end.get(self.along), line.end.get(self.measure)
    if own is None or measured is None or x.size < 2:
      return float("nan")
    if not x[0] <= own <= x[-1]:
      return float("nan")
    return float(measured - np.interp(own, x, y))

  def heights(self, runs: Mapping[int, Line]) -> np.ndarray:
    """Return the heights of an entry's runs, f64[seeds].

    A seed with which not all of the budgets have run is left out.
    """
    own = [line for seed, line in runs.items() if self.points(seed)[0].size]
    return np.array([self.height(line) for line in own], np.float64)
