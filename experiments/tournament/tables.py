"""Format the tables of the tournament's page in Markdown, row by row."""

from collections.abc import Iterator, Sequence
from typing import Any

import configs
from experiments.tournament.curve import Curve
from experiments.tournament.entries import Entry
from experiments.tournament.field import HEIGHTS, Field
from experiments.tournament.formats import (
  format_heights,
  format_interval,
  head,
  row,
  side_word,
  spread,
)
from experiments.tournament.judging import compare, over_seeds
from experiments.tournament.measures import (
  ENTROPY,
  Lines,
  finite_mean,
  mean_of,
  of_entry,
  ranked,
  samples,
  start_of,
  values,
)
from experiments.tournament.rivals import PLANES, Rival
from experiments.tournament.rule import BASELINE, SEEDS
from experiments.tournament.targets import target_of

MEASURES = (ENTROPY, "pass@1", "pass@8", "pass@64", "maj@64")
LONG_MEASURES = (ENTROPY, "pass@1", "pass@64", "maj@64")


def equal_budget(field: Field, names: Sequence[str]) -> Iterator[str]:
  """Yield the table of entries at equal budget, sorted by pass@1."""
  lines = field.lines
  yield from head(
    *("entry", "n", *MEASURES, "pass@1 - GRPO", "pass@64 - GRPO"),
    *("update", "samples", "time"),
  )
  means = {name: mean_of(lines, name, "pass@1") for name in names}
  for name in ranked(names, means):
    if not (runs := of_entry(lines, name)):
      continue
    gaps = ["", ""]
    if name != field.baseline:
      gaps = [_gap(field, name, k) for k in (1, 64)]
    flops = field.flops.get(name, 1.0 if name == field.baseline else None)
    cells = [
      f"`{name}`",
      str(len(runs)),
      *(spread(values(runs, m)) for m in MEASURES),
      *gaps,
      _times(flops),
      _times(samples(lines, name, field.baseline)),
      _times(field.times.get(name, 1.0 if name == field.baseline else None)),
    ]
    yield row(*cells)
  yield ""


def _gap(field: Field, name: str, k: int) -> str:
  """Format the difference from GRPO, with a word if all seeds decide it.

  A single pair of runs has no interval.
  """
  gap = field.gap(name, k)
  both = field.pairs(name)
  if gap is None:
    return "–"
  if both == 1:
    return f"{gap.mean:+.3f}"
  interval = gap.interval()
  word = {1: " more", -1: " less"}.get(compare(interval), "")
  return format_interval(interval) + (word if both >= len(SEEDS) else "")


def _times(ratio: float | None) -> str:
  """Format a ratio to GRPO's; a dash stands for none."""
  return "–" if ratio is None else f"x {ratio:.2f}"


def behaviour(lines: Lines, names: Sequence[str]) -> Iterator[str]:
  """Yield what the responses of the last evaluation are like, with the base's.

  A column is a measure that the task's evaluations have. Nothing is yielded for
  a task that reports no parts of its responses.

  Args:
    lines: the kept lines.
    names: the entries, in the order of the rows.
  """
  measures = {
    "response_length": "length",
    "truncated": "cut off",
    "parts/take_back": "with a take-back",
  }
  if not any("parts/take_back" in line.end for line in lines.values()):
    return
  yield "### What the responses are like\n"
  yield (
    "At the last evaluation: the mean length in tokens, the shares of "
    "responses that are cut off at the limit and that take a move back.\n"
  )
  yield from head("entry", "n", *measures.values())
  digits = [1 if m == "response_length" else 3 for m in measures]
  starts = [start_of(lines, m) for m in measures]
  if starts[0].size:
    yield row("base", str(starts[0].size), *map(spread, starts, digits))
  for name in names:
    if runs := of_entry(lines, name):
      cells = map(spread, (values(runs, m) for m in measures), digits)
      yield row(f"`{name}`", str(len(runs)), *cells)
  yield ""


def heights_table(field: Field, names: Sequence[str]) -> Iterator[str]:
  """Yield the table of heights above GRPO's curves, sorted by the first."""
  yield from head(
    *("entry", "n", "entropy", "pass@1"),
    *(f"{measure} at equal {along}" for measure, along in HEIGHTS),
  )
  first = {n: finite_mean(field.heights(n, HEIGHTS[0])) for n in names}
  for name in ranked(names, first):
    runs = of_entry(field.lines, name)
    yield row(
      *(f"`{name}`", str(len(runs))),
      *(spread(values(runs, m)) for m in (ENTROPY, "pass@1")),
      *_heights(field, name),
    )
  yield ""


def _heights(field: Field, name: str) -> Iterator[str]:
  """Format an entry's heights, with a word if all seeds decide one."""
  for which in HEIGHTS:
    own = field.heights(name, which)
    yield format_heights(own) + side_word(own)


