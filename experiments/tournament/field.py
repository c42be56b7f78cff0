"""What the page compares on a base: the entries, and how they lie to GRPO."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from entrojax.reporting.differences import Estimate
from experiments.tournament.curve import Curve
from experiments.tournament.entries import Entry
from experiments.tournament.families import Family, by_heights, family
from experiments.tournament.judging import compare
from experiments.tournament.measures import (
  ENTROPY,
  Lines,
  difference,
  of_entry,
  ranked,
  starts_of,
  values,
)
from experiments.tournament.rule import BASELINE, GENTLE, NOTHING, SEEDS

Height = tuple[str, str]  # (measure, what is equal)
HEIGHTS: Sequence[Height] = (
  ("pass@1", ENTROPY),
  ("pass@64", ENTROPY),
  ("pass@64", "pass@1"),
  # where the base has almost all of pass@64, pass@8 can still differ
  ("pass@8", "pass@1"),
)


class Field(NamedTuple):
  """What is compared on a base.

  Attributes:
    lines: the kept lines.
    baseline: GRPO at the budget of an entry.
    budgets: GRPO's entries by ascending budget, without longer ones.
    compared: the entries that are compared with GRPO.
    long_rows: row -> rollout steps -> its entry, from the common budget to the
      longest; GRPO is a row.
    flops: entry -> the FLOPs of its update relative to GRPO's.
    times: entry -> the time of a rollout step relative to GRPO's.
  """

  lines: Lines
  baseline: str
  budgets: Sequence[str]
  compared: Sequence[Entry]
  long_rows: Mapping[str, Mapping[int, str]]
  flops: Mapping[str, float]
  times: Mapping[str, float] = NOTHING

  def seeds(self, name: str) -> int:
    """Return the number of seeds with a kept line."""
    return len(of_entry(self.lines, name))

  def is_whole(self, name: str) -> bool:
    """Return whether all seeds of an entry have a kept line."""
    return self.seeds(name) >= len(SEEDS)

  def complete(self) -> list[str]:
    """List the compared entries with all seeds."""
    return [e.name for e in self.compared if self.is_whole(e.name)]

  def partial(self) -> list[str]:
    """List the compared entries with some of the seeds."""
    return [
      e.name for e in self.compared if 0 < self.seeds(e.name) < len(SEEDS)
    ]

  def long_runs(self) -> list[str]:
    """List the runs of longer budgets with all seeds, without GRPO's."""
    return [
      name
      for row, budgets in self.long_rows.items()
      for steps, name in budgets.items()
      if row != BASELINE and steps > min(budgets) and self.is_whole(name)
    ]

  def curve_budgets(self) -> list[str]:
    """List the entries of GRPO's curve, by ascending budget.

    A budget that lacks one of the seeds that GRPO has at equal budget is left
    out, so that all seeds have curves of the same budgets.
    """
    names = dict.fromkeys(
      [*self.budgets, *self.long_rows.get(BASELINE, {}).values()]
    )
    seeds = of_entry(self.lines, self.baseline).keys()
    return [
      name
      for name in names
      if seeds and seeds <= of_entry(self.lines, name).keys()
    ]

  def gap(self, name: str, k: int) -> Estimate | None:
    """Return an entry's pass@k minus GRPO's at the same budget."""
    own, other = (
      of_entry(self.lines, n) for n in (name, self.grpo_beside(name))
    )
    return difference(own, other, k)

  def pairs(self, name: str) -> int:
    """Return the number of seeds that an entry and its GRPO both have."""
    own, other = (
      of_entry(self.lines, n) for n in (name, self.grpo_beside(name))
    )
    return len(own.keys() & other.keys())

  def overtakes(self, name: str) -> bool:
    """Return whether an entry has more pass@1 than GRPO of its budget."""
    gap = self.gap(name, 1)
    if gap is None or self.pairs(name) < len(SEEDS):
      return False
    return compare(gap.interval()) > 0

  def grpo_beside(self, name: str) -> str:
    """Return GRPO's entry of the same budget."""
    grpo = self.long_rows.get(BASELINE, {})
    for budgets in self.long_rows.values():
      for steps, entry in budgets.items():
        if entry == name:
          return grpo.get(steps, self.baseline)
    return self.baseline

  def heights(
    self, name: str, which: Height, budgets: Sequence[str] | None = None
  ) -> np.ndarray:
    """Return an entry's heights above a curve, NaN outside, f64[seeds].

    Args:
      name: the entry.
      which: the measure, and what is equal.
      budgets: the entries of the curve; None: GRPO's budgets.
    """
    curve = Curve(
      self.lines, self.curve_budgets() if budgets is None else budgets, *which
    )
    return curve.heights(of_entry(self.lines, name))

  def gaps(self, names: Sequence[str], k: int) -> Family:
    """Compare entries with GRPO of the same budget in pass@k."""
    return family(names, lambda name: self.gap(name, k))

  def gains(self, names: Sequence[str], measure: str) -> Family:
    """Compare entries with the base in a measure."""
    return by_heights(
      names,
      lambda name: (
        values(of_entry(self.lines, name), measure)
        - starts_of(self.lines, name, measure)
      ),
    )

  def above(self, names: Sequence[str], which: Height) -> Family:
    """Compare entries with GRPO's curve."""
    return by_heights(names, lambda name: self.heights(name, which))

  def above_a_curve(self) -> list[str]:
    """List the entries above one of GRPO's curves, without the gentle GRPO."""
    names = [*self.complete(), *self.long_runs()]
    own = {n for which in HEIGHTS for n in self.above(names, which).on(1)}
    gentle = self.row_budgets(GENTLE)
    return [name for name in names if name in own and name not in gentle]

  def row_budgets(self, row: str) -> list[str]:
    """List the entries of a row of longer budgets that have all seeds."""
    return [n for n in self.long_rows.get(row, {}).values() if self.is_whole(n)]

  def marked(self) -> Mapping[str, int]:
    """Return the entries above (1) or below (-1) GRPO's curve, corrected.

    It is the curve of pass@1 over entropy. The correction for many comparisons
    is made among the entries of the common budget, and among longer runs.
    """
    parts = [
      self.above(names, HEIGHTS[0])
      for names in (self.complete(), self.long_runs())
    ]
    own = {
      name: (part.own[name].mean, side)
      for part in parts
      for side in (1, -1)
      for name in part.remaining(side)
    }
    order = ranked([*own], {name: mean for name, (mean, _) in own.items()})
    return {name: own[name][1] for name in order}
