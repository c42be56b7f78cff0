"""The statistics with which claims are tested, each over at least three seeds.

All of them return None if one of the three is missing, and use each further
seed that all of their entries have. Entries are named as in the tournament, and
GRPO is its run of 200 rollout steps.
"""

from collections.abc import Callable, Sequence

import numpy as np

from entrojax.entropy.law import fit_entropy_law, forecast
from entrojax.reporting.differences import Interval
from experiments.claims.verdicts import Effect
from experiments.tournament.curve import Curve
from experiments.tournament.judging import over_seeds
from experiments.tournament.lines import (
  COARSE,
  FINE,
  Line,
  part_lengths,
  part_middles,
)
from experiments.tournament.measures import Lines, difference, of_entry
from experiments.tournament.rule import BUDGETS, SEEDS

GRPO = "grpo,steps=200"
LONG = "grpo,steps=600"  # the longest run of GRPO on the curve of the claims
CURVE = tuple(f"grpo,steps={budget}" for budget in BUDGETS)


def _common_seeds(lines: Lines, entries: Sequence[str]) -> list[int]:
  """List the seeds that all entries have; none if one of SEEDS is missing."""
  seeds = set.intersection(*({*of_entry(lines, name)} for name in entries))
  return sorted(seeds) if seeds.issuperset(SEEDS) else []


def _for_each_seed(
  entries: Sequence[str], measure: Callable[..., float]
) -> Callable[[Lines], Interval | None]:
  """Return a statistic: the mean of a measure over the seeds.

  Args:
    entries: the entries that it needs.
    measure: takes the lines of these entries with one seed; returns a number.
  """

  def over(lines: Lines) -> Interval | None:
    seeds = _common_seeds(lines, entries)
    if not seeds:
      return None
    runs = [of_entry(lines, entry) for entry in entries]
    return _over_all([measure(*(own[s] for own in runs)) for s in seeds])

  return over


def _over_all(numbers: Sequence[float]) -> Interval | None:
  """Return a mean with its interval; NaN if a seed has no number."""
  if not np.isfinite(numbers).all():
    return Interval(*3 * (float("nan"),))
  return over_seeds(numbers)


def entropy_gap(own: str, other: str = GRPO) -> Effect:
  """The held-out entropy at the end, one entry minus another, nats.

  There is no number if both runs of a seed are the same to the last digit,
  because what distinguishes the entries did not act then.
  """
  text = f"entropy at the end, `{own}` - `{other}`, nats"

  def measure(a: Line, b: Line) -> float:
    if a.end == b.end and a.right == b.right:
      return float("nan")
    return _end(a, "entropy") - _end(b, "entropy")

  return Effect(text, (own, other), _for_each_seed((own, other), measure))


def pass_gap(own: str, k: int, other: str = GRPO, shift: float = 0.0) -> Effect:
  """The difference in pass@k of two entries, paired by seed and prompt.

  Args:
    own: the entry.
    k: the number of samples.
    other: the entry that is subtracted.
    shift: added to the difference.
  """

  def measure(lines: Lines) -> Interval | None:
    if not _common_seeds(lines, (own, other)):
      return None
    gap = difference(of_entry(lines, own), of_entry(lines, other), k)
    return gap and Interval(*(value + shift for value in gap.interval()))

  text = f"pass@{k}, `{own}` - `{other}`" + (f" + {shift:g}" if shift else "")
  return Effect(text, (own, other), measure)


def gain(entry: str, measure: str, shift: float = 0.0) -> Effect:
  """The change of a measure over a run, compared with the base."""
  text = f"{measure}, `{entry}` - base" + (f" + {shift:g}" if shift else "")
  change = lambda line: _end(line, measure) - _start(line, measure) + shift
  return Effect(text, (entry,), _for_each_seed((entry,), change))


def miss(entry: str, target: float) -> Effect:
  """The held-out entropy at the end minus a target, nats."""
  text = f"entropy at the end of `{entry}` - {target:g} nats"
  own = lambda line: _end(line, "entropy") - target
  return Effect(text, (entry,), _for_each_seed((entry,), own), one_base=True)


def worse_miss(own: str, other: str, target: float) -> Effect:
  """How much farther from a target one entry ends than another, nats."""
  text = f"distance from {target:g} nats at the end, `{own}` - `{other}`"
  far = lambda line: abs(_end(line, "entropy") - target)
  measure = lambda a, b: far(a) - far(b)
  both = (own, other)
  return Effect(text, both, _for_each_seed(both, measure), one_base=True)


def height(entry: str, measure: str = "pass@1") -> Effect:
  """The height of an entry above GRPO's curve at equal entropy."""
  names = (entry, *CURVE)

  def over(lines: Lines) -> Interval | None:
    seeds, runs = _common_seeds(lines, names), of_entry(lines, entry)
    curve = Curve(lines, CURVE, measure)
    heights = [curve.height(runs[seed]) for seed in seeds]
    return _over_all(heights) if seeds else None

  return Effect(f"{measure}, `{entry}` above GRPO's curve", names, over)


