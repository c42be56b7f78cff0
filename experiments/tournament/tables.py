"""Format the tables of the tournament's page in Markdown, row by row."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

import configs
from configs import default
from entrojax.reporting.differences import Interval
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
from experiments.tournament.lines import Line

MEASURES = ("entropy", "pass@1", "pass@8", "pass@64")


def equal_budget(
  lines: Lines, names: Sequence[str], baseline: str
) -> Iterator[str]:
  """Yield the table of all entries, sorted by pass@1."""
  yield from _head(
    *("entry", "n", *MEASURES, "pass@1 - GRPO", "pass@64 - GRPO"),
    *("samples", "time"),
  )
  other = of_entry(lines, baseline)
  means = {name: mean_of(lines, name, "pass@1") for name in names}
  for name in ranked(names, means):
    if not (runs := of_entry(lines, name)):
      continue
    gaps = ["", ""]
    if name != baseline:
      gaps = [format_interval(difference(runs, other, k)) for k in (1, 64)]
    ratio = cost(lines, name, baseline)
    cells = [
      f"`{name}`",
      str(len(runs)),
      *(_spread(values(runs, m)) for m in MEASURES),
      *gaps,
      f"x {samples(lines, name, baseline):.2f}",
      "–" if ratio is None else f"x {ratio:.2f}",
    ]
    yield row(*cells)
  yield ""


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
  yield from _head("entry", "n", *measures.values())
  digits = [1 if m == "response_length" else 3 for m in measures]
  starts = [start_of(lines, m) for m in measures]
  yield row("base", str(starts[0].size), *map(_spread, starts, digits))
  for name in names:
    if runs := of_entry(lines, name):
      cells = map(_spread, (values(runs, m) for m in measures), digits)
      yield row(f"`{name}`", str(len(runs)), *cells)
  yield ""


def equal_entropy(
  lines: Lines, names: Sequence[str], sides: Mapping[str, int]
) -> Iterator[str]:
  """Yield the table of heights above GRPO's curve, sorted by pass@1's.

  Args:
    lines: the kept lines.
    names: the entries.
    sides: entry -> 1 above the curve, -1 below; the others are undecided.
  """
  yield from _head(
    *("entry", "n", "entropy", "height in pass@1", "height in pass@64", "lies")
  )
  heights = {
    name: {
      m: np.array(distances(lines, of_entry(lines, name), m))
      for m in ("pass@1", "pass@64")
    }
    for name in names
  }
  order = ranked(
    names, {n: finite_mean(own["pass@1"]) for n, own in heights.items()}
  )
  for name in order:
    runs = of_entry(lines, name)
    one, many = heights[name].values()
    side = {1: "above", -1: "below", 0: ""}[sides.get(name, 0)]
    entropy = _spread(values(runs, "entropy"))
    yield row(
      *(f"`{name}`", str(len(runs)), entropy),
      *(_height(one), _height(many), side),
    )
  yield ""


def budget_table(lines: Lines, budgets: Sequence[str]) -> Iterator[str]:
  """Yield the table of GRPO's runs of all budgets, with the base."""
  yield from _head("entry", "n", *MEASURES)
  starts = [start_of(lines, m) for m in MEASURES]
  if starts[0].size:
    yield row("base", str(starts[0].size), *map(_spread, starts))
  for name in budgets:
    if runs := of_entry(lines, name):
      cells = [_spread(values(runs, m)) for m in MEASURES]
      yield row(f"`{name}`", str(len(runs)), *cells)
  yield ""


def long_table(
  lines: Lines, rows: Mapping[str, Mapping[int, str]]
) -> Iterator[str]:
  """Yield the table of longer budgets.

  Entries are compared with GRPO at equal budget, and by their height above
  GRPO's curve at equal entropy, whatever the budget.

  Args:
    lines: the kept lines.
    rows: row -> rollout steps -> the entry; GRPO is the first row.
  """
  yield from _head(
    *("row", "rollout steps", "n", "entropy", "pass@1", "pass@64"),
    *("pass@1 - GRPO", "pass@64 - GRPO", "height in pass@1"),
    "height in pass@64",
  )
  for label, budgets in rows.items():
    for steps, name in budgets.items():
      if not (runs := of_entry(lines, name)):
        continue
      other = of_entry(lines, rows[BASELINE][steps])
      gaps = [""] * 4
      if label != BASELINE:
        gaps = [format_interval(difference(runs, other, k)) for k in (1, 64)]
        gaps += [
          _height(np.array(distances(lines, runs, m)))
          for m in ("pass@1", "pass@64")
        ]
      cells = [_spread(values(runs, m)) for m in ("entropy", "pass@1")]
      cells += [_spread(values(runs, "pass@64")), *gaps]
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
  yield from _head("entry", "entropy", "pass@1", "pass@64", "height in pass@1")
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


