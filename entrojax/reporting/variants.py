"""Put runs that differ only by their seed together.

A report compares variants: runs with equal settings and different seeds are one
variant, with a mean and a spread over its seeds. Settings that do not change
what is learned, such as how often a checkpoint is saved, do not tell variants
apart. A run without a config.json is a variant of its own.
"""

from collections import Counter
from collections.abc import Sequence
import json
import re
from typing import Any, NamedTuple

import numpy as np

from entrojax.reporting.run_logs import RunLog, series
from entrojax.system.workdir import concerns, flatten

# sections and settings that do not tell variants apart
_SAME = (
  *("seed", "checkpoint", "log", "ledger", "alarms", "faults", "mesh"),
  "evaluation.token_samples",
)
_BEFORE_SEED = re.compile(r"(?:(?:^|[\W_]+)(?:seeds?|s)?[\W_]*)?\d*$")


class Variant(NamedTuple):
  """Runs that differ only by their seed."""

  name: str
  runs: tuple[RunLog, ...]  # in ascending order of their seeds

  @property
  def task(self) -> str:
    """The name and level of the task, the same for all runs; "" if unknown."""
    return self.runs[0].task

  def has(self, metric: str) -> bool:
    """Return True if any run logged the metric; * stands for any text."""
    return any(run.has(metric) for run in self.runs)


class Band(NamedTuple):
  """A metric of a variant over the optimizer steps, or over another axis."""

  x: np.ndarray  # [K] ascending
  mean: np.ndarray  # [K], over the seeds that have a value
  low: np.ndarray  # [K], the lowest seed
  high: np.ndarray  # [K], the highest seed
  seeds: np.ndarray  # i64[K], the number of seeds that have a value


def group_runs(runs: Sequence[RunLog]) -> list[Variant]:
  """Put runs that differ only by their seed together, in the order of runs.

  Runs that share settings and seed, as before and after a change of the code,
  are different variants: by their names without the seed or, if that does not
  tell them apart, each on its own.
  """
  groups: dict[str, list[RunLog]] = {}
  for number, run in enumerate(runs):
    kept = {
      key: value
      for key, value in flatten(run.config).items()
      if not concerns(key, _SAME)
    }
    key = json.dumps(kept, sort_keys=True) if kept else f"run {number}"
    groups.setdefault(key, []).append(run)
  apart = [part for group in groups.values() for part in _split(group)]
  by_seed = [
    tuple(sorted(group, key=lambda run: run.seed or 0)) for group in apart
  ]
  names = [_common_name([run.name for run in group]) for group in by_seed]
  counts = Counter(names)
  return [
    Variant(name if name and counts[name] == 1 else _listed(group), group)
    for name, group in zip(names, by_seed, strict=True)
  ]


def _split(group: list[RunLog]) -> list[list[RunLog]]:
  """Split runs of equal settings until no two of a part share their seed."""
  if _seeds_differ(group):
    return [group]
  parts: dict[str, list[RunLog]] = {}
  for run in group:
    parts.setdefault(_BEFORE_SEED.sub("", run.name), []).append(run)
  return [
    own
    for part in parts.values()
    for own in ([part] if _seeds_differ(part) else [[run] for run in part])
  ]


def _seeds_differ(group: Sequence[RunLog]) -> bool:
  return len({run.seed for run in group}) == len(group)


def differing_settings(variants: Sequence[Variant]) -> dict[str, list[Any]]:
  """Return the settings in which variants differ.

  Returns:
    'section.key' -> the value of each variant, None where it lacks the setting.
    Variants without a config.json count for nothing and have None.
  """
  settings = [flatten(variant.runs[0].config) for variant in variants]
  configs = [leaves for leaves in settings if leaves]
  keys = sorted(
    key
    for key in set().union(*configs)
    if not concerns(key, _SAME)
    and any(leaves.get(key) != configs[0].get(key) for leaves in configs)
  )
  return {key: [leaves.get(key) for leaves in settings] for key in keys}


def metric_band(
  variant: Variant, metric: str, *, smoothing: float = 0.0
) -> Band:
  """Return a metric of a variant over the optimizer steps.

  Args:
    variant: its runs may have logged different steps.
    metric: its name in metrics.jsonl.
    smoothing: the window of each run's running mean, as a share of the run; 0:
      none.
  """
  curves = []
  for run in variant.runs:
    steps, values = series(run, metric)
    curves.append((steps, running_mean(values, round(smoothing * values.size))))
  return band(curves)


def band(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> Band:
  """Return the mean and the range of curves at each x that any of them has.

  Args:
    curves: x [K] and y [K] of each seed; NaN = no value.
  """
  x = np.unique(np.concatenate([[], *(x for x, _ in curves)]))
  values = np.full((len(curves), x.size), np.nan)
  for row, (own_x, own_y) in zip(values, curves, strict=True):
    row[np.searchsorted(x, own_x)] = own_y
  finite = np.isfinite(values)
  keep = finite.any(axis=0)
  x, values, finite = x[keep], values[:, keep], finite[:, keep]
  seeds = finite.sum(axis=0)
  total = np.where(finite, values, 0.0).sum(axis=0)
  return Band(
    x,
    total / np.maximum(seeds, 1),
    np.where(finite, values, np.inf).min(axis=0, initial=np.inf),
    np.where(finite, values, -np.inf).max(axis=0, initial=-np.inf),
    seeds,
  )


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
  """Average each value with its neighbours, ignoring NaN.

  At the ends the window is cut, not padded.

  Args:
    values: f64[K].
    window: the number of values in a mean; below 2, the values stay as they
      are.
  """
  if window < 2:
    return values
  finite = np.isfinite(values)
  totals, counts = (
    np.convolve(part, np.ones(window), "same")
    for part in (np.where(finite, values, 0.0), finite)
  )
  return np.where(counts > 0.5, totals / np.maximum(counts, 1), np.nan)


def _common_name(names: Sequence[str]) -> str:
  """Return what the names of a variant's runs share, without the seed."""
  if len(names) == 1:
    return names[0]
  start = _common_prefix(names)
  rest = [name[len(start) :][::-1] for name in names]
  end = _common_prefix(rest)[::-1].lstrip("0123456789")
  start = _BEFORE_SEED.sub("", start)
  return start + (end if start else end.lstrip(" ,;-_/"))


def _common_prefix(names: Sequence[str]) -> str:
  low, high = min(names), max(names)
  pairs = enumerate(zip(low, high, strict=False))
  return low[: next((i for i, (a, b) in pairs if a != b), len(low))]


def _listed(group: Sequence[RunLog]) -> str:
  """Name a variant whose runs share no part of their names."""
  rest = f" and {len(group) - 1} more" if len(group) > 1 else ""
  return group[0].name + rest
