"""Say in sentences what the tournament's tables show.

Only entries with all seeds take part, because one or two say too little.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments.tournament.curve import (
  Lines,
  compare,
  difference,
  distances,
  of_entry,
  over_seeds,
  ranked,
  values,
)
from experiments.tournament.entries import BASELINE, SEEDS, Entry
from experiments.tournament.tables import (
  cost,
  finite_mean,
  format_interval,
  last_third,
  mean_of,
  overtakes,
  samples,
  start_of,
  starts_of,
  target_of,
  twins,
)

NEAR = 0.05  # share of a target within which it counts as held
_SLOW = 1.2  # times GRPO's step


class Field(NamedTuple):
  """What is compared on a base.

  Attributes:
    lines: the kept lines.
    baseline: GRPO at the budget of an entry.
    budgets: GRPO's entries by ascending budget.
    compared: the entries that are compared with GRPO.
    long_rows: row -> rollout steps -> the entry of a longer budget.
  """

  lines: Lines
  baseline: str
  budgets: Sequence[str]
  compared: Sequence[Entry]
  long_rows: Mapping[str, Mapping[int, str]]

  def seeds(self, name: str) -> int:
    """Return the number of seeds with a kept line."""
    return len(of_entry(self.lines, name))

  def complete(self) -> list[str]:
    """List the compared entries with all seeds."""
    return [e.name for e in self.compared if self.seeds(e.name) >= len(SEEDS)]

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
      if row != BASELINE
      and steps > min(budgets)
      and self.seeds(name) >= len(SEEDS)
    ]

  def sides(self, measure: str = "pass@1") -> Mapping[str, int]:
    """Return the entries above (1) or below (-1) GRPO's curve, by height.

    There are none before GRPO has all seeds.
    """
    lines = self.lines
    if self.seeds(self.baseline) < len(SEEDS):
      return {}
    heights = {
      name: over_seeds(distances(lines, of_entry(lines, name), measure))
      for name in [*self.complete(), *self.long_runs()]
    }
    order = ranked([*heights], {k: v and v.mean for k, v in heights.items()})
    return {name: s for name in order if (s := compare(heights[name]))}


def answers(field: Field) -> Iterator[str]:
  """Yield what the tables say, as a list of sentences."""
  complete = field.complete()
  if not complete or field.seeds(field.baseline) < len(SEEDS):
    yield f"No entry has {len(SEEDS)} seeds yet, so nothing can be said.\n"
    return
  yield (
    f"These sentences are about the {len(complete)} entries with {len(SEEDS)} "
    f"seeds at equal budget, and {len(field.long_runs())} with more rollout "
    "steps. If no entry differed from GRPO, some "
    f"{0.025 * len(complete):.1f} of so many 95 % intervals would still lie "
    "above zero, and as many below it, for each measure.\n"
  )
  yield from _at_equal_budget(field, complete)
  yield from _at_equal_entropy(field)
  yield from _targets(field, complete)
  yield from _longer(field)
  yield from _oddities(field, complete)


def _at_equal_budget(field: Field, complete: Sequence[str]) -> Iterator[str]:
  lines, baseline = field.lines, field.baseline
  base = of_entry(lines, baseline)
  for measure, k in (("pass@1", 1), ("pass@64", 64)):
    means = {n: mean_of(lines, n, measure) for n in complete}
    order, start = ranked(complete, means), start_of(lines, measure).mean()
    best = _list(f"`{n}` ({means[n]:.3f})" for n in order[:3])
    yield (
      f"- **{measure} at equal budget:** GRPO has "
      f"{mean_of(lines, baseline, measure):.3f}, and the base {start:.3f}"
      f"{', more than any entry' if means[order[0]] < start else ''}. Highest "
      f"of the methods are {best}."
    )
    gaps = {n: difference(of_entry(lines, n), base, k) for n in complete}
    for side, word in ((1, "More"), (-1, "Less")):
      names = [n for n in ranked(complete, means) if compare(gaps[n]) == side]
      own = _list(f"`{n}`{_sampled(lines, n, baseline)}" for n in names)
      yield (
        f"- **{word} {measure} than GRPO** at equal budget, by the interval: "
        f"{own or 'none'}."
      )


def _sampled(lines: Lines, name: str, baseline: str) -> str:
  """Say how many responses an entry samples, if not as many as GRPO."""
  share = samples(lines, name, baseline)
  if abs(share - 1) < 0.01:
    return ""
  return f" (with {share:.1f} times as many responses sampled)"


def _at_equal_entropy(field: Field) -> Iterator[str]:
  sides = field.sides()
  if not sides:
    yield (
      "- **At equal entropy** nothing can be said yet, because no interval "
      "excludes zero."
    )
    return
  for measure in ("pass@1", "pass@64"):
    own_sides = field.sides(measure)
    for side, word in ((1, "Above"), (-1, "Below")):
      names = [name for name, own in own_sides.items() if own == side]
      listed = _list(
        f"`{n}` ({_height(field, n, measure):+.3f})" for n in names
      )
      note = _other_updates(names) if side > 0 else ""
      yield (
        f"- **{word} GRPO's curve** in {measure} at equal entropy, by the "
        f"interval: {listed or 'none'}.{note}"
      )
  beyond = [
    n for n in field.complete() if np.isnan(_height(field, n, "pass@1"))
  ]
  absent = [n for n in field.budgets if field.seeds(n) < len(SEEDS)]
  if beyond or absent:
    lacks = f"GRPO's curve still lacks {_names(absent)}. " if absent else ""
    yield (
      f"- **Beyond GRPO's curve**, so that they have no height: "
      f"{_names(beyond)}. {lacks}".rstrip()
    )
  lines, base = field.lines, of_entry(field.lines, field.baseline)
  farther = [
    name
    for name in field.complete()
    if sides.get(name) == -1
    and compare(difference(of_entry(lines, name), base, 1)) > 0
  ]
  if farther:
    yield (
      f"- **More pass@1 than GRPO at equal budget, and below its curve**: "
      f"{_names(farther)}. GRPO, trained for longer to the same entropy, has "
      "still more."
    )


def _height(field: Field, name: str, measure: str) -> float:
  """Return the mean height over the seeds on the curve; NaN without any."""
  own = distances(field.lines, of_entry(field.lines, name), measure)
  return finite_mean(np.array(own))


def _other_updates(names: Sequence[str]) -> str:
  """Say which entries differ from GRPO's curve in their updates as well."""
  own = [name for name in names if "updates=" in name or "epochs=" in name]
  if not own:
    return ""
  return (
    " The curve is of GRPO's own number of updates on a batch, so that the "
    f"height of {_names(own)} includes what another number brings."
  )


