"""Say in sentences what the tournament's tables show.

Only entries with all seeds take part, because one or two say too little.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from entrojax.reporting.differences import Interval
from experiments.tournament.field import HEIGHTS, Field, Height
from experiments.tournament.formats import listed, quoted
from experiments.tournament.judging import (
  HELD,
  compare,
  discoveries,
  over_seeds,
  p_value,
  within,
)
from experiments.tournament.measures import (
  cost,
  finite_mean,
  mean_of,
  of_entry,
  ranked,
  samples,
  start_of,
  starts_of,
  steps_of,
  twins,
  values,
)
from experiments.tournament.rule import BASELINE, GENTLE, SEEDS
from experiments.tournament.targets import (
  MARGIN,
  UNDECIDED,
  says_nothing,
  verdict,
  with_targets,
)

_SIDES = {1: "more", -1: "less", 0: "undecided"}
_NAMED = 6  # entries that a sentence names at most
ALIKE = 0.02  # heights within it are on the curve
_SLOW, _DEAR = 1.2, 1.05  # times GRPO's, of a step's time and of FLOPs


def answers(field: Field) -> Iterator[str]:
  """Yield what the tables say, as a list of sentences."""
  complete = field.complete()
  if not complete or not field.is_whole(field.baseline):
    yield (
      f"GRPO or all entries lack one of the {len(SEEDS)} seeds at this budget, "
      "so nothing can be said yet.\n"
    )
    return
  yield from _pass_1(field, complete)
  yield from _pass_64(field, complete)
  yield from _one_curve(field, complete)
  yield from _trade(field)
  yield from _gentler(field)
  yield from _targets(field)
  yield from _longer(field)
  yield from _oddities(field, complete)
  yield from _costs(field, complete)


def _pass_1(field: Field, complete: Sequence[str]) -> Iterator[str]:
  lines = field.lines
  more, less = _decided(field, complete, 1)
  start = start_of(lines, "pass@1").mean()
  named = listed(
    f"`{n}` ({_mean(field, n, 'pass@1')}{_sampled(field, n)})" for n in more
  )
  yield (
    f"- **pass@1 at equal budget.** GRPO has {_mean(field, field.baseline)}, "
    f"and the base {start:.3f}. Of {len(complete)} entries, {_have(more)} "
    f"more, {_have(less)} less, and {len(complete) - len(more) - len(less)} "
    "cannot be told from GRPO."
    f"{f' More: {named}.' if more else ''}"
  )


def _pass_64(field: Field, complete: Sequence[str]) -> Iterator[str]:
  more, less = _decided(field, complete, 64)
  start = start_of(field.lines, "pass@64").mean()
  signs = [compare(_gain(field, n, "pass@64")) for n in complete]
  named = listed(
    f"`{n}` ({_mean(field, n, 'pass@64')}, with pass@1 of {_mean(field, n)})"
    for n in more[:_NAMED]
  )
  yield (
    "- **pass@64 at equal budget.** GRPO has "
    f"{_mean(field, field.baseline, 'pass@64')}, and the base {start:.3f}. Of "
    f"{len(complete)} entries, {_have(more)} more than GRPO, and {_have(less)} "
    f"less; {signs.count(1)} have more than the base, {signs.count(-1)} less, "
    f"and {signs.count(0)} cannot be told from it."
    f"{f' Most: {named}.' if more else ''}"
  )


def _gain(field: Field, name: str, measure: str) -> Interval | None:
  """Return how a measure changes over an entry's runs."""
  own = values(of_entry(field.lines, name), measure)
  return over_seeds(own - starts_of(field.lines, name, measure))


def _decided(
  field: Field, names: Sequence[str], k: int
) -> tuple[list[str], list[str]]:
  """Return the entries with more and with less pass@k than GRPO, ranked."""
  means = {n: mean_of(field.lines, n, f"pass@{k}") for n in names}
  gaps = {n: compare(field.gap(n, k)) for n in names}
  order = ranked(names, means)
  return [n for n in order if gaps[n] > 0], [n for n in order if gaps[n] < 0]


