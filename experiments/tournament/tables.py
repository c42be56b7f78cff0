"""Format the tables of the tournament's page in Markdown, row by row."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

import configs
from experiments.tournament.curve import (
  ENTROPY,
  Lines,
  compare,
  difference,
  distances,
  of_entry,
  ranked,
  values,
)
from experiments.tournament.entries import BASELINE, SEEDS, Entry
from experiments.tournament.field import Field
from experiments.tournament.formats import (
  format_heights,
  format_interval,
  head,
  mean_of,
  row,
  spread,
)
from experiments.tournament.lines import Line
from experiments.tournament.targets import target_of

MEASURES = (ENTROPY, "pass@1", "pass@8", "pass@64")
# heights above GRPO's curve: (measure, what is equal)
HEIGHTS = (("pass@1", ENTROPY), ("pass@64", ENTROPY), ("pass@64", "pass@1"))
_SIDES = {1: " above", -1: " below", 0: ""}


def equal_budget(field: Field, names: Sequence[str]) -> Iterator[str]:
  """Yield the table of entries at equal budget, sorted by pass@1."""
  lines = field.lines
  yield from head(
    *("entry", "n", *MEASURES, "pass@1 - GRPO", "pass@64 - GRPO"),
    *("FLOPs", "samples", "time"),
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
      _times(cost(lines, name, field.baseline)),
    ]
    yield row(*cells)
  yield ""


def _gap(field: Field, name: str, k: int) -> str:
  """Format the difference from GRPO; a single seed has no interval."""
  gap = field.gap(name, k)
  if gap is not None and field.seeds(name) == 1:
    return f"{gap.mean:+.3f}"
  word = {1: " more", -1: " less"}.get(compare(gap), "")
  return format_interval(gap) + word


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
    "maj@64": "maj@64",
  }
  if not any("parts/take_back" in line.end for line in lines.values()):
    return
  yield "### What the responses are like\n"
  yield (
    "At the last evaluation: the mean length in tokens, the shares of "
    "responses that are cut off at the limit and that take a move back, and "
    "the accuracy of a majority vote of 64.\n"
  )
  yield from head("entry", "n", *measures.values())
  digits = [1 if m == "response_length" else 3 for m in measures]
  starts = [start_of(lines, m) for m in measures]
  yield row("base", str(starts[0].size), *map(spread, starts, digits))
  for name in names:
    if runs := of_entry(lines, name):
      cells = map(spread, (values(runs, m) for m in measures), digits)
      yield row(f"`{name}`", str(len(runs)), *cells)
  yield ""


def heights_table(
  lines: Lines, names: Sequence[str], sides: Sequence[Mapping[str, int]]
) -> Iterator[str]:
  """Yield the table of heights above GRPO's curves, sorted by the first.

  Args:
    lines: the kept lines.
    names: the entries.
    sides: for each of HEIGHTS, entry -> 1 above the curve, -1 below; the others
      are undecided.
  """
  yield from head(
    *("entry", "n", "entropy", "pass@1"),
    *(f"{measure} at equal {along}" for measure, along in HEIGHTS),
  )
  heights = {
    name: [
      np.array(distances(lines, of_entry(lines, name), *which))
      for which in HEIGHTS
    ]
    for name in names
  }
  order = ranked(names, {n: finite_mean(own[0]) for n, own in heights.items()})
  for name in order:
    runs = of_entry(lines, name)
    words = [_SIDES[own.get(name, 0)] for own in sides]
    cells = map(format_heights, heights[name])
    yield row(
      *(f"`{name}`", str(len(runs))),
      *(spread(values(runs, m)) for m in (ENTROPY, "pass@1")),
      *(cell + word for cell, word in zip(cells, words, strict=True)),
    )
  yield ""


def budget_table(lines: Lines, budgets: Sequence[str]) -> Iterator[str]:
  """Yield the table of GRPO's runs of all budgets, with the base."""
  yield from head("entry", "n", *MEASURES)
  starts = [start_of(lines, m) for m in MEASURES]
  if starts[0].size:
    yield row("base", str(starts[0].size), *map(spread, starts))
  for name in budgets:
    if runs := of_entry(lines, name):
      cells = [spread(values(runs, m)) for m in MEASURES]
      yield row(f"`{name}`", str(len(runs)), *cells)
  yield ""


def long_table(
  lines: Lines, rows: Mapping[str, Mapping[int, str]]
) -> Iterator[str]:
  """Yield the table of longer budgets.

  Entries are compared with GRPO at equal budget, and by their heights above
  GRPO's curves, whatever the budget.

  Args:
    lines: the kept lines.
    rows: row -> rollout steps -> the entry; GRPO is the first row.
  """
  yield from head(
    *("row", "rollout steps", "n", "entropy", "pass@1", "pass@64"),
    *("pass@1 - GRPO", "pass@64 - GRPO"),
    *(f"{measure} at equal {along}" for measure, along in HEIGHTS),
  )
  for label, budgets in rows.items():
    for steps, name in budgets.items():
      if not (runs := of_entry(lines, name)):
        continue
      other = of_entry(lines, rows[BASELINE][steps])
      gaps = [""] * (2 + len(HEIGHTS))
      if label != BASELINE:
        gaps = [format_interval(difference(runs, other, k)) for k in (1, 64)]
        gaps += [
          format_heights(np.array(distances(lines, runs, *which)))
          for which in HEIGHTS
        ]
      cells = [spread(values(runs, m)) for m in ("entropy", "pass@1")]
      cells += [spread(values(runs, "pass@64")), *gaps]
      yield row(f"`{label}`", str(steps), str(len(runs)), *cells)
  yield ""


