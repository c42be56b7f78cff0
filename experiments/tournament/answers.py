"""Say in sentences what the tournament's tables show.

Only entries with all seeds take part, because one or two say too little.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from experiments.tournament.curve import (
  ENTROPY,
  compare,
  difference,
  distances,
  of_entry,
  over_seeds,
  ranked,
  values,
)
from experiments.tournament.entries import BASELINE, SEEDS
from experiments.tournament.field import Field
from experiments.tournament.formats import listed, mean_of, quoted
from experiments.tournament.tables import (
  cost,
  finite_mean,
  overtakes,
  samples,
  start_of,
  starts_of,
  twins,
)
from experiments.tournament.targets import (
  says_nothing,
  verdict,
  with_targets,
)

_NAMED = 6  # entries that a sentence names at most
_SLOW, _DEAR = 1.2, 1.05  # times GRPO's, of a step's time and of FLOPs


def answers(field: Field) -> Iterator[str]:
  """Yield what the tables say, as a list of sentences."""
  complete = field.complete()
  if not complete or not field.is_whole(field.baseline):
    yield f"No entry has {len(SEEDS)} seeds yet, so nothing can be said.\n"
    return
  yield from _pass_1(field, complete)
  yield from _pass_64(field, complete)
  yield from _one_curve(field, complete)
  yield from _trade(field)
  yield from _targets(field)
  yield from _longer(field)
  yield from _oddities(field, complete)
  yield from _costs(field, complete)
  yield ""


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
  lines = field.lines
  more, less = _decided(field, complete, 64)
  start = start_of(lines, "pass@64").mean()
  best = max(mean_of(lines, n, "pass@64") for n in complete)
  named = listed(
    f"`{n}` ({_mean(field, n, 'pass@64')}, with pass@1 of {_mean(field, n)})"
    for n in more[:_NAMED]
  )
  yield (
    "- **pass@64 at equal budget.** GRPO has "
    f"{_mean(field, field.baseline, 'pass@64')}, and the base {start:.3f}"
    f"{', more than any entry' if best < start else ''}. Of the entries, "
    f"{_have(more)} more than GRPO, and {_have(less)} less."
    f"{f' Most: {named}.' if more else ''}"
  )


def _decided(
  field: Field, names: Sequence[str], k: int
) -> tuple[list[str], list[str]]:
  """Return the entries with more and with less pass@k than GRPO, by height."""
  means = {n: mean_of(field.lines, n, f"pass@{k}") for n in names}
  gaps = {n: compare(field.gap(n, k)) for n in names}
  order = ranked(names, means)
  return [n for n in order if gaps[n] > 0], [n for n in order if gaps[n] < 0]


def _sampled(field: Field, name: str) -> str:
  """Say how many responses an entry samples, and what GRPO has with as many."""
  share = samples(field.lines, name, field.baseline)
  if abs(share - 1) < 0.01:
    return ""
  steps = _steps(field, field.baseline) * share
  near = min(field.budgets, key=lambda n: abs(_steps(field, n) - steps))
  return (
    f", with {share:.1f} times as many responses sampled; GRPO has "
    f"{_mean(field, near)} after {_steps(field, near)} rollout steps"
  )


def _steps(field: Field, name: str) -> int:
  """Return the rollout steps of an entry's runs."""
  runs = of_entry(field.lines, name).values()
  return next((line.steps for line in runs), 0)


def _one_curve(field: Field, complete: Sequence[str]) -> Iterator[str]:
  long_runs = set(field.long_runs())
  for measure in ("pass@1", "pass@64"):
    sides = field.sides(measure)
    short = {n: side for n, side in sides.items() if n not in long_runs}
    beyond = [n for n in complete if np.isnan(_height(field, n, measure))]
    above, below = ([n for n, s in short.items() if s == x] for x in (1, -1))
    rest = len(complete) - len(short) - len(beyond)
    yield (
      f"- **{measure} at equal entropy.** Of {len(complete)} entries, "
      f"{_lie(above)} above GRPO's curve, {_lie(below)} below, and {rest} "
      "cannot be told from it."
      f"{_outside(beyond) if measure == 'pass@1' else ''}"
      f"{_with_heights(field, above, measure)}"
      f"{_other_updates([*above, *below]) if measure == 'pass@1' else ''}"
    )
    longer = [n for n, side in sides.items() if n in long_runs and side > 0]
    if longer:
      yield (
        f"- **With more rollout steps**, of {len(long_runs)} controlled "
        f"entries {_lie(longer)} above the curve in {measure}: "
        f"{_heights(field, longer, measure)}."
      )


def _outside(names: Sequence[str]) -> str:
  """Say which entries have no height."""
  if not names:
    return ""
  return (
    f" {len(names)} ended at an entropy that no run of GRPO has, so that they "
    f"cannot be compared: {quoted(names)}."
  )


def _with_heights(field: Field, names: Sequence[str], measure: str) -> str:
  shown = _heights(field, names[:_NAMED], measure)
  return f" Above: {shown}." if names else ""