def _sampled(field: Field, name: str) -> str:
  """Say how many responses an entry samples, and what GRPO has with as many."""
  share = samples(field.lines, name, field.baseline)
  if share is None or abs(share - 1) < 0.01:
    return ""
  steps = steps_of(field.lines, field.baseline) * share
  near = min(field.budgets, key=lambda n: abs(steps_of(field.lines, n) - steps))
  return (
    f", with {share:.1f} times as many responses sampled; GRPO has "
    f"{_mean(field, near)} after {steps_of(field.lines, near)} rollout steps"
  )


def _one_curve(field: Field, complete: Sequence[str]) -> Iterator[str]:
  """Yield how entries lie to GRPO's curves at equal entropy."""
  for which in HEIGHTS[:2]:
    above, below, beyond, rest = _split(field, complete, which)
    yield (
      f"- **{which[0]} at equal entropy.** Of {len(complete)} entries, "
      f"{_lie(above)} above GRPO's curve, {_lie(below)} below, and {len(rest)} "
      f"cannot be told from it{_near(field, rest, which)}.{_outside(beyond)}"
      f"{_with_heights(field, above, which)}"
      f"{_remaining(field, [*above, *below, *rest], which)}"
      f"{_own_errors(field, which)}"
      f"{_other_pace(field, [*above, *below])}"
    )
    if long_runs := field.long_runs():
      above, below, beyond, rest = _split(field, long_runs, which)
      yield (
        f"- **{which[0]} at equal entropy, after more rollout steps.** Of "
        f"{len(long_runs)} entries, {_lie(above)} above the curve, "
        f"{_lie(below)} below, and {len(rest)} cannot be told from it."
        f"{_outside(beyond)}{_with_heights(field, above, which)}"
        f"{_with_heights(field, below, which, 'Below')}"
        f"{_other_pace(field, [*above, *below])}"
      )


def _near(field: Field, names: Sequence[str], which: Height) -> str:
  """Say how many entries are seen to be on the curve, up to ALIKE."""
  effects = [over_seeds(field.heights(n, which)) for n in names]
  near = [within(x, ALIKE) == HELD for x in effects if x]
  return (
    f"; of these, {sum(near)} are within {ALIKE:g} of it, and three seeds "
    "decide nothing about the others"
  )


def _remaining(field: Field, names: Sequence[str], which: Height) -> str:
  """Say which entries remain off the curve among so many comparisons."""
  heights = {n: field.heights(n, which) for n in names}
  p_values = {
    n: p_value(own)
    for n, own in heights.items()
    if own.size >= len(SEEDS) and np.isfinite(own).all()
  }
  remaining = discoveries(p_values)
  shown = listed(
    f"`{n}` ({heights[n].mean():+.3f})" for n in names if n in remaining
  )
  return (
    " With the correction of Benjamini and Hochberg for so many comparisons, "
    f"at 5 %, {_count([*remaining], 'differs', 'differ')}"
    f"{f': {shown}' if remaining else ''}."
  )


def _own_errors(field: Field, which: Height) -> str:
  """Say how far GRPO's own budgets lie from the curve of the others."""
  budgets = field.curve_budgets()
  means = [
    finite_mean(field.heights(n, which, [b for b in budgets if b != n]))
    for n in budgets
  ]
  errors = [abs(x) for x in means if np.isfinite(x)]
  if not errors:
    return ""
  return (
    f" GRPO's own budgets lie up to {max(errors):.3f} from the curve of the "
    "others, so smaller heights say little."
  )


def _split(
  field: Field, names: Sequence[str], which: Height
) -> tuple[list[str], list[str], list[str], list[str]]:
  """Return the entries above, below and beyond the curve, and the others."""
  means = {n: finite_mean(field.heights(n, which)) for n in names}
  sides = {n: field.side(n, which) for n in names}
  order = ranked(names, means)
  beyond = [n for n in order if not np.isfinite(means[n])]
  above, below, rest = (
    [n for n in order if sides[n] == side and n not in beyond]
    for side in (1, -1, 0)
  )
  return above, below, beyond, rest


