"""Summarize runs in one table: one line for each quantity, one column per run.

`summarize` computes the numbers of one run, `table_cells` turns the numbers of
several runs into text, and `format_table` aligns the text for a terminal.
"""

from collections.abc import Mapping
import math

import numpy as np

from entrojax.reporting.formatting import (
  align,
  number,
  printable,
  with_error,
)
from entrojax.reporting.run_logs import (
  ENTROPY,
  TARGET,
  TRAINING_REWARD,
  RunLog,
  datasets,
  evaluations,
  pass_at_k,
  series,
)

# The label of each line -> the key of its number, or two keys, whose numbers
# are joined by an arrow.
SUMMARY = {
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
}
SummaryRows = dict[str, dict[str, float]]  # run -> key -> number, NaN = absent


def summarize(run: RunLog) -> dict[str, float]:
  """Compute the numbers of one run's column of the summary.

  Returns:
    The keys of `SUMMARY` and, for the first and the last evaluation on each
    data set, val/<data>/pass@<k>/start, .../start_stderr, .../end and
    .../end_stderr, val/<data>/entropy/start and .../end. NaN = absent.
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
  moving = series(run, TARGET)[1]
  constant = math.nan if run.target is None else run.target
  target = moving if moving.size else np.full_like(entropy, constant)
  number = math.ceil(entropy.size / 3)
  last_third = entropy[-number:]
  row = {
    "step": run.rows[-1]["step"],
    "entropy/first": entropy[0] if entropy.size else math.nan,
    "entropy/last": entropy[-1] if entropy.size else math.nan,
    "entropy/last_third": _mean(last_third),
    "entropy/target": target[-1] if target.size else constant,
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
  }
  for data in datasets([run]):
    row |= _evaluation_numbers(run, data)
  return {key: float(value) for key, value in row.items()}


def table_cells(rows: SummaryRows) -> list[list[str]]:
  """Format the summary as lines of cells, each with its label first."""
  passes = dict.fromkeys(
    key.rpartition("/")[0] for row in rows.values() for key in row if "@" in key
  )
  lines = SUMMARY | {
    name.removeprefix("val/").replace("/pass@", ": pass@"): (
      f"{name}/start",
      f"{name}/end",
    )
    for name in passes
  }
  return [
    [
      label,
      *(" → ".join(_cell(row, key) for key in keys) for row in rows.values()),
    ]
    for label, keys in lines.items()
  ]


def format_table(rows: SummaryRows, width: int = 100) -> str:
  """Format the summary for a terminal; runs that do not fit follow below."""
  return align([printable(n, 24) for n in rows], table_cells(rows), width)


def _evaluation_numbers(run: RunLog, data: str) -> dict[str, float]:
  """Return pass@k and entropy of the first and the last evaluation."""
  numbers: dict[str, float] = {}
  rows = zip(("start", "end"), evaluations(run, data), strict=True)
  for when, row in rows:
    numbers[f"val/{data}/entropy/{when}"] = (row or {}).get(
      f"val/{data}/entropy", math.nan
    )
    for k, value, error in zip(*pass_at_k(row, data), strict=True):
      numbers[f"val/{data}/pass@{k}/{when}"] = value
      numbers[f"val/{data}/pass@{k}/{when}_stderr"] = error
  return numbers


def _mean(values: np.ndarray) -> float:
  finite = values[np.isfinite(values)]
  return float(finite.mean()) if finite.size else math.nan


def _cell(row: Mapping[str, float], key: str) -> str:
  value, error = row.get(key, math.nan), row.get(f"{key}_stderr")
  return number(value) if error is None else with_error(value, error)
