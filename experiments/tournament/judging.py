"""Means with 95 % intervals over seeds, and what they decide.

    test       held                          not held here
    at_least   low > 0 and mean >= margin    high < margin
    within     -margin < low, high < margin  low > margin or high < -margin

Everything else is inconclusive. Three seeds give wide intervals, so an
inconclusive verdict is common and means that more seeds are needed.
"""

from collections.abc import Callable, Iterable, Mapping

from jax.scipy.special import betainc
import numpy as np

from entrojax.reporting.differences import Estimate, Interval

HELD, NOT_HELD, OPEN = "held", "not held here", "inconclusive"

Test = Callable[[Interval, float], str]


def estimate_over_seeds(numbers: Iterable[float]) -> Estimate | None:
  """Return a mean with its variance over seeds; None below two seeds."""
  own = np.array([x for x in numbers if np.isfinite(x)])
  if own.size < 2:
    return None
  variance = float(own.var(ddof=1)) / own.size
  return Estimate(float(own.mean()), variance, own.size - 1)


def over_seeds(numbers: Iterable[float]) -> Interval | None:
  """Return a mean with its 95 % interval over seeds; None below two seeds."""
  own = estimate_over_seeds(numbers)
  return own.interval() if own else None


def compare(interval: Interval | None) -> int:
  """Return 1 if an interval lies above 0, -1 if below, 0 if undecided."""
  if interval is None:
    return 0
  return int(interval.low > 0) - int(interval.high < 0)


def at_least(effect: Interval, margin: float) -> str:
  """Return the verdict on a claim that something is larger than nothing."""
  if effect.low > 0 and effect.mean >= margin:
    return HELD
  return NOT_HELD if effect.high < margin else OPEN


def within(effect: Interval, margin: float) -> str:
  """Return the verdict on a claim that something is about zero."""
  if -margin < effect.low and effect.high < margin:
    return HELD
  return NOT_HELD if effect.low > margin or effect.high < -margin else OPEN


def p_value(own: Estimate) -> float:
  """Return the two-sided p-value of Student's t that a mean is zero."""
  mean, variance, n = own
  if variance == 0:
    return float(mean == 0)
  return float(betainc(n / 2, 0.5, n / (n + mean**2 / variance)))


def discoveries(p_values: Mapping[str, float], rate: float = 0.05) -> set[str]:
  """Return the names whose effect remains among so many comparisons.

  Benjamini and Hochberg, Journal of the Royal Statistical Society B 57, 1995:
  p-values are put into ascending order, and the last place at which
  p <= rate * place / count ends the list. At most the share `rate` of the names
  on it is then expected to be wrong.
  """
  order = sorted(p_values, key=lambda name: p_values[name])
  last = 0
  for place, name in enumerate(order, 1):
    if p_values[name] <= rate * place / len(order):
      last = place
  return {*order[:last]}
