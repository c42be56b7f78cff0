"""GRPO's curve over its budgets, and a method's distance from it.

A smaller budget of GRPO also keeps entropy. So a method is compared in three
ways:

- **At equal budget**, with GRPO's run of as many rollout steps: the difference
  of pass@k, paired by seed and prompt (entrojax/reporting/differences.py).
- **At equal entropy**, with GRPO's curve: GRPO's runs of several budgets, with
  the same seed, are points (held-out entropy, pass@k). The base is one more
  point, the budget of 0. Between neighbours in entropy the curve is a straight
  line, and it ends at its first and last point. Points that are nearer than
  NEAR to each other are one point, their mean, because the line between them
  would be steep by chance. A run's height is its pass@k minus the curve's at
  the run's entropy. The interval over the seeds is Student's.
- **At equal pass@1**, in the same way, with the points (pass@1, pass@64).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from entrojax.answers.pass_at_k import pass_at_k
from entrojax.entropy.law import t_quantile
from entrojax.reporting.differences import Interval, paired_interval
from experiments.tournament.lines import Line

ENTROPY = "entropy"
NEAR = 0.005  # nats or pass@1

Lines = Mapping[str, Line]  # by the names of their runs


def of_entry(lines: Lines, entry: str) -> dict[int, Line]:
  """Return the kept lines of an entry by seed."""
  own = [line for line in lines.values() if line.entry == entry]
  return {line.seed: line for line in sorted(own, key=lambda l: l.seed)}


def values(runs: Mapping[int, Line], measure: str) -> np.ndarray:
  """Return a measure of the last evaluation for each seed, f64[S]."""
  own = [line.end.get(measure) for line in runs.values()]
  return np.array([np.nan if x is None else x for x in own], np.float64)


def over_seeds(numbers: Iterable[float]) -> Interval | None:
  """Return a mean with its 95 % interval over seeds; None below two seeds."""
  own = np.array([x for x in numbers if np.isfinite(x)])
  if own.size < 2:
    return None
  half = t_quantile(own.size - 1) * own.std(ddof=1) / own.size**0.5
  mean = float(own.mean())
  return Interval(mean, mean - float(half), mean + float(half))


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

    They are empty if none of the budgets has run with this seed.
    """
    own = [
      line
      for line in self.lines.values()
      if line.entry in self.budgets and line.seed == seed
    ]
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
    """Return the heights of an entry's runs, f64[seeds]."""
    return np.array([self.height(line) for line in runs.values()], np.float64)


def difference(
  own: Mapping[int, Line], other: Mapping[int, Line], k: int
) -> Interval | None:
  """Return the difference in pass@k of two entries, paired by seed and prompt.

  Args:
    own: the lines of one entry, by seed.
    other: the lines of the other.
    k: at most the number of samples.

  Returns:
    own minus other; None without a seed in common.

  Raises:
    ValueError: two runs were evaluated on different prompts.
  """
  pairs = [(own[seed], other[seed]) for seed in own if seed in other]
  if not pairs:
    return None
  rows = []
  for one, two in pairs:
    if one.right["prompts"] != two.right["prompts"]:
      raise ValueError(f"{one.name} and {two.name} have different prompts")
    rows.append(_pass(one, k) - _pass(two, k))
  return paired_interval(np.array(rows))


def compare(interval: Interval | None) -> int:
  """Return 1 if an interval lies above 0, -1 if below, 0 if undecided."""
  if interval is None:
    return 0
  return int(interval.low > 0) - int(interval.high < 0)


def _pass(line: Line, k: int) -> np.ndarray:
  """Return pass@k of each prompt, f64[Q]."""
  return pass_at_k(line.right["num_samples"], line.counts(), k)


def ranked(
  names: Sequence[str], scores: Mapping[str, float | None]
) -> list[str]:
  """Sort names by descending score; those without a score come last."""

  def key(name: str) -> tuple[bool, float]:
    score = scores.get(name)
    absent = score is None or not np.isfinite(score)
    return absent, 0.0 if absent or score is None else -score

  return sorted(names, key=key)
