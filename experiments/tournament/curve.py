"""GRPO's curve over its budgets, and a method's distance from it.

Stopping GRPO early also keeps entropy. So a method is compared in three ways:

- **At equal budget**, with GRPO's run of as many rollout steps: the difference
  of pass@k, paired by seed and prompt (entrojax/reporting/differences.py).
- **At equal entropy**, with GRPO's curve: GRPO's runs of all budgets, with the
  same seed, are points (held-out entropy, pass@k). The base is one more point,
  the budget of 0. Between neighbours in entropy the curve is a straight line,
  and it ends at its first and last point. A budget that one of the seeds lacks
  is left out for all of them. A run's distance is its pass@k minus the curve's
  at the run's entropy. The interval over the seeds is Student's.
- **At equal pass@1**, in the same way, with the points (pass@1, pass@64).
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from entrojax.answers.pass_at_k import pass_at_k
from entrojax.entropy.law import t_quantile
from entrojax.reporting.differences import Interval, paired_interval
from experiments.tournament.entries import BASELINE
from experiments.tournament.lines import Line

ENTROPY = "entropy"

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


def budgets_of_all_seeds(lines: Lines) -> list[str]:
  """List the entries of GRPO's curve that have run with every seed of it."""
  seeds: dict[str, set[int]] = {}
  for line in lines.values():
    if line.entry.startswith(f"{BASELINE},steps="):
      seeds.setdefault(line.entry, set()).add(line.seed)
  every = set().union(*seeds.values())
  return [entry for entry, own in seeds.items() if own == every]


def grpo_curve(
  lines: Lines,
  seed: int,
  measure: str,
  budgets: Sequence[str],
  along: str = ENTROPY,
) -> tuple[np.ndarray, np.ndarray]:
  """Return GRPO's entropies [K], ascending, and a measure [K] at them.

  Args:
    lines: all kept lines.
    seed: the seed of the runs.
    measure: such as "pass@1".
    budgets: GRPO's entries. The base is a point in addition.
    along: the measure in place of the entropy.

  Returns:
    Empty arrays if none of them has run with this seed.
  """
  own = [
    line
    for line in lines.values()
    if line.entry in budgets and line.seed == seed
  ]
  points = [(line.end[along], line.end[measure]) for line in own]
  points += [(line.start[along], line.start[measure]) for line in own[:1]]
  array = np.array(sorted(points), np.float64).reshape(-1, 2)
  return array[:, 0], array[:, 1]


def distance(
  lines: Lines, line: Line, measure: str, along: str = ENTROPY
) -> float:
  """Return a run's height above GRPO's curve; NaN outside of the curve."""
  budgets = budgets_of_all_seeds(lines)
  x, y = grpo_curve(lines, line.seed, measure, budgets, along)
  own, height = line.end.get(along), line.end.get(measure)
  if own is None or height is None or x.size < 2:
    return float("nan")
  if not x[0] <= own <= x[-1]:
    return float("nan")
  return float(height - np.interp(own, x, y))


def distances(
  lines: Lines, runs: Mapping[int, Line], measure: str, along: str = ENTROPY
) -> list[float]:
  """Return the distance of an entry's run for each seed."""
  return [distance(lines, line, measure, along) for line in runs.values()]


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