def _outside(names: Sequence[str]) -> str:
  """Say which entries have no height."""
  if not names:
    return ""
  return (
    f" {len(names)} cannot be compared, because no run of GRPO has such an "
    f"entropy: {quoted(names)}."
  )


def _with_heights(
  field: Field, names: Sequence[str], which: Height, word: str = "Above"
) -> str:
  """List the first entries with their mean heights."""
  shown = listed(
    f"`{n}` ({finite_mean(field.heights(n, which)):+.3f})"
    for n in names[:_NAMED]
  )
  return f" {word}: {shown}." if names else ""


def _other_pace(field: Field, names: Sequence[str]) -> str:
  """Say which entries differ from GRPO's curve in how they train as well."""
  usual = _pace(field, field.baseline)
  own = [n for n in names if _pace(field, n) != usual]
  if not own:
    return ""
  return (
    " GRPO's curve is of its own number of updates on a batch and of its own "
    f"learning rate, so the heights of {quoted(own)} include what another "
    "number does."
  )


def _pace(field: Field, name: str) -> set[tuple[Any, ...]]:
  """Return updates, epochs and learning rate of an entry's runs."""
  keys = (
    *("training.updates_per_rollout", "training.num_epochs"),
    "optimizer.learning_rate",
  )
  runs = of_entry(field.lines, name).values()
  return {tuple(map(run.settings.get, keys)) for run in runs}


def _trade(field: Field) -> Iterator[str]:
  """Yield what each pass@1 costs in coverage."""
  names = [*field.complete(), *field.long_runs()]
  for which in HEIGHTS[2:]:
    above, below, _, _ = _split(field, names, which)
    yield (
      f"- **{which[0]} at equal pass@1.** Of {len(names)} entries, longer runs "
      f"included, {_have(above)} more {which[0]} than GRPO at the same pass@1, "
      f"and {_have(below)} less.{_with_heights(field, above, which, 'Most')}"
    )


def _gentler(field: Field) -> Iterator[str]:
  """Yield which entries also lie above the curve of a gentler GRPO."""
  budgets = field.row_budgets(GENTLE)
  if len(budgets) < 2:
    return
  names = field.above_a_curve()
  steps = listed(str(steps_of(field.lines, n)) for n in budgets)
  for which in (HEIGHTS[0], HEIGHTS[2]):
    own = {n: field.heights(n, which, budgets) for n in names}
    above = [n for n in names if field.side(n, which, budgets) > 0]
    shown = listed(f"`{n}` ({finite_mean(own[n]):+.3f})" for n in above)
    yield (
      f"- **{which[0]} at equal {which[1]}, above GRPO with one update on a "
      f"batch.** Of the {len(names)} entries that lie above one of GRPO's "
      "curves, "
      f"{_lie(above)} above the curve of `{GENTLE}`, which needs no control "
      f"(the base, and {steps} rollout steps)"
      f"{f': {shown}' if above else ''}."
    )


def _targets(field: Field) -> Iterator[str]:
  """Yield which targets of entropy were held."""
  names = with_targets(field)
  if not names:
    return
  verdicts = {name: verdict(field.lines, name) for name in names}
  held, missed, undecided = (
    [n for n in names if verdicts[n] == word]
    for word in ("held", "missed", UNDECIDED)
  )
  alike = [n for n in held if says_nothing(field, n)]
  note = (
    f" But GRPO, without a target, also ends within {MARGIN:g} nats of those "
    f"of {quoted(alike)}, so that holding them shows no control."
    if alike
    else ""
  )
  yield (
    f"- **A target of entropy** is held at the end by {quoted(held)}.{note} It "
    f"is missed by {quoted(missed)}."
    + (f" Undecided: {quoted(undecided)}." if undecided else "")
  )


