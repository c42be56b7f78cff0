"""Stronger rivals than GRPO's curve over its budgets.

An entry above GRPO's curve has not yet shown that control is worth it. GRPO
keeps more entropy and coverage without control as well:

- with **one update on a batch** instead of several: a row of entries of its
  own, whose curve over budgets is built as GRPO's;
- at **another sampling temperature**: a longer run that is sampled hotter has
  the entropy of a shorter one. Each run that was evaluated at several
  temperatures (temperatures.py) is a curve over them, with straight lines
  between neighbours, and an entry is compared with the highest of these curves.
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
    whole = [x for x in own if np.isfinite(x).all()]
    some = [x for x in own if np.isfinite(x).any()]
    if not some:
      return np.full(len(runs), np.nan)
    return min(whole or some, key=finite_mean)

  def below(self, lines: Lines, names: Sequence[str], which: Height) -> Family:
    """Compare entries with this rival; `heights` has the arguments."""
    return by_heights(names, lambda name: self.heights(lines, name, which))


def rivals(
  field: Field, heated: Sequence[Heated], base: str
) -> Iterator[Rival]:
  """Yield the stronger rivals that have runs on a base.

  Args:
    field: what is compared.
    heated: the evaluations at other temperatures, of all bases.
    base: the base's name.
  """
  budgets = field.row_budgets(GENTLE)
  if len(budgets) > 1:
    steps = ", ".join(str(steps_of(field.lines, n)) for n in budgets)
    yield Rival(
      *(GENTLE, f"`{GENTLE}`"),
      f"GRPO with one update on a batch (the base, and {steps} rollout steps)",
      *(field.lines, [budgets]),
    )
  yield from hot_rivals(field, heated, base)


def hot_rivals(
  field: Field, heated: Sequence[Heated], base: str
) -> Iterator[Rival]:
  """Yield GRPO's rows whose policies were evaluated at other temperatures."""
  lines = as_lines(field.lines, heated, base)
  temperatures = sorted({x.temperature for x in heated if x.base == base})
  for row, words in (
    (BASELINE, "GRPO"),
    (GENTLE, "GRPO with one update on a batch"),
  ):
    names = {line.entry for line in lines.values()}
    runs = [
      name
      for name in field.long_rows.get(row, {}).values()
      if any(hot_name(name, t) in names for t in temperatures)
    ]
    if runs:
      steps = " or ".join(str(steps_of(field.lines, n)) for n in runs)
      curves = [[hot_name(n, t) for t in temperatures] for n in runs]
      yield Rival(
        *(row, f"`{row}` at any temperature"),
        f"{words} after {steps} rollout steps, sampled at any temperature",
        *(lines, curves),
      )