def overtakes(
  lines: Lines, rows: Mapping[str, Mapping[int, str]]
) -> Mapping[str, int]:
  """Return the rows that overtake GRPO in pass@1, with the first budget.

  A row overtakes GRPO if the 95 % interval of the difference, paired by seed
  and prompt over at least two seeds, lies above zero.
  """
  first: dict[str, int] = {}
  for label, budgets in rows.items():
    for steps, name in budgets.items():
      own, other = (
        of_entry(lines, entry) for entry in (name, rows[BASELINE][steps])
      )
      common = own.keys() & other.keys()
      if label == BASELINE or label in first or len(common) < 2:
        continue
      if compare(difference(own, other, 1)) > 0:
        first[label] = steps
  return first


def strength_table(
  lines: Lines, entries: Sequence[Entry], strengths: Sequence[Entry]
) -> Iterator[str]:
  """Yield the three values of each method's main strength, with seed 0."""
  yield "Seed 0 alone, so a height has no interval.\n"
  yield from head("entry", "entropy", "pass@1", "pass@64", "height in pass@1")
  for method in dict.fromkeys(entry.method for entry in strengths):
    own = [e.name for e in entries if e.method == method and e.role != "extra"]
    for name in own:
      line = of_entry(lines, name).get(0)
      if line is not None:
        height = distances(lines, {0: line}, "pass@1")[0]
        end = line.end
        text = f"{height:+.3f}" if np.isfinite(height) else "–"
        numbers = (f"{end[m]:.3f}" for m in ("entropy", "pass@1", "pass@64"))
        yield row(f"`{name}`", *numbers, text)
  yield ""


def twins(lines: Lines, names: Sequence[str]) -> Iterator[Sequence[str]]:
  """Yield groups of entries that end alike to the last digit, seed by seed.

  Such entries differ in settings that did nothing here, or in nothing else.
  """
  groups: dict[str, list[str]] = {}
  for name in names:
    runs = of_entry(lines, name)
    ends = {s: (l.end["entropy"], l.right["counts"]) for s, l in runs.items()}
    if ends:
      groups.setdefault(repr(ends), []).append(name)
  yield from (group for group in groups.values() if len(group) > 1)


def names_table(lines: Lines, entries: Sequence[Entry]) -> Iterator[str]:
  """Yield what each entry with a line changes in its method's config."""
  methods = configs.methods()
  yield from head("entry", "method", "changed beyond the budget", "target")
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
        *(f"`{entry.name}`", link, ", ".join(changed)),
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


def cost(lines: Lines, name: str, baseline: str) -> float | None:
  """Return the seconds per rollout step relative to GRPO's.

  Both are of the fastest seed, because other programs on the machine slow runs
  down, and none up. None unless both have all seeds.
  """
  own, other = (
    [s for line in of_entry(lines, n).values() if (s := line.seconds["step"])]
    for n in (name, baseline)
  )
  if min(len(own), len(other)) < len(SEEDS):
    return None
  return min(own) / min(other)


def samples(lines: Lines, name: str, baseline: str) -> float:
  """Return the responses sampled per rollout step, relative to GRPO's."""
  own, other = (
    np.mean(
      [
        np.mean(_course(line, "dynamic_sampling/batches", absent=1.0))
        for line in of_entry(lines, n).values()
      ]
    )
    for n in (name, baseline)
  )
  return float(own / other)


def start_of(lines: Lines, measure: str) -> np.ndarray:
  """Return a measure of the base for each seed, from GRPO's runs, f64[S]."""
  own = {
    line.seed: line.start[measure]
    for line in lines.values()
    if line.method == BASELINE
  }
  return np.array([*own.values()], np.float64)


def _course(line: Line, metric: str, absent: float) -> np.ndarray:
  """Return a metric over a run, f64[K]; one value if the run lacks it."""
  return np.array(line.course.get(metric, [absent]), np.float64)


def starts_of(lines: Lines, name: str, measure: str) -> np.ndarray:
  """Return a measure before the first step of an entry's runs, f64[S]."""
  runs = of_entry(lines, name).values()
  return np.array([line.start[measure] for line in runs], np.float64)


def finite_mean(own: np.ndarray) -> float:
  """Average the finite values; NaN without any."""
  finite = own[np.isfinite(own)]
  return float(finite.mean()) if finite.size else float("nan")
