"""What the page compares on a base: the entries, and how they lie to GRPO."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from entrojax.reporting.differences import Interval
from experiments.tournament.curve import (
  ENTROPY,
  Lines,
  compare,
  difference,
  distances,
  of_entry,
  over_seeds,
  ranked,
)
from experiments.tournament.entries import BASELINE, SEEDS, Entry


class Field(NamedTuple):
  """What is compared on a base.

  Attributes:
    lines: the kept lines.
    baseline: GRPO at the budget of an entry.
    budgets: GRPO's entries by ascending budget.
    compared: the entries that are compared with GRPO.
    long_rows: row -> rollout steps -> the entry of a longer budget.
    flops: entry -> the FLOPs of its update relative to GRPO's.
  """

  lines: Lines
  baseline: str
  budgets: Sequence[str]
  compared: Sequence[Entry]
  long_rows: Mapping[str, Mapping[int, str]]
  flops: Mapping[str, float]

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
    """List the controlled entries with all seeds at a longer budget."""
    return [
      name
      for row, budgets in self.long_rows.items()
      for steps, name in budgets.items()
      if row != BASELINE and steps > min(budgets) and self.is_whole(name)
    ]

  def gap(self, name: str, k: int) -> Interval | None:
    """Return an entry's pass@k minus GRPO's at equal budget."""
    own, other = (of_entry(self.lines, n) for n in (name, self.baseline))
    return difference(own, other, k)

  def height(
    self, name: str, measure: str, along: str = ENTROPY
  ) -> Interval | None:
    """Return an entry's height above GRPO's curve, over its seeds."""
    runs = of_entry(self.lines, name)
    return over_seeds(distances(self.lines, runs, measure, along))

  def sides(
    self, measure: str = "pass@1", along: str = ENTROPY
  ) -> Mapping[str, int]:
    """Return the entries above (1) or below (-1) GRPO's curve, by height.

    There are none before GRPO has all seeds.
    """
    if not self.is_whole(self.baseline):
      return {}
    heights = {
      name: self.height(name, measure, along)
      for name in [*self.complete(), *self.long_runs()]
    }
    order = ranked([*heights], {k: v and v.mean for k, v in heights.items()})
    return {name: s for name in order if (s := compare(heights[name]))}
