"""Means with 95 % intervals over seeds, and what they decide.

    test       held                          not held here
    at_least   low > 0 and mean >= margin    high < margin
    within     -margin < low, high < margin  low > margin or high < -margin

Everything else is inconclusive. A few seeds give wide intervals, so an
inconclusive verdict is common and means that more seeds are needed.
"""

from collections.abc import Callable, Iterable, Mapping

from jax.scipy.special import betainc, digamma, polygamma
import numpy as np

from entrojax.reporting.differences import Estimate, Interval

HELD, NOT_HELD, OPEN = "held", "not held here", "inconclusive"

_MOST = 1000.0  # degrees of freedom, as good as infinitely many

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


def shrink(own: Mapping[str, Estimate]) -> dict[str, Estimate]:
  """Shrink the variances of many estimates towards their common value.

  A few seeds estimate a variance badly, but entries that are evaluated alike
  have about the same one. Smyth, Statistical Applications in Genetics and
  Molecular Biology 3, 2004: the true variances are taken to be v d / chi2(d),
  and v and d follow from mean and variance of the logarithms of the estimated
  ones. An estimate with n degrees of freedom and the variance s then gets

      (d v + n s) / (d + n),  with d + n degrees of freedom.

  Estimates without variance, and fewer than three others, are left as they are.

  Args:
    own: estimates by name, made in the same way.
  """
  varied = {name: x for name, x in own.items() if x.variance > 0}
  if len(varied) < 3:
    return dict(own)
  s, n = (
    np.array([getattr(x, key) for x in varied.values()], np.float64)
    for key in ("variance", "freedom")
  )
  logs = np.log(s) - np.asarray(digamma(n / 2)) + np.log(n / 2)
  excess = logs.var(ddof=1) - np.asarray(polygamma(1, n / 2)).mean()
  d = _MOST if excess <= 0 else min(_MOST, 2 * _inverse_trigamma(excess))
  v = float(np.exp(logs.mean() + digamma(d / 2) - np.log(d / 2)))
  shrunk = {
    name: Estimate(
      x.mean, (d * v + x.freedom * x.variance) / (d + x.freedom), d + x.freedom
    )
    for name, x in varied.items()
  }
  return {name: shrunk.get(name, x) for name, x in own.items()}


def _inverse_trigamma(value: float) -> float:
  """Return x with trigamma(x) = value, to 1e-3 of it; trigamma falls."""
  low, high = 1e-3, _MOST
  while high / low > 1.001:
    middle = (low * high) ** 0.5
    if polygamma(1, middle) > value:
      low = middle
    else:
      high = middle
  return low


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
