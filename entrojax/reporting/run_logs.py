"""Read the metrics.jsonl of a run and, if there is one, its config.json.

Each line of metrics.jsonl is one JSON object, from a metric's name to a number
or a list of numbers (writer.py writes it). JSON has no NaN: a null, which is
written for NaN and for infinity, is read as NaN. A last line that a killed run
left unfinished is ignored. `series` gives one metric over the optimizer steps,
and `evaluations` and `pass_at_k` find the results of evaluations.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from entrojax.system.workdir import CONFIG_FILE

METRICS_FILE = "metrics.jsonl"
ENTROPY = "actor/entropy"
TARGET = "schedule/control.target"
TRAINING_REWARD = "critic/rewards/mean"

Row = dict[str, Any]  # one line of metrics.jsonl: number | list of numbers


class RunLog(NamedTuple):
  """What a run directory holds about a run: its metrics and its config."""

  name: str  # what reports call the run
  path: Path  # the run directory
  rows: list[Row]  # the lines of metrics.jsonl, in the order of the file
  config: Mapping[str, Any]  # nested; empty without a config.json

  @property
  def target(self) -> float | None:
    """The constant entropy target of the controller, nats; None without one.

    A target that follows a schedule is the metric TARGET.
    """
    target = (self.config.get("control") or {}).get("target")
    return float(target) if isinstance(target, int | float) else None

  @property
  def metrics(self) -> set[str]:
    """The names of all metrics that occur in any line."""
    return {name for row in self.rows for name in row}

  def has(self, metric: str) -> bool:
    """Return True if any line holds this metric.

    Args:
      metric: a name, in which * stands for any text.
    """
    names = self.metrics
    return metric in names or any(fnmatchcase(name, metric) for name in names)


def read_run(name: str, path: Path | str) -> RunLog:
  """Read metrics.jsonl and, if there is one, config.json of a run directory.

  Args:
    name: what reports call the run.
    path: the run directory.

  Raises:
    FileNotFoundError: there is no metrics.jsonl; the message names its path.
    ValueError: a file is empty or malformed.
  """
  path = Path(path)
  metrics = path / METRICS_FILE
  if not metrics.is_file():
    raise FileNotFoundError(f"no metrics of a run at {metrics}")
  rows = read_metrics(metrics)
  if not rows:
    raise ValueError(f"{metrics} holds no complete line")
  if any("step" not in row for row in rows):
    raise ValueError(f"{metrics} has a line without a step")
  config: dict[str, Any] = {}
  file = path / CONFIG_FILE
  if file.is_file():
    try:
      config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
      raise ValueError(f"{file} is not JSON: {error}") from error
  return RunLog(name, path, rows, config)


def series(run: RunLog, metric: str) -> tuple[np.ndarray, np.ndarray]:
  """Return the optimizer steps i64[K] and the values f64[K] of one metric."""
  rows = [row for row in run.rows if metric in row]
  steps = np.array([row["step"] for row in rows], np.int64)
  return steps, np.array([row[metric] for row in rows], np.float64)


def datasets(runs: Sequence[RunLog]) -> list[str]:
  """List the data sets on which any of the runs was evaluated, sorted."""
  names = {name for run in runs for name in run.metrics}
  return sorted(
    name.removeprefix("val/").removesuffix("/pass@1")
    for name in names
    if fnmatchcase(name, "val/*/pass@1")
  )


def evaluations(run: RunLog, data: str) -> tuple[Row | None, Row | None]:
  """Return the lines of the first and the last evaluation on a data set.

  A run with a single evaluation has only one of the two: the first if it was
  made at optimizer step 0, otherwise the last. The other one is None.
  """
  rows = [row for row in run.rows if f"val/{data}/pass@1" in row]
  if len(rows) > 1:
    return rows[0], rows[-1]
  start = next((row for row in rows if row["step"] == 0), None)
  return start, next((row for row in rows if row["step"] != 0), None)


def pass_at_k(
  row: Row | None, data: str, metric: str = "pass"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Return k [K] ascending, pass@k [K] and its standard error [K].

  Args:
    row: the line of an evaluation; None gives empty arrays.
    data: the name of the data set.
    metric: "pass", or "maj" for maj@k instead.
  """
  row, prefix = row or {}, f"val/{data}/{metric}@"
  ks = sorted(
    int(name.removeprefix(prefix))
    for name in row
    if name.startswith(prefix) and name.removeprefix(prefix).isdecimal()
  )
  values = [row[f"{prefix}{k}"] for k in ks]
  errors = [row.get(f"{prefix}{k}_stderr", 0.0) for k in ks]
  return np.array(ks), np.array(values), np.array(errors)


def read_metrics(path: Path | str) -> list[Row]:
  """Read the lines of a metrics.jsonl, with null as NaN.

  A last line that a killed run left unfinished is ignored.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: a line before the last one is not a JSON object.
  """
  return [row for _, row in read_lines(Path(path))]


def read_lines(path: Path) -> list[tuple[str, Row]]:
  """Read each line of a metrics.jsonl as its text and its row.

  A null becomes NaN in the row; the text stays as it is in the file.
  """
  lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
  parsed = []
  for number, text in enumerate(lines, start=1):
    try:
      row = json.loads(text)
      if not isinstance(row, dict):
        raise ValueError("not an object")
    except ValueError as error:
      if number == len(lines):
        break
      raise ValueError(f"{path}:{number}: not a JSON object") from error
    parsed.append((text, {name: _nan(value) for name, value in row.items()}))
  return parsed


def _nan(value: Any) -> Any:
  """Replace None, also within lists, by NaN."""
  if isinstance(value, list):
    return [_nan(item) for item in value]
  return math.nan if value is None else value