def _heights(
  field: Field, names: Sequence[str], measure: str, along: str = ENTROPY
) -> str:
  return listed(
    f"`{n}` ({_height(field, n, measure, along):+.3f})" for n in names
  )


def _height(
  field: Field, name: str, measure: str, along: str = ENTROPY
) -> float:
  """Return the mean height over the seeds on the curve; NaN without any."""
  runs = of_entry(field.lines, name)
  return finite_mean(np.array(distances(field.lines, runs, measure, along)))


def _other_updates(names: Sequence[str]) -> str:
  """Say which entries differ from GRPO's curve in their updates as well."""
  own = [n for n in names if "updates=" in n or "epochs=" in n]
  if not own:
    return ""
  return (
    " GRPO's curve is of its own number of updates on a batch, so the heights "
    f"of {quoted(own)} include what another number does."
  )


def _trade(field: Field) -> Iterator[str]:
  """Yield what each pass@1 costs in pass@64."""
  sides = field.sides("pass@64", "pass@1")
  above, below = ([n for n, s in sides.items() if s == x] for x in (1, -1))
  shown = _heights(field, above[:_NAMED], "pass@64", "pass@1")
  yield (
    "- **pass@64 at equal pass@1.** Of all entries, longer runs included, "
    f"{_have(above)} more pass@64 than GRPO at the same pass@1, and "
    f"{_have(below)} less."
    f"{f' Most: {shown}.' if above else ''}"
  )


def _targets(field: Field) -> Iterator[str]:
  names = with_targets(field)
  if not names:
    return
  by_verdict: Mapping[str, list[str]] = {
    "held": [],
    "missed": [],
    "undecided": [],
  }
  for name in names:
    by_verdict[verdict(field.lines, name)].append(name)
  held = by_verdict["held"]
  alike = [n for n in held if says_nothing(field, n)]
  note = (
    f" But GRPO, without a target, ends as near to the targets of "
    f"{quoted(alike)}, so that holding them shows no control."
    if alike
    else ""
  )
  undecided = (
    f" Undecided: {quoted(by_verdict['undecided'])}."
    if by_verdict["undecided"]
    else ""
  )
  yield (
    f"- **A target of entropy** is held at the end by {quoted(held)}.{note} It "
    f"is missed by {quoted(by_verdict['missed'])}.{undecided}"
  )


def _longer(field: Field) -> Iterator[str]:
  """Yield whether a controlled run overtakes GRPO, and what it has then."""
  rows = field.long_rows
  first = overtakes(field.lines, rows)
  for steps in sorted({n for budgets in rows.values() for n in budgets}):
    grpo = rows[BASELINE][steps]
    names = [
      own[steps]
      for row, own in rows.items()
      if row != BASELINE and field.is_whole(own[steps])
    ]
    if not names or not field.is_whole(grpo) or steps == min(rows[BASELINE]):
      continue
    base = of_entry(field.lines, grpo)
    gaps = {n: difference(of_entry(field.lines, n), base, 1) for n in names}
    shown = listed(
      f"`{n}` ({gap.mean:+.3f}{_word(compare(gap))})"
      for n, gap in gaps.items()
      if gap
    )
    yield (
      f"- **pass@1 after {steps} rollout steps.** GRPO has {_mean(field, grpo)}"
      f". The controlled runs differ from it by: {shown}."
    )
  if any(map(field.seeds, field.long_runs())):
    over = listed(f"`{row}` at {steps}" for row, steps in first.items())
    yield (
      "- **Overtaking GRPO in pass@1:** "
      + (
        f"{over} rollout steps."
        if over
        else "no controlled entry does so, at any budget that has run."
      )
    )


def _word(side: int) -> str:
  return {1: ", more", -1: ", less"}.get(side, ", undecided")


def _oddities(field: Field, complete: Sequence[str]) -> Iterator[str]:
  lines, baseline = field.lines, field.baseline
  gains = {
    n: over_seeds(
      values(of_entry(lines, n), "pass@1") - starts_of(lines, n, "pass@1")
    )
    for n in complete
  }
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
  lines = field.lines
  dear = [n for n in complete if field.flops.get(n, 1.0) > _DEAR]
  many = [n for n in complete if samples(lines, n, field.baseline) > _DEAR]
  times = {n: c for n in complete if (c := cost(lines, n, field.baseline))}
  flops = listed(f"`{n}` (x {field.flops[n]:.2f})" for n in dear)
  sampled = listed(
    f"`{n}` (x {samples(lines, n, field.baseline):.1f})" for n in many
  )
  slow = listed(f"`{n}` (x {t:.2f})" for n, t in times.items() if t > _SLOW)
  usual = [t for t in times.values() if t <= _SLOW]
  yield (
    f"- **Cost of a rollout step.** More FLOPs in the update than GRPO: "
    f"{flops or 'none'}. More responses sampled: {sampled or 'none'}."
    + (
      f" The time of a step was measured for {len(times)} of {len(complete)} "
      f"entries: x {min(usual):.2f} to {max(usual):.2f} of GRPO's"
      f"{f', but for {slow}' if slow else ''}."
      if usual
      else ""
    )
  )


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
