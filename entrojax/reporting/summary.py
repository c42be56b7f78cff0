"""The summary of runs: a line a quantity, a column a run; numbers and text."""

from collections.abc import Mapping, Sequence
import math

import numpy as np

from entrojax.reporting.run_logs import (
  Run,
  datasets,
  evaluations,
  pass_at_k,
  printable,
  series,
)

# what a reader calls a line of the summary -> its key, or the two that an
# arrow joins
SUMMARY = {
  "optimizer steps": ("step",),
  "entropy, first → last (nats)": ("entropy/first", "entropy/last"),
  "entropy, last third (nats)": ("entropy/last_third",),
  "entropy target (nats)": ("entropy/target",),
  "max deviation, last third (nats)": ("entropy/max_deviation",),
  "reward, first → last tenth": ("reward/first_tenth", "reward/last_tenth"),
  "length, first → last tenth (tokens)": (
    "length/first_tenth",
    "length/last_tenth",
  ),
  "sampled tokens": ("tokens",),
  "training steps, wall time (s)": ("wall_time_s",),
}
SummaryRows = dict[str, dict[str, float]]  # run -> key -> number, NaN = absent


def summarize(run: Run) -> dict[str, float]:
  """Returns the numbers of one run's column of the summary, NaN = absent.

  Beside the keys of `SUMMARY`, of the first and the last evaluation:
  val/<data>/pass@<k>/start, .../start_stderr, .../end and .../end_stderr, and
  val/<data>/entropy/start and .../end.
  """
  entropy, reward, length, seconds = (
    series(run, metric)[1]
    for metric in (
      "actor/entropy",
      "critic/rewards/mean",
      "response_length/mean",
      "timing_s/step",
    )
  )
  target = math.nan if run.target is None else run.target
  settled = entropy[-math.ceil(entropy.size / 3) :]
  row = {
    "step": run.rows[-1]["step"],
    "entropy/first": entropy[0] if entropy.size else math.nan,
    "entropy/last": entropy[-1] if entropy.size else math.nan,
    "entropy/last_third": _mean(settled),
    "entropy/target": target,
    "entropy/max_deviation": max(
      (d for d in abs(settled - target) if math.isfinite(d)), default=math.nan
    ),
    "reward/first_tenth": _mean(reward[: math.ceil(reward.size / 10)]),
    "reward/last_tenth": _mean(reward[-math.ceil(reward.size / 10) :]),
    "length/first_tenth": _mean(length[: math.ceil(length.size / 10)]),
    "length/last_tenth": _mean(length[-math.ceil(length.size / 10) :]),
    "tokens": run.rows[-1].get("tokens", math.nan),
    "wall_time_s": seconds.size * _mean(seconds),
  }
  for data in datasets([run]):
    lines = zip(("start", "end"), evaluations(run, data), strict=True)
    for when, line in lines:
      row[f"val/{data}/entropy/{when}"] = (line or {}).get(
        f"val/{data}/entropy", math.nan
      )
      for k, value, error in zip(*pass_at_k(line, data), strict=True):
        row[f"val/{data}/pass@{k}/{when}"] = value
        row[f"val/{data}/pass@{k}/{when}_stderr"] = error
  return {key: float(value) for key, value in row.items()}


def table_cells(rows: SummaryRows) -> list[list[str]]:
  """Returns the summary as text: a line a quantity, a column a run."""
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
  """Formats the summary for a terminal; runs that do not fit follow below."""
  return align([printable(n, 24) for n in rows], table_cells(rows), width)


def align(
  names: Sequence[str], cells: Sequence[Sequence[str]], width: int = 100
) -> str:
  """Formats a table of text; columns that do not fit follow below.

  Args:
    names: of the columns, without that of the labels.
    cells: of each line, its label first.
    width: characters of a terminal's line.
  """
  columns = list(zip(["", *names], *cells, strict=True))
  sizes = [max(map(len, column)) for column in columns]
  labels = [printable(c).ljust(sizes[0]) for c in columns[0]]
  blocks = [[labels]]
  for column, size in zip(columns[1:], sizes[1:], strict=True):
    used = sum(len(other[0]) + 2 for other in blocks[-1])
    if len(blocks[-1]) > 1 and used + size > width:
      blocks.append([labels])
    blocks[-1].append([cell.rjust(size) for cell in column])
  return "\n\n".join(
    "\n".join("  ".join(line).rstrip() for line in zip(*block, strict=True))
    for block in blocks
  )


def number(value: float) -> str:
  """Formats a number for a table; a dash where there is none."""
  if not math.isfinite(value):
    return "–"
  if value == int(value):
    return f"{int(value):,}"
  return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"


def with_error(value: float, error: float = math.nan) -> str:
  """Formats a number of order one with its standard error, if it has one."""
  if not math.isfinite(value):
    return "–"
  return f"{value:.3f}±{error:.3f}" if error >= 0 else f"{value:.3f}"


def with_interval(value: float, interval: tuple[float, float]) -> str:
  """Formats a number of order one with its 95 % interval, if it has one."""
  low, high = interval
  known = math.isfinite(low) and math.isfinite(high)
  return with_error(value) + (f" [{low:.3f}, {high:.3f}]" if known else "")


def line_through_origin(
  x: np.ndarray, y: np.ndarray
) -> tuple[float, float, float]:
  """Returns the slope of y = slope x, its standard error, the correlation.

  NaN where there are too few points or nothing varies.
  """
  squares = x @ x
  if x.size < 2 or squares == 0:
    return math.nan, math.nan, math.nan
  slope = x @ y / squares
  rest = y - slope * x
  error = math.sqrt(rest @ rest / (x.size - 1) / squares)
  x, y = x - x.mean(), y - y.mean()
  spread = math.sqrt((x @ x) * (y @ y))
  return float(slope), error, float(x @ y / spread) if spread else math.nan


def _mean(values: np.ndarray) -> float:
  finite = values[np.isfinite(values)]
  return float(finite.mean()) if finite.size else math.nan


def _cell(row: Mapping[str, float], key: str) -> str:
  value, error = row.get(key, math.nan), row.get(f"{key}_stderr")
  return number(value) if error is None else with_error(value, error)