def _targets(field: Field, complete: Sequence[str]) -> Iterator[str]:
  lines = field.lines
  held: list[str] = []
  missed: list[str] = []
  targets: set[float] = set()
  for name in complete:
    target = target_of(lines, name)
    if target is not None:
      last = last_third(of_entry(lines, name)).mean()
      near = _is_near(last, target)
      (held if near else missed).append(
        f"`{name}` ({last:.3f} for {target:g}, {last / target - 1:+.1%})"
      )
      targets.add(target)
  if held or missed:
    free = last_third(of_entry(lines, field.baseline)).mean()
    idle = [
      f"{target:g}" for target in sorted(targets) if _is_near(free, target)
    ]
    says_nothing = (
      f", which is as near to {_list(idle)}: this target alone shows no control"
      if idle
      else ""
    )
    yield (
      f"- **A target of entropy is held** within {NEAR:.0%} on average over "
      f"the last third of training by {_list(held) or 'none'}. It is missed "
      f"by {_list(missed) or 'none'}. GRPO, which has no target, has "
      f"{free:.3f} nats there{says_nothing}. [The claims]"
      "(../claims/README.md) judge targets by the last evaluation, within ± "
      "0.03 nats."
    )


def _is_near(entropy: float, target: float) -> bool:
  """Return whether an entropy counts as a target's, both in nats."""
  return abs(entropy - target) <= NEAR * target


def _longer(field: Field) -> Iterator[str]:
  """Yield a sentence for each row with a long run that has all seeds."""
  lines, rows = field.lines, field.long_rows
  first = overtakes(lines, rows)
  for row, budgets in rows.items():
    whole = [n for n in budgets if field.seeds(budgets[n]) >= len(SEEDS)]
    steps = max(whole, default=0)
    if row == BASELINE or steps <= min(budgets):
      continue
    name, other = budgets[steps], rows[BASELINE][steps]
    own, grpo = (
      " and ".join(f"{mean_of(lines, n, m):.3f}" for m in ("pass@1", "pass@64"))
      for n in (name, other)
    )
    over = (
      f"overtakes GRPO in pass@1 at {first[row]} rollout steps"
      if row in first
      else "overtakes GRPO in pass@1 at none of the budgets that have run"
    )
    gaps = _list(
      f"{format_interval(gap)} at {n} rollout steps"
      for n in whole
      if (
        gap := difference(
          of_entry(lines, budgets[n]), of_entry(lines, rows[BASELINE][n]), 1
        )
      )
    )
    heights = " and ".join(
      f"{format_interval(height)} in {measure}"
      for measure in ("pass@1", "pass@64")
      if (
        height := over_seeds(distances(lines, of_entry(lines, name), measure))
      )
    )
    yield (
      f"- **A longer budget:** `{row}` {over}. It differs from GRPO by {gaps}. "
      f"At {steps} it has pass@1 and pass@64 of {own}, and GRPO {grpo}."
      + (f" Its height above GRPO's curve is {heights}." if heights else "")
    )


def _oddities(field: Field, complete: Sequence[str]) -> Iterator[str]:
  lines, baseline = field.lines, field.baseline
  gains = {
    n: over_seeds(
      values(of_entry(lines, n), "pass@1") - starts_of(lines, n, "pass@1")
    )
    for n in complete
  }
  worse = [n for n in complete if compare(gains[n]) < 0]
  if worse:
    listed = _list(f"`{n}` ({mean_of(lines, n, 'pass@1'):.3f})" for n in worse)
    yield (
      "- **Training did harm**: pass@1 is below the base's, by the interval, "
      f"for {listed}."
    )
  for group in twins(lines, [baseline, *complete]):
    yield (
      f"- **The same to the last digit**, for each seed: "
      f"{_list(f'`{n}`' for n in group)}. What distinguishes them never acts "
      "on this base."
    )
  costs = {n: c for n in complete if (c := cost(lines, n, baseline))}
  if costs:
    slow = [n for n in ranked([*costs], costs) if costs[n] > _SLOW]
    listed = _list(f"`{n}` (x {costs[n]:.2f})" for n in slow) or "none"
    yield (
      f"- **Time:** of the {len(costs)} entries whose time was measured, the "
      f"median takes x {np.median([*costs.values()]):.2f} of GRPO's for a "
      f"rollout step. Over x {_SLOW:g}: {listed}. Not measured: "
      f"{_names([n for n in complete if n not in costs])}."
    )
  yield ""


def _names(names: Sequence[str]) -> str:
  return _list(f"`{name}`" for name in names) or "none"


def _list(words: Iterable[str]) -> str:
  return ", ".join(words)
