"""Runs read back: the lines of metrics.jsonl, and the series in them.

JSON has no NaN: null, which stands for NaN and infinity, is read as NaN.
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
TRAINING_REWARD = "critic/rewards/mean"
MIN_EVALUATIONS = 5  # from which on a run's law is one of validation accuracy

Row = dict[str, Any]  # one line of metrics.jsonl: number | list of numbers


class LawPoints(NamedTuple):
  """What the entropy law of a run is fitted to, in the order of the run."""

  entropy: np.ndarray  # [K], nats
  reward: np.ndarray  # [K]
  metric: str  # the reward's name in metrics.jsonl


class Run(NamedTuple):
  """A run directory, read back."""

  name: str
  path: Path
  rows: list[Row]
  config: Mapping[str, Any]

  @property
  def target(self) -> float | None:
    """The controller's entropy target, nats; None without one."""
    target = (self.config.get("control") or {}).get("target")
    return None if target is None else float(target)

  @property
  def metrics(self) -> set[str]:
    """The names of everything that any line holds."""
    return {name for row in self.rows for name in row}

  def logged(self, metric: str) -> bool:
    """Returns whether any line holds a metric, * for anything in its name."""
    names = self.metrics
    return metric in names or any(fnmatchcase(name, metric) for name in names)


def read_run(name: str, path: Path | str) -> Run:
  """Reads metrics.jsonl and, where there is one, config.json.

  Raises:
    FileNotFoundError: no metrics.jsonl; the message names its path.
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
  return Run(name, path, rows, config)


def series(run: Run, metric: str) -> tuple[np.ndarray, np.ndarray]:
  """Returns optimizer steps i64[K] and values f64[K] of one logged number."""
  rows = [row for row in run.rows if metric in row]
  steps = np.array([row["step"] for row in rows], np.int64)
  return steps, np.array([row[metric] for row in rows], np.float64)


def law_points(run: Run) -> LawPoints:
  """Returns entropy and reward, of the lines that have both.

  The reward is the pass@1 of the first data set, by name, that was evaluated
  at least MIN_EVALUATIONS times, with the training entropy of the same
  optimizer step (of the first one for an evaluation before it); without such a
  data set the mean training reward.
  """
  for data in datasets([run]):
    metric = f"val/{data}/pass@1"
    steps, reward = _finite_series(run, metric)
    at, entropy = _finite_series(run, ENTROPY)
    if steps.size >= MIN_EVALUATIONS and at.size:
      entropy = entropy[np.maximum(np.searchsorted(at, steps, "right") - 1, 0)]
      return LawPoints(entropy, reward, metric)
  pairs = [
    [row.get(name, np.nan) for name in (ENTROPY, TRAINING_REWARD)]
    for row in run.rows
  ]
  points = np.array(pairs, np.float64).reshape(-1, 2)
  points = points[np.isfinite(points).all(axis=1)]
  return LawPoints(points[:, 0], points[:, 1], TRAINING_REWARD)


def entropy_changes(run: Run) -> tuple[np.ndarray, np.ndarray]:
  """Returns what each rollout step should and did do to the entropy.

  Returns:
    predicted [K], nats per unit of natural gradient step, minus the mean
    covariance of a rollout step; measured [K], nats, the entropy of the next
    rollout step less the one of this. Steps whose next one is missing are
    left out.
  """
  names = (ENTROPY, "covariance/predicted_change")
  by_step = {
    row["rollout_step"]: [row.get(name, np.nan) for name in names]
    for row in run.rows
    if ENTROPY in row and "rollout_step" in row
  }
  pairs = [
    (predicted, by_step[step + 1][0] - entropy)
    for step, (entropy, predicted) in by_step.items()
    if step + 1 in by_step
  ]
  points = np.array(pairs, np.float64).reshape(-1, 2)
  points = points[np.isfinite(points).all(axis=1)]
  return points[:, 0], points[:, 1]


def evaluations(run: Run, data: str) -> tuple[Row | None, Row | None]:
  """Returns the lines of the evaluations at the start and at the end.

  A single evaluation is the start at optimizer step 0 and else the end.
  """
  rows = [row for row in run.rows if f"val/{data}/pass@1" in row]
  if len(rows) > 1:
    return rows[0], rows[-1]
  start = next((row for row in rows if row["step"] == 0), None)
  return start, next((row for row in rows if row["step"] != 0), None)


def pass_at_k(
  row: Row | None, data: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns k [K] ascending, pass@k [K] and its standard error [K]."""
  row, prefix = row or {}, f"val/{data}/pass@"
  ks = sorted(
    int(name.removeprefix(prefix))
    for name in row
    if name.startswith(prefix) and name.removeprefix(prefix).isdecimal()
  )
  values = [row[f"{prefix}{k}"] for k in ks]
  errors = [row.get(f"{prefix}{k}_stderr", 0.0) for k in ks]
  return np.array(ks), np.array(values), np.array(errors)


def _finite_series(run: Run, metric: str) -> tuple[np.ndarray, np.ndarray]:
  steps, values = series(run, metric)
  finite = np.isfinite(values)
  return steps[finite], values[finite]


def datasets(runs: Sequence[Run]) -> list[str]:
  """Returns the data sets that any run was evaluated on, sorted."""
  names = {name for run in runs for name in run.metrics}
  return sorted(
    name.removeprefix("val/").removesuffix("/pass@1")
    for name in names
    if fnmatchcase(name, "val/*/pass@1")
  )


def printable(name: str, length: int = 40) -> str:
  """Makes a name fit for a legend: one line, no control character, short."""
  name = "".join(char if char.isprintable() else "?" for char in name)
  return name if len(name) <= length else name[: length - 1] + "…"


def read_metrics(path: Path | str) -> list[Row]:
  """Reads the lines of a metrics.jsonl, null as NaN.

  A last line that a killed run left unfinished is passed over.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: a line before the last one is not a JSON object.
  """
  return [row for _, row in read_lines(Path(path))]


def read_lines(path: Path) -> list[tuple[str, Row]]:
  """Returns each line with its row; null is NaN in the row, not in the text."""
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
  if isinstance(value, list):
    return [_nan(item) for item in value]
  return math.nan if value is None else value