def _longer(field: Field) -> Iterator[str]:
  """Yield whether an entry overtakes GRPO, and what it has then."""
  rows = {row: own for row, own in field.long_rows.items() if row != BASELINE}
  grpo = field.long_rows.get(BASELINE, {})
  is_compared = lambda own, steps: (
    steps in own and field.pairs(own[steps]) >= len(SEEDS)
  )
  compared = [
    steps
    for steps in list(grpo)[1:]
    if any(is_compared(own, steps) for own in rows.values())
  ]
  for steps in compared:
    names = [own[steps] for own in rows.values() if is_compared(own, steps)]
    gaps = {name: field.gap(name, 1) for name in names}
    shown = listed(
      f"`{name}` ({gap.mean:+.3f}, {_SIDES[compare(gap)]})"
      for name, gap in gaps.items()
      if gap
    )
    yield (
      f"- **pass@1 after {steps} rollout steps.** GRPO has "
      f"{_mean(field, grpo[steps])}. Other entries differ from it by: {shown}."
    )
  if compared:
    over = {
      row: steps
      for row, own in rows.items()
      for steps in reversed(compared)
      if is_compared(own, steps) and field.overtakes(own[steps])
    }
    first = listed(f"`{row}` at {n} rollout steps" for row, n in over.items())
    budgets = listed(map(str, compared))
    yield (
      "- **Overtaking GRPO in pass@1:** "
      + (f"{first}." if over else f"no entry is seen to, at {budgets} steps.")
    )


def _oddities(field: Field, complete: Sequence[str]) -> Iterator[str]:
  lines, baseline = field.lines, field.baseline
  gains = {n: _gain(field, n, "pass@1") for n in complete}
  worse = [n for n in complete if compare(gains[n]) < 0]
  lower = [n for n in complete if (g := gains[n]) and g.mean < 0]
  if lower:
    shown = listed(
      f"`{n}` ({_mean(field, n)}{'' if n in worse else ', undecided'})"
      for n in lower
    )
    yield f"- **Less pass@1 than the base** after training: {shown}."
  for group in twins(lines, [baseline, *complete]):
    yield (
      f"- **The same to the last digit**, for each seed: {quoted(group)}. What "
      "distinguishes them never acts on this base."
    )


def _costs(field: Field, complete: Sequence[str]) -> Iterator[str]:
  """Yield what deviates from the cost of GRPO's step."""
  lines, baseline = field.lines, field.baseline
  shares = {n: samples(lines, n, baseline) or 1.0 for n in complete}
  times = {n: c for n in complete if (c := cost(lines, n, baseline))}
  usual = [t for t in times.values() if t <= _SLOW]
  flops = {n: field.flops[n] for n in complete if n in field.flops}
  dear = {n: x for n, x in flops.items() if x > _DEAR}
  many = {n: x for n, x in shares.items() if x > _DEAR}
  slow = {n: x for n, x in times.items() if x > _SLOW}
  timed = (
    f" The time of a step was measured for {len(times)} of {len(complete)} "
    f"entries: x {min(usual):.2f} to {max(usual):.2f} of GRPO's"
    f"{f', but for {_ratios(slow)}' if slow else ''}."
    if usual
    else ""
  )
  yield (
    "- **Cost of a rollout step.** More FLOPs in the update than GRPO: "
    f"{_ratios(dear)}. More responses sampled: {_ratios(many)}.{timed}"
  )


def _ratios(own: Mapping[str, float]) -> str:
  return listed(f"`{n}` (x {x:.2f})" for n, x in own.items()) or "none"


def _mean(field: Field, name: str, measure: str = "pass@1") -> str:
  return f"{mean_of(field.lines, name, measure):.3f}"


def _have(names: Sequence[str]) -> str:
  return _count(names, "has", "have")


def _lie(names: Sequence[str]) -> str:
  return _count(names, "lies", "lie")


def _count(names: Sequence[str], one: str, many: str) -> str:
  """Say how many there are, with a verb."""
  if not names:
    return f"none {one}"
  return f"{len(names)} {one if len(names) == 1 else many}"
