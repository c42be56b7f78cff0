"""Say in a few sentences what the tournament's tables show.

Only entries with all seeds take part, because one or two say too little.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from experiments.tournament.families import Family
from experiments.tournament.field import HEIGHTS, Field, Height
from experiments.tournament.formats import format_interval, listed, quoted
from experiments.tournament.heated import hottest
from experiments.tournament.measures import (
  finite_mean,
  mean_of,
  of_entry,
  samples,
  start_of,
  steps_of,
)
from experiments.tournament.rivals import PLANES, Rival, rivals
from experiments.tournament.rule import BASELINE, SEEDS
from experiments.tournament.targets import (
  MARGIN,
  UNDECIDED,
  is_near_base,
  says_nothing,
  verdict,
  with_targets,
)
from experiments.tournament.temperatures import Heated, as_lines, hot_name

_NAMED = 4  # entries that a sentence names at most
ALIKE = 0.02  # heights within it are on the curve
_SLOW, _DEAR = 1.2, 1.05  # times GRPO's, of a step's time and of FLOPs


def answers(
  field: Field, heated: Sequence[Heated] = (), base: str = ""
) -> Iterator[str]:
  """Yield what the tables say, as a list of sentences.

  Args:
    field: what is compared.
    heated: the evaluations at other temperatures, of all bases.
    base: the base's name.
  """
  complete = field.complete()
  if not complete or not field.is_whole(field.baseline):
    yield (
      f"GRPO or all entries lack one of the {len(SEEDS)} seeds at this budget, "
      "so nothing can be said yet.\n"
    )
    return
  yield _pass_1(field, complete)
  yield _pass_64(field, complete)
  yield _one_curve(field, complete)
  yield from _longer_curve(field)
  yield _trade(field)
  yield from _stronger(field, [*rivals(field, heated, base)])
  yield from _overtaking(field)
  yield from _hottest(field, heated, base)
  yield from _targets(field)
  yield _costs(field, complete)


def _pass_1(field: Field, complete: Sequence[str]) -> str:
  own = field.gaps(complete, 1)
  more, less = own.on(1), own.on(-1)
  start = start_of(field.lines, "pass@1").mean()
  named = listed(
    f"`{n}` ({_mean(field, n)}{_sampled(field, n)})" for n in more[:_NAMED]
  )
  return (
    f"- **pass@1 at equal budget.** GRPO has {_mean(field, field.baseline)}, "
    f"and the base {start:.3f}. Of {len(own.own)} entries, {_have(more)} more "
    f"than GRPO, {_have(less)} less, and {_are(own.on(0))} undecided. "
    f"{_corrected(own, 'more', 'less')}{f' Most: {named}.' if more else ''}"
  )


def _pass_64(field: Field, complete: Sequence[str]) -> str:
  own = field.gaps(complete, 64)
  more, less = own.on(1), own.on(-1)
  start = start_of(field.lines, "pass@64").mean()
  gains = field.gains(complete, "pass@64")
  named = listed(
    f"`{n}` ({_mean(field, n, 'pass@64')}, with {_mean(field, n)} in pass@1)"
    for n in more[:_NAMED]
  )
  return (
    "- **pass@64 at equal budget.** GRPO has "
    f"{_mean(field, field.baseline, 'pass@64')}, and the base {start:.3f}. Of "
    f"{len(own.own)} entries, {_have(more)} more than GRPO, {_have(less)} "
    f"less, and {_are(own.on(0))} undecided. {_corrected(own, 'more', 'less')}"
    f" {_have(gains.on(1))} more than the base, {_have(gains.on(-1))} less."
    f"{f' Most: {named}.' if more else ''}"
  )


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


def _one_curve(field: Field, complete: Sequence[str]) -> str:
  """Say how entries of the common budget lie to GRPO's curve."""
  first, second = (field.above(complete, which) for which in HEIGHTS[:2])
  undecided = first.on(0)
  near = [name for name in first.within(ALIKE) if name in undecided]
  outside = (
    f" {_are(first.absent)} not counted, because at least one seed's entropy "
    "is outside of its curve."
    if first.absent
    else ""
  )
  return (
    f"- **One curve or many?** At equal entropy, {len(first.on(1))} of "
    f"{len(first.own)} entries {'lies' if len(first.on(1)) == 1 else 'lie'} "
    f"above GRPO's curve in pass@1, {len(first.on(-1))} below, and "
    f"{_are(undecided)} undecided; of these, {_are(near)} seen to be within "
    f"{ALIKE:g} of it.{outside} "
    f"{_corrected(first, 'above', 'below', named=True)}"
    " In pass@64, with the correction: "
    f"{len(second.remaining(1))} above and {len(second.remaining(-1))} below."
    f"{_own_errors(field, HEIGHTS[0])}"
    f"{_other_pace(field, first.remaining(1))}"
  )


