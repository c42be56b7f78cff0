"""Many entries in one comparison: which differ, and which differ by chance.

Among fifty intervals of 95 % two or three exclude zero although nothing
differs. So a family of comparisons is also decided with the correction of
Benjamini and Hochberg, which allows 5 % of those that remain to be wrong. Its
p-values are from variances that are shrunk towards their common value, because
a few seeds say too little about the variance of one entry.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from entrojax.reporting.differences import Estimate
from experiments.tournament.judging import (
  HELD,
  compare,
  discoveries,
  estimate_over_seeds,
  p_value,
  shrink,
  within,
)
from experiments.tournament.rule import SEEDS


class Family(NamedTuple):
  """Entries that are compared with the same thing.

  Attributes:
    own: entry -> its difference, by descending mean.
    absent: the entries that cannot be compared for all seeds.
  """

  own: Mapping[str, Estimate]
  absent: Sequence[str]

  def on(self, side: int) -> list[str]:
    """List the entries whose interval is above 0 (1), below (-1), or on it."""
    return [n for n, x in self.own.items() if compare(x.interval()) == side]

  def within(self, margin: float) -> list[str]:
    """List the entries whose interval is within a margin of 0."""
    return [
      n for n, x in self.own.items() if within(x.interval(), margin) == HELD
    ]

  def remaining(self, side: int, *, shrunk: bool = True) -> list[str]:
    """List the entries that are on a side of 0 with the correction.

    Args:
      side: 1 for above, -1 for below.
      shrunk: whether variances are shrunk towards their common value.
    """
    own = shrink(self.own) if shrunk else self.own
    left = discoveries({n: p_value(x) for n, x in own.items()})
    return [n for n, x in own.items() if n in left and x.mean * side > 0]


def family(
  names: Sequence[str], estimate: Callable[[str], Estimate | None]
) -> Family:
  """Compare entries with the same thing.

  Args:
    names: the entries.
    estimate: entry -> its difference over all seeds; None: it has none.
  """
  pairs = {name: estimate(name) for name in names}
  own = {name: x for name, x in pairs.items() if x is not None}
  order = sorted(own, key=lambda name: -own[name].mean)
  absent = [name for name in names if name not in own]
  return Family({name: own[name] for name in order}, absent)


def by_heights(
  names: Sequence[str], heights: Callable[[str], np.ndarray]
) -> Family:
  """Compare entries by numbers that each seed has.

  Args:
    names: the entries.
    heights: entry -> its numbers, NaN for none, f64[seeds].
  """

  def estimate(name: str) -> Estimate | None:
    own = heights(name)
    if own.size < len(SEEDS) or not np.isfinite(own).all():
      return None
    return estimate_over_seeds(own)

  return family(names, estimate)