def held_targets(lines: Lines, targets: Mapping[str, float]) -> Iterator[str]:
  """Yield the table of the entropies that entries with a target have held.

  Args:
    lines: the kept lines.
    targets: the names of the entries -> their targets, nats.
  """
  yield (
    "The last third is the mean over the rollout steps of the last third of "
    "training. The evaluation at the end is on held-out prompts; the claims "
    "judge a target by it, with another margin.\n"
  )
  yield from _head(
    *("target", "entry", "n", "last third", "distance from the target"),
    "at the evaluation",
    *("pass@1", "pass@64"),
  )
  for name, target in targets.items():
    if runs := of_entry(lines, name):
      last = last_third(runs)
      off = (last.mean() - target) / target
      cells = [
        f"{target:g}",
        f"`{name}`",
        str(len(runs)),
        _spread(last),
        f"{off:+.1%}",
        *(_spread(values(runs, m)) for m in ("entropy", "pass@1", "pass@64")),
      ]
      yield row(*cells)
  yield ""


def last_third(runs: Mapping[int, Line]) -> np.ndarray:
  """Return the entropy over the last third of each run, nats, f64[seeds]."""
  courses = [np.array(x.course["actor/entropy"], float) for x in runs.values()]
  return np.array([course[-(len(course) // 3) :].mean() for course in courses])


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
  yield from _head("entry", "method", "changed beyond the budget", "target")
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
  """Yield a sentence about the runs without a line."""
  gaps = []
  for entry in entries:
    own = of_entry(lines, entry.name)
    seeds = [str(seed) for seed in entry.seeds if seed not in own]
    if seeds:
      gaps.append(f"`{entry.name}` ({', '.join(seeds)})")
  text = f"Entry, with its seeds: {'; '.join(gaps)}." if gaps else "None."
  yield f"{text}\n"


def target_of(lines: Lines, name: str) -> float | None:
  """Return the constant target of entropy of an entry's runs; None without.

  Only targets that a controller, DCPO or the projection is to hold count.
  """
  for line in of_entry(lines, name).values():
    for key in ("control.target", "projection.target", "dcpo.target"):
      if isinstance(value := line.settings.get(key), int | float):
        return float(value)
    if line.method == "dcpo":  # a line has only what differs from the default
      return float(default.get_config().dcpo.target)
  return None


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


def mean_of(lines: Lines, name: str, measure: str) -> float:
  measured = values(of_entry(lines, name), measure)
  return float(measured.mean()) if measured.size else float("nan")


def finite_mean(own: np.ndarray) -> float:
  """Average the finite values; NaN without any."""
  finite = own[np.isfinite(own)]
  return float(finite.mean()) if finite.size else float("nan")


def _height(own: np.ndarray) -> str:
  """Format heights over seeds; a single one has no interval."""
  finite = own[np.isfinite(own)]
  if finite.size == 1:
    text = f"{finite[0]:+.3f}"
  else:
    text = format_interval(over_seeds(own))
  if 0 < finite.size < own.size:
    text += f" ({finite.size} of {own.size} seeds)"
  return text


def _spread(own: np.ndarray, digits: int = 3) -> str:
  """Format mean ± standard deviation over seeds."""
  if own.size < 2:
    return f"{own.mean():.{digits}f}"
  return f"{own.mean():.{digits}f} ± {own.std(ddof=1):.{digits}f}"


def format_interval(interval: Interval | None) -> str:
  """Format a mean with its interval; a dash stands for none."""
  if interval is None:
    return "–"
  mean, low, high = interval
  return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"


def _head(*titles: str) -> Iterator[str]:
  """Yield the head of a table."""
  yield row(*titles)
  yield f"|{' --- |' * len(titles)}"


def row(*cells: str) -> str:
  """Return a row of a table."""
  return f"| {' | '.join(cells)} |"