def _longer_curve(field: Field) -> Iterator[str]:
  """Yield how longer runs lie to GRPO's curve."""
  names = field.long_runs()
  if not names:
    return
  own = field.above(names, HEIGHTS[0])
  yield (
    f"- **The same after more rollout steps.** {len(own.on(1))} of "
    f"{len(own.own)} longer runs {'lies' if len(own.on(1)) == 1 else 'lie'} "
    f"above the curve in pass@1 at equal entropy, and {len(own.on(-1))} below. "
    f"{_corrected(own, 'above', 'below', named=True)}"
    f"{_other_pace(field, own.remaining(1))}"
  )


def _trade(field: Field) -> str:
  """Say what each pass@1 costs in coverage."""
  names = [*field.complete(), *field.long_runs()]
  texts = []
  for which in HEIGHTS[2:]:
    own = field.above(names, which)
    texts.append(
      f"{len(own.on(1))} of {len(own.own)} entries in the curve's range have "
      f"more {which[0]} than GRPO, and {len(own.on(-1))} less (with the "
      f"correction "
      f"{len(own.remaining(1))} and {len(own.remaining(-1))})"
    )
  return (
    "- **Coverage at equal pass@1**, with the longer runs. "
    f"{texts[0]}; {texts[1]}."
  )


def _stronger(field: Field, others: Sequence[Rival]) -> Iterator[str]:
  """Yield which entries also lie above stronger rivals."""
  names = field.above_a_curve()
  if not names or not others:
    return
  yield (
    f"- **Stronger rivals.** The {len(names)} entries above one of GRPO's "
    "curves are also compared with GRPO as it keeps entropy without control:\n"
    + "\n".join(f"  - {_over(field, names, rival)}" for rival in others)
  )


def _over(field: Field, names: Sequence[str], rival: Rival) -> str:
  """Say which entries lie above a rival, in both planes."""
  texts = []
  for which in PLANES:
    own = rival.family(field.lines, names, which)
    above = own.on(1)
    shown = listed(f"`{n}` {own.own[n].mean:+.3f}" for n in above[:_NAMED])
    more = ", ..." if len(above) > _NAMED else ""
    texts.append(
      f"{len(above)} in {which[0]} at equal {which[1]}"
      f"{f' ({shown}{more})' if above else ''}"
    )
  return f"Above {rival.words}: {' and '.join(texts)}."


def _overtaking(field: Field) -> Iterator[str]:
  """Yield whether an entry has more pass@1 than GRPO after more steps."""
  rows = {row: own for row, own in field.long_rows.items() if row != BASELINE}
  compared: dict[int, list[str]] = {}
  for own in rows.values():
    for steps, name in list(own.items())[1:]:
      if field.pairs(name) >= len(SEEDS):
        compared.setdefault(steps, []).append(name)
  if not compared:
    return
  names = [n for own in compared.values() for n in own]
  free = [n for n in names if _is_grpo(field, n)]
  texts = []
  for steps, names in sorted(compared.items()):
    controlled = [n for n in names if n not in free]
    if not controlled:
      continue
    over = [n for n in controlled if field.overtakes(n)]
    texts.append(
      f"{len(over)} of {len(controlled)} after {steps} rollout steps"
      + (f" ({quoted(over)})" if over else "")
    )
  methods = f" of other methods, {listed(texts)}." if texts else ""
  yield (
    f"- **Overtaking GRPO in pass@1 after more rollout steps:**{methods}"
    f"{_uncontrolled(field, [*filter(field.overtakes, free)])}"
  )


def _uncontrolled(field: Field, names: Sequence[str]) -> str:
  """Say which other GRPOs have more pass@1 than GRPO after as many steps."""
  shown = listed(
    f"`{n}` (by {format_interval(gap.interval())})"
    for n in names
    if (gap := field.gap(n, 1)) is not None
  )
  return f" Of other GRPOs: {shown}." if names else ""


def _is_grpo(field: Field, name: str) -> bool:
  """Return whether an entry is GRPO with another setting."""
  runs = of_entry(field.lines, name).values()
  return all(line.method == BASELINE for line in runs)


def _hottest(
  field: Field, heated: Sequence[Heated], base: str
) -> Iterator[str]:
  """Yield the most pass@1 at any temperature."""
  if best := hottest(field, heated, base):
    name, temperature = best
    lines = as_lines(field.lines, heated, base)
    one, many = (
      mean_of(lines, hot_name(name, temperature), f"pass@{k}") for k in (1, 64)
    )
    yield (
      f"- **The most pass@1 at any sampling temperature:** `{name}` at "
      f"{temperature:g} ({one:.3f}, with {many:.3f} in pass@64)."
    )