def entropy_fall(entry: str) -> Effect:
  """The fall of the held-out entropy as a share of the base's."""
  own = lambda line: 1 - _end(line, "entropy") / _start(line, "entropy")
  text = f"fall of entropy over `{entry}`, share of the base's"
  return Effect(text, (entry,), _for_each_seed((entry,), own))


def early_fall(entry: str) -> Effect:
  """The share of the fall in training entropy in the first half."""

  def own(line: Line) -> float:
    course = _course(line, "actor/entropy")
    half = len(course) // 2
    start, end = course[:3].mean(), course[-3:].mean()
    middle = course[half - 1 : half + 2].mean()
    return float((start - middle) / (start - end)) - 0.5

  text = f"share of the fall in the first half of `{entry}`"
  return Effect(text, (entry,), _for_each_seed((entry,), own), zero=0.5)


def law_fit(entry: str, least: float) -> Effect:
  """R^2 of R = -a exp(H) + b within a run, at least a bound.

  There is no number if the entropy of a run moves too little for the law to
  differ from a straight line (entrojax/entropy/law.py).
  """

  def own(line: Line) -> float:
    entropy, reward = _course(line, "actor/entropy"), _course(line, _REWARD)
    law = fit_entropy_law(entropy, reward)
    return law.r_squared - least if law.usable else float("nan")

  text = f"R^2 of the law over {FINE} parts of `{entry}`"
  return Effect(text, (entry,), _for_each_seed((entry,), own), zero=least)


def law_over_budgets(least: float) -> Effect:
  """R^2 of a line through exp(entropy) and pass@1 of GRPO's budgets."""

  def over(lines: Lines) -> Interval | None:
    squares = []
    for seed in _common_seeds(lines, CURVE):
      entropy, reward = Curve(lines, CURVE, "pass@1").points(seed)
      squares.append(np.corrcoef(np.exp(entropy), reward)[0, 1] ** 2 - least)
    return over_seeds(squares) if squares else None

  text = "R^2 of pass@1 on exp(H) over the base and six budgets up to 600"
  return Effect(text, CURVE, over, zero=least)


def law_forecast(entry: str) -> Effect:
  """How much of a constant's error the law of the first 15 % removes.

  There is no number if no first part of a run gives a usable law.
  """

  def own(line: Line) -> float:
    entropy, reward = _course(line, "actor/entropy"), _course(line, _REWARD)
    fit = forecast(entropy, reward)
    return 1 - fit.rmse / fit.constant_rmse

  text = (
    f"share of the error of a constant that the forecast of `{entry}` saves"
  )
  return Effect(text, (entry,), _for_each_seed((entry,), own))


def mean_of(entry: str, metric: str) -> Effect:
  """The mean of a training metric over a run."""
  own = lambda line: float(_course(line, metric).mean())
  text = f"mean of `{metric}` over `{entry}`"
  return Effect(text, (entry,), _for_each_seed((entry,), own))


def smallest_of(entry: str, signs: dict[str, int]) -> Effect:
  """The smallest of several means, each times the sign that is claimed."""

  def own(line: Line) -> float:
    return min(s * float(_course(line, m).mean()) for m, s in signs.items())

  text = f"smallest of the four quadrants' means over `{entry}`, with its sign"
  return Effect(text, (entry,), _for_each_seed((entry,), own))


def prediction(entry: str) -> Effect:
  """The correlation of predicted and measured entropy changes over a run."""

  def own(line: Line) -> float:
    entropy = _course(line, "actor/entropy")
    predicted = _course(line, "covariance/predicted_change")
    middles = part_middles(line, "actor/entropy")
    ends = np.cumsum(part_lengths(line, "covariance/predicted_change"))
    cuts = np.searchsorted(middles, ends[:-1])
    # from the first to the last value in a part, per rollout step
    measured = [
      (own[-1] - own[0]) / (at[-1] - at[0])
      for own, at in zip(
        np.split(entropy, cuts), np.split(middles, cuts), strict=True
      )
    ]
    return float(np.corrcoef(predicted, measured)[0, 1])

  text = (
    f"correlation of the change that the covariance predicts with the measured "
    f"one, over {COARSE} parts of `{entry}`"
  )
  return Effect(text, (entry,), _for_each_seed((entry,), own))


_REWARD = "critic/rewards/mean"


def _end(line: Line, measure: str) -> float:
  return _number(line.end.get(measure))


def _start(line: Line, measure: str) -> float:
  return _number(line.start.get(measure))


def _course(line: Line, metric: str) -> np.ndarray:
  """Return the parts' means of a training metric, without absent ones."""
  own = np.array([_number(x) for x in line.course[metric]])
  return own[np.isfinite(own)]


def _number(value: float | None) -> float:
  return float("nan") if value is None else float(value)