def budget_table(field: Field) -> Iterator[str]:
  """Yield the table of GRPO's runs of all budgets, with the base.

  Each budget has its heights above the curve of the others, as far as it is
  within their range.
  """
  lines = field.lines
  budgets = field.curve_budgets()
  others = [f"{m} at equal {along}, of the others" for m, along in HEIGHTS]
  yield from head("entry", "n", *MEASURES, *others)
  starts = [start_of(lines, m) for m in MEASURES]
  if starts[0].size:
    rest = [""] * len(HEIGHTS)
    yield row("base", str(starts[0].size), *map(spread, starts), *rest)
  for name in [*dict.fromkeys([*field.budgets, *budgets])]:
    if runs := of_entry(lines, name):
      rest = [budget for budget in budgets if budget != name]
      cells = [spread(values(runs, m)) for m in MEASURES]
      own = [Curve(lines, rest, *which).heights(runs) for which in HEIGHTS]
      cells += [format_heights(x) + side_word(x) for x in own]
      yield row(f"`{name}`", str(len(runs)), *cells)
  yield ""


def long_table(field: Field) -> Iterator[str]:
  """Yield the table of longer budgets.

  Entries are compared with GRPO at equal budget, and by their heights above
  GRPO's curves, whatever the budget.
  """
  yield from head(
    *("row", "rollout steps", "n", *LONG_MEASURES),
    *("pass@1 - GRPO", "pass@64 - GRPO", "maj@64 - GRPO"),
    *(f"{measure} at equal {along}" for measure, along in HEIGHTS),
  )
  for label, budgets in field.long_rows.items():
    if not any(map(field.seeds, [*budgets.values()][1:])):
      continue  # of the common budget alone
    for steps, name in budgets.items():
      if not (runs := of_entry(field.lines, name)):
        continue
      gaps = [""] * (3 + len(HEIGHTS))
      if label != BASELINE:
        gaps = [_gap(field, name, k) for k in (1, 64)]
        gaps += [_majority_gap(field, name), *_heights(field, name)]
      cells = [spread(values(runs, m)) for m in LONG_MEASURES]
      yield row(f"`{label}`", str(steps), str(len(runs)), *cells, *gaps)
  yield ""


def _majority_gap(field: Field, name: str) -> str:
  """Format how an entry differs from GRPO in maj@64, over seeds.

  No line has the majority's answer for each prompt, so that prompts cannot be
  paired.
  """
  own, other = (
    of_entry(field.lines, n) for n in (name, field.grpo_beside(name))
  )
  seeds = [seed for seed in own if seed in other]
  gaps = [
    values({seed: own[seed]}, "maj@64") - values({seed: other[seed]}, "maj@64")
    for seed in seeds
  ]
  return format_interval(over_seeds(float(gap[0]) for gap in gaps))


def rivals_table(
  field: Field, names: Sequence[str], others: Sequence[Rival]
) -> Iterator[str]:
  """Yield heights above stronger rivals.

  Args:
    field: what is compared.
    names: the entries, in the order of the rows.
    others: the rivals.
  """
  yield from head(
    *("entry", "entropy", "pass@1"),
    *(
      f"{measure} at equal {along}, over {rival.label}"
      for rival in others
      for measure, along in PLANES
    ),
  )
  for name in names:
    runs = of_entry(field.lines, name)
    own = [
      rival.heights(field.lines, name, which)
      for rival in others
      for which in PLANES
    ]
    yield row(
      f"`{name}`",
      *(spread(values(runs, m)) for m in (ENTROPY, "pass@1")),
      *(format_heights(x) + side_word(x) for x in own),
    )
  yield ""


def names_table(lines: Lines, entries: Sequence[Entry]) -> Iterator[str]:
  """Yield what each entry is: its method, and what it changes there."""
  methods = configs.methods()
  yield from head(
    *("entry", "method", "what the method computes"),
    *("changed beyond the budget", "target"),
  )
  for entry in entries:
    if of_entry(lines, entry.name):
      changed = (
        f"`{key}={_plain(value)}`"
        for key, value in entry.settings.items()
        if key not in ("optimizer.decay_steps", "num_rollout_steps")
      )
      title = methods[entry.method].title
      link = f"[{title}](../../configs/{entry.method}.py)"
      target = target_of(lines, entry.name)
      yield row(
        *(f"`{entry.name}`", link, methods[entry.method].equation),
        ", ".join(changed),
        "" if target is None else f"{target:g} nats",
      )
  yield ""


def _plain(value: Any) -> str:
  """Return a setting's value without quotes and brackets."""
  if isinstance(value, list | tuple):
    return ",".join(map(_plain, value))
  return f"{value:g}" if isinstance(value, float) else str(value)


def missing_runs(lines: Lines, entries: Sequence[Entry]) -> Iterator[str]:
  """Yield the table of planned runs that are not finished, by their role."""
  roles = {
    "budget": "GRPO's budgets",
    "method": "methods",
    "extra": "methods with a changed setting",
    "long": "longer budgets",
    "rate": "other learning rates",
    "strength": "other strengths, seed 0",
  }
  yield from head("kind", "finished", "planned", "entries that lack seeds")
  for role, words in roles.items():
    own = [entry for entry in entries if entry.role == role]
    if not own:
      continue
    planned = sum(len(entry.seeds) for entry in own)
    lacking = {
      entry.name: seeds
      for entry in own
      if (seeds := sorted({*entry.seeds} - {*of_entry(lines, entry.name)}))
    }
    finished = planned - sum(map(len, lacking.values()))
    names = [
      f"`{name}` ({', '.join(map(str, seeds))})"
      for name, seeds in lacking.items()
    ]
    yield row(words, str(finished), str(planned), "; ".join(names) or "none")
  yield ""