def _targets(field: Field) -> Iterator[str]:
  """Yield which targets of entropy were held."""
  names = with_targets(field)
  if not names:
    return
  verdicts = {name: verdict(field.lines, name) for name in names}
  all_held = [n for n in names if verdicts[n] == "held"]
  idle = [n for n in all_held if says_nothing(field, n)]
  near = [n for n in all_held if n not in idle and is_near_base(field.lines, n)]
  parts = {
    "Held": [n for n in all_held if n not in (*idle, *near)],
    f"Held, but the target is within {MARGIN:g} nats of the base": near,
    f"Held, but GRPO also ends within {MARGIN:g} nats of it": idle,
    "Missed": [n for n in names if verdicts[n] == "missed"],
    "Undecided": [n for n in names if verdicts[n] == UNDECIDED],
  }
  yield "- **A target of entropy, at the end.** " + " ".join(
    f"{words}: {quoted(own)}." for words, own in parts.items() if own
  )


def _costs(field: Field, complete: Sequence[str]) -> str:
  """Say what deviates from the cost of GRPO's step."""
  lines, baseline = field.lines, field.baseline
  shares = {n: samples(lines, n, baseline) or 1.0 for n in complete}
  times = {n: field.times[n] for n in complete if n in field.times}
  usual = [t for t in times.values() if t <= _SLOW]
  by_flops: dict[float, list[str]] = {}
  for n in complete:
    if (x := round(field.flops.get(n, 1.0), 2)) > _DEAR:
      by_flops.setdefault(x, []).append(n)
  dear = "; ".join(
    f"x {x:.2f} for {quoted(by_flops[x])}" for x in sorted(by_flops)
  )
  many = [f"`{n}` (x {x:.2f})" for n, x in shares.items() if x > _DEAR]
  slow = [f"`{n}` (x {x:.2f})" for n, x in times.items() if x > _SLOW]
  timed = (
    f" {len(times)} of {len(complete)} entries were timed: a rollout step of "
    f"{len(usual)} takes x {min(usual):.2f} to {max(usual):.2f} of GRPO's time"
    f"{f', and longer for {listed(slow)}' if slow else ''}."
    if usual
    else ""
  )
  return (
    "- **Cost.** FLOPs of an update: as GRPO's"
    f"{f', but {dear}' if dear else ''}. More responses sampled: "
    f"{listed(many) or 'none'}.{timed}"
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


def _other_pace(field: Field, names: Sequence[str]) -> str:
  """Say which entries differ from GRPO's curve in how they train as well."""
  usual = _pace(field, field.baseline)
  own = [n for n in names if _pace(field, n) != usual]
  if not own:
    return ""
  return (
    f" Of the entries above, {quoted(own)} also differ from GRPO in the "
    "learning rate or in the number of updates or epochs."
  )


def _pace(field: Field, name: str) -> set[tuple[Any, ...]]:
  """Return updates, epochs and learning rate of an entry's runs."""
  keys = (
    *("training.updates_per_rollout", "training.num_epochs"),
    "optimizer.learning_rate",
  )
  runs = of_entry(field.lines, name).values()
  return {tuple(map(run.settings.get, keys)) for run in runs}


def _corrected(
  own: Family, more: str, less: str, *, named: bool = False
) -> str:
  """Say which differences there are with the correction.

  Args:
    own: the differences.
    more: the word for one above zero.
    less: the word for one below zero.
    named: whether those above zero are named, with their means.
  """
  above = own.remaining(1)
  shown = listed(f"`{n}` {own.own[n].mean:+.3f}" for n in above)
  return (
    f"With the correction for so many comparisons: {len(above)} {more}"
    f"{f' ({shown})' if named and above else ''}, "
    f"{len(own.remaining(-1))} {less}{_with_own_variances(own)}."
  )


def _with_own_variances(own: Family) -> str:
  """Say what remains without shrunk variances, if it is something else."""
  both = [len(own.remaining(side)) for side in (1, -1)]
  alone = [len(own.remaining(side, shrunk=False)) for side in (1, -1)]
  if both == alone:
    return ""
  return f"; with each entry's own variance, {alone[0]} and {alone[1]}"


def _mean(field: Field, name: str, measure: str = "pass@1") -> str:
  return f"{mean_of(field.lines, name, measure):.3f}"


def _have(names: Sequence[str]) -> str:
  return f"{len(names)} {'has' if len(names) == 1 else 'have'}"


def _are(names: Sequence[str]) -> str:
  return f"{len(names)} {'is' if len(names) == 1 else 'are'}"
