"""Stronger rivals than GRPO's curve over its budgets.

An entry above GRPO's curve has not yet shown that control is worth it. GRPO
keeps more entropy and coverage without control as well:

- with **one update on a batch** instead of several: a row of entries of its
  own, whose curve over budgets is built as GRPO's;
- at **another sampling temperature**: a longer run that is sampled hotter has
  the entropy of a shorter one. Each run that was evaluated at several
  temperatures (temperatures.py) is a curve over them, with straight lines
  between neighbours.

So both rows of GRPO are rivals, with all their curves: an entry is compared
with the highest one.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from experiments.tournament.curve import Curve
from experiments.tournament.families import Family, by_heights
from experiments.tournament.field import HEIGHTS, Field, Height
from experiments.tournament.measures import (
  Lines,
  finite_mean,
  of_entry,
  steps_of,
)
from experiments.tournament.rule import BASELINE, GENTLE
from experiments.tournament.temperatures import Heated, as_lines, hot_name

PLANES: Sequence[Height] = (HEIGHTS[0], HEIGHTS[2])


class Rival(NamedTuple):
  """Runs of GRPO that an entry is compared with.

  Attributes:
    row: the row of the runs, such as "grpo,updates=1".
    label: what they are, for a column's title.
    words: the same in a sentence.
    lines: the lines of its points.
    curves: for each curve, the entries of its points.
  """

  row: str
  label: str
  words: str
  lines: Lines
  curves: Sequence[Sequence[str]]

  def heights(self, lines: Lines, name: str, which: Height) -> np.ndarray:
    """Return an entry's heights above the highest curve, f64[seeds].

    The highest curve is the one with the lowest mean height among those that
    give all seeds a height, and otherwise among all.

    Args:
      lines: the lines of the entry.
      name: the entry.
      which: the measure, and what is equal.
    """
    runs = of_entry(lines, name)
    own = [Curve(self.lines, x, *which).heights(runs) for x in self.curves]
    some = [x for x in own if np.isfinite(x).any()]
    whole = [x for x in some if np.isfinite(x).all()]
    if not some:
      return np.full(len(runs), np.nan)
    return min(whole or some, key=finite_mean)

  def family(self, lines: Lines, names: Sequence[str], which: Height) -> Family:
    """Compare entries with this rival; `heights` has the arguments."""
    return by_heights(names, lambda name: self.heights(lines, name, which))


def rivals(
  field: Field, heated: Sequence[Heated], base: str
) -> Iterator[Rival]:
  """Yield GRPO and GRPO with one update on a batch, if they have such curves.

  Args:
    field: what is compared.
    heated: the evaluations at other temperatures, of all bases.
    base: the base's name.
  """
  hot = as_lines(field.lines, heated, base)
  names = {line.entry for line in hot.values()}
  temperatures = sorted({x.temperature for x in heated if x.base == base})
  for row, words, budgets in (
    (BASELINE, "GRPO", field.curve_budgets()),
    (GENTLE, "GRPO with one update on a batch", field.row_budgets(GENTLE)),
  ):
    runs = [
      name
      for name in field.long_rows.get(row, {}).values()
      if any(hot_name(name, t) in names for t in temperatures)
    ]
    curves = [[hot_name(n, t) for t in temperatures] for n in runs]
    if len(budgets) > 1:
      curves.append(list(budgets))
    # GRPO's curve over budgets alone is what all entries are compared with
    if curves and (runs or row != BASELINE):
      where = " of any budget"
      if runs:
        steps = " or ".join(str(steps_of(field.lines, n)) for n in runs)
        where += f", or after {steps} rollout steps at any temperature"
      lines = {**field.lines, **hot}
      yield Rival(row, f"the best of `{row}`", words + where, lines, curves)
