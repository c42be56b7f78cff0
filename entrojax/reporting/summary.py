"""Summarize variants in a table: their means and spreads over the seeds.

`summarize` computes the numbers of one run, `summarize_variant` their means and
standard deviations over the seeds. `summary_lines` names the quantities, `cell`
turns their numbers into text, and `format_table` aligns the text for a terminal
with a column per variant.
"""

from collections.abc import Iterable, Mapping, Sequence
import math

import numpy as np

from entrojax.reporting.formatting import (
  align,
  number,
  printable,
  with_error,
  with_spread,
)
from entrojax.reporting.run_logs import (
  ENTROPY,
  TARGET,
  TRAINING_REWARD,
  RunLog,
  datasets,
  evaluations,
  logged_at_k,
  series,
)
from entrojax.reporting.variants import Variant

# The label of each line -> the key of its number, or two keys, whose numbers
# are joined by an arrow.
SUMMARY = {
  "seeds": ("seeds",),
  "optimizer steps": ("step",),
  "entropy, first → last (nats)": ("entropy/first", "entropy/last"),
  "entropy, last third (nats)": ("entropy/last_third",),
  "entropy target (nats)": ("entropy/target",),
  "largest deviation, last third (nats)": ("entropy/max_deviation",),
  "reward, first → last tenth": ("reward/first_tenth", "reward/last_tenth"),
  "length, first → last tenth (tokens)": (
    "length/first_tenth",
    "length/last_tenth",
  ),
  "sampled tokens": ("tokens",),
  "wall time of training steps (s)": ("wall_time_s",),
  "time per rollout step (s)": ("step_time_s",),
}
# other numbers of an evaluation, as in val/<data>/<name>
_ALSO = ("distinct_correct", "distinct_2", "entropy", "response_length")
# variant -> key -> number, NaN = absent
SummaryRows = dict[str, dict[str, float]]


def summarize(run: RunLog) -> dict[str, float]:
  """Compute the numbers of one run.

  Returns:
    The keys of `SUMMARY`, without the number of seeds, and, for the first and
    the last evaluation on each data set, val/<data>/<number>/start and .../end,
    where <number> is pass@<k>, maj@<k> or one of `_ALSO`. pass@<k> and maj@<k>
    also have .../start_stderr and .../end_stderr. NaN = absent.
  """
  entropy, reward, length, seconds = (
    series(run, metric)[1]
    for metric in (
      ENTROPY,
      TRAINING_REWARD,
      "response_length/mean",
      "timing_s/step",
    )
  )
  constant = math.nan if run.target is None else run.target
  moving = series(run, TARGET)[1]
  target = np.array(
    [row.get(TARGET, constant) for row in run.rows if ENTROPY in row],
    np.float64,
  )
  number = math.ceil(entropy.size / 3)
  last_third = entropy[-number:]
  row = {
    "step": run.rows[-1]["step"],
    "entropy/first": entropy[0] if entropy.size else math.nan,
    "entropy/last": entropy[-1] if entropy.size else math.nan,
    "entropy/last_third": _mean(last_third),
    "entropy/target": moving[-1] if moving.size else constant,
    "entropy/max_deviation": max(
      (d for d in abs(last_third - target[-number:]) if math.isfinite(d)),
      default=math.nan,
    ),
    "reward/first_tenth": _mean(reward[: math.ceil(reward.size / 10)]),
    "reward/last_tenth": _mean(reward[-math.ceil(reward.size / 10) :]),
    "length/first_tenth": _mean(length[: math.ceil(length.size / 10)]),
    "length/last_tenth": _mean(length[-math.ceil(length.size / 10) :]),
    "tokens": run.rows[-1].get("tokens", math.nan),
    "wall_time_s": seconds.size * _mean(seconds),
    "step_time_s": _mean(seconds),
  }
  for data in datasets([run]):
    row |= _evaluation_numbers(run, data)
  return {key: float(value) for key, value in row.items()}


def summarize_variant(variant: Variant) -> dict[str, float]:
  """Compute the numbers of a variant: means over its seeds.

  Returns:
    The keys of `SUMMARY` and of `summarize`. With several seeds the standard
    errors are missing; instead <key>_sd is the standard deviation over the
    seeds, and <key>_seeds the number of seeds that have the number.
  """
  runs = [summarize(run) for run in variant.runs]
  seeds = {"seeds": float(len(runs))}
  if len(runs) == 1:
    return seeds | runs[0]
  numbers = dict(seeds)
  for key in dict.fromkeys(key for run in runs for key in run):
    if key.endswith("_stderr"):
      continue
    values = np.array([run.get(key, math.nan) for run in runs])
    values = values[np.isfinite(values)]
    numbers[key] = _mean(values)
    numbers[f"{key}_seeds"] = float(values.size)
    if values.size > 1:
      numbers[f"{key}_sd"] = float(values.std(ddof=1))
  return numbers


def summary_lines(
  rows: Iterable[Mapping[str, float]],
) -> dict[str, tuple[str, ...]]:
  """Return the label of each quantity that a variant has -> its keys."""
  keys = list(dict.fromkeys(key for row in rows for key in row))
  labels = dict(SUMMARY)
  for key in keys:
    name, _, when = key.rpartition("/")
    if name.startswith("val/") and when in ("start", "end"):
      data, _, number_name = name.removeprefix("val/").rpartition("/")
      labels[f"{data}: {number_name}"] = (f"{name}/start", f"{name}/end")
  return labels


def cell(row: Mapping[str, float], keys: Sequence[str]) -> str:
  """Format the numbers of some keys, joined by an arrow."""
  return " → ".join(_number(row, key) for key in keys)


def format_table(rows: SummaryRows, width: int = 100) -> str:
  """Format the summary for a terminal; columns that do not fit follow below."""
  cells = [
    [label, *(cell(row, keys) for row in rows.values())]
    for label, keys in summary_lines(rows.values()).items()
    if not any(label.endswith(f": {name}") for name in _ALSO)
    and ": maj@" not in label
  ]
  return align([printable(n, 24) for n in rows], cells, width)


def _evaluation_numbers(run: RunLog, data: str) -> dict[str, float]:
  """Return the numbers of the first and the last evaluation."""
  numbers: dict[str, float] = {}
  ends = dict(zip(("start", "end"), evaluations(run, data), strict=True))
  for measure in ("pass", "maj"):
    for when, row in ends.items():
      for k, value, error in zip(*logged_at_k(row, data, measure), strict=True):
        numbers[f"val/{data}/{measure}@{k}/{when}"] = value
        numbers[f"val/{data}/{measure}@{k}/{when}_stderr"] = error
  for name in _ALSO:
    for when, row in ends.items():
      value = (row or {}).get(f"val/{data}/{name}", math.nan)
      numbers[f"val/{data}/{name}/{when}"] = value
  return numbers


def _mean(values: np.ndarray) -> float:
  finite = values[np.isfinite(values)]
  return float(finite.mean()) if finite.size else math.nan


def _number(row: Mapping[str, float], key: str) -> str:
  """Format a number with its spread over seeds or its standard error."""
  value = row.get(key, math.nan)
  if f"{key}_stderr" in row:
    return with_error(value, row[f"{key}_stderr"])
  if f"{key}_sd" not in row:
    return number(value)
  text = with_spread(value, row[f"{key}_sd"])
  seeds = row[f"{key}_seeds"]
  return text if seeds == row["seeds"] else f"{text} ({seeds:.0f})"
