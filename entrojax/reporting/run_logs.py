"""Read what a run directory holds about a run.

Each line of metrics.jsonl is one JSON object, from a metric's name to a number
or a list of numbers (writer.py writes it). JSON has no NaN: a null, which older
versions wrote for NaN and for infinity, is read as NaN. A last line that a
killed run left unfinished is ignored. `series` gives one metric over the
optimizer steps, and `evaluations` and `logged_at_k` find the results of
evaluations.

The other files are read if they are there: config.json, evaluations.jsonl with
the number of right answers to each prompt, samples.jsonl with some responses,
the folder tokens with the tokens of some responses (token_logs.py), and
provenance.json with the command, versions and devices of the run.
"""

from collections.abc import Collection, Mapping, Sequence
import dataclasses
from fnmatch import fnmatchcase
import functools
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from entrojax.reporting.token_logs import TokenSamples, first_and_last
from entrojax.system.provenance import read_provenance
from entrojax.system.workdir import (
  CONFIG_FILE,
  EVALUATIONS_FILE,
  SAMPLES_FILE,
)

METRICS_FILE = "metrics.jsonl"
ENTROPY = "actor/entropy"
TARGET = "schedule/control.target"
TRAINING_REWARD = "critic/rewards/mean"

_MAX_STEP = 2**53  # larger ones are not exact in a picture
_MAX_DIGITS = 9  # of the k of pass@k

Row = dict[str, Any]  # one line of metrics.jsonl: number | list of numbers


class RightAnswers(NamedTuple):
  """The number of right answers to each prompt in one evaluation.

  The last three fields are the fields of an Agreement (answers/agreement.py). A
  run of an older version lacks them.
  """

  data: str  # the data set, as in val/<data>/...
  step: int  # the optimizer step
  num_samples: int  # n, samples of each prompt
  prompts: str  # a fingerprint, equal for equal prompts in equal order
  right: np.ndarray  # i64[Q], each between 0 and n
  confidence: np.ndarray | None = None  # f64[Q], share of the majority's votes
  majority_right: np.ndarray | None = None  # bool[Q]
  answer_entropy: np.ndarray | None = None  # f64[Q], nats


@dataclasses.dataclass(frozen=True)
class RunLog:
  """What a run directory holds about a run."""

  name: str  # what reports call the run
  path: Path  # the run directory
  rows: list[Row]  # the lines of metrics.jsonl, in the order of the file
  config: Mapping[str, Any]  # nested; empty without a config.json
  right_answers: Sequence[RightAnswers] = ()  # in the order of the run
  samples: Sequence[Row] = ()  # the lines of samples.jsonl
  provenance: Mapping[str, Any] | None = None  # None: no provenance.json
  # the tokens in the first and the last evaluation, of each set that has both
  tokens: Sequence[tuple[TokenSamples, TokenSamples]] = ()

  @property
  def target(self) -> float | None:
    """The constant entropy target of the controller, nats; None without one.

    A target that follows a schedule is the metric TARGET.
    """
    target = (self.config.get("control") or {}).get("target")
    return float(target) if isinstance(target, int | float) else None

  @property
  def seed(self) -> int | None:
    """The seed of the run; None without a config.json."""
    return self.config.get("seed")

  @property
  def task(self) -> str:
    """The name and level of the task, as in countdown#1; "" if unknown."""
    task = self.config.get("task") or {}
    if not task.get("name"):
      return ""
    level = task.get("difficulty")
    return task["name"] + ("" if level is None else f"#{level}")

  @functools.cached_property
  def metrics(self) -> frozenset[str]:
    """The names of all metrics that occur in any line."""
    return frozenset(name for row in self.rows for name in row)

  def has(self, metric: str) -> bool:
    """Return True if any line holds this metric.

    Args:
      metric: a name, in which * stands for any text.
    """
    names = self.metrics
    return metric in names or any(fnmatchcase(name, metric) for name in names)


def read_run(name: str, path: Path | str) -> RunLog:
  """Read a run directory.

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
  rows = read_rows(metrics)
  if not rows:
    raise ValueError(f"{metrics} holds no complete line")
  for number, row in enumerate(rows, start=1):
    for key in ("step", "rollout_step"):
      step = row.get(key, 0 if key == "rollout_step" else None)
      if type(step) is not int or not 0 <= step <= _MAX_STEP:
        raise ValueError(
          f"{metrics}:{number}: {key} is {str(step)[:40]}, not a number of "
          "steps"
        )
  return RunLog(
    name,
    path,
    rows,
    _read_json(path / CONFIG_FILE) or {},
    _read_right_answers(path / EVALUATIONS_FILE),
    _read_samples(path / SAMPLES_FILE),
    read_provenance(path),
    first_and_last(path),
  )


def _read_json(path: Path) -> dict[str, Any] | None:
  """Read a JSON object; None if there is no file."""
  if not path.is_file():
    return None
  try:
    content = json.loads(path.read_text(encoding="utf-8"))
  except ValueError as error:
    raise ValueError(f"{path} is not JSON: {error}") from error
  if not isinstance(content, dict):
    raise ValueError(f"{path} is not a JSON object")
  return content


def _read_right_answers(path: Path) -> list[RightAnswers]:
  """Read evaluations.jsonl; without the file there is no evaluation."""
  evaluations = []
  for number, (_, row) in enumerate(_lines_if_any(path), start=1):
    try:
      right = np.array(row["right"], np.int64).reshape(-1)
      evaluations.append(
        RightAnswers(
          str(row["data"]),
          int(row["step"]),
          int(row["num_samples"]),
          str(row["prompts"]),
          right,
          *_agreement(row, right.size),
        )
      )
    except (KeyError, TypeError, ValueError) as error:
      raise ValueError(
        f"{path}:{number}: not the right answers of an evaluation: {error!r}"
      ) from error
    if not right.size or not (right >= 0).all():
      raise ValueError(f"{path}:{number}: counts must be 0 or more")
    if (right > evaluations[-1].num_samples).any():
      raise ValueError(f"{path}:{number}: a count exceeds num_samples")
  return evaluations


def _agreement(row: Row, size: int) -> list[np.ndarray | None]:
  """Return the fields of an Agreement in a row of evaluations.jsonl."""
  kinds = {"confidence": float, "majority_right": bool, "answer_entropy": float}
  return [
    np.array(row[name], kind).reshape(size) if name in row else None
    for name, kind in kinds.items()
  ]


def _read_samples(path: Path) -> list[Row]:
  """Read samples.jsonl; without the file there are no samples."""
  rows = [row for _, row in _lines_if_any(path)]
  for number, row in enumerate(rows, start=1):
    if not {"rollout_step", "prompt", "response"} <= row.keys():
      raise ValueError(f"{path}:{number}: not a sampled response")
  return rows


def _lines_if_any(path: Path) -> list[tuple[str, Row]]:
  return read_lines(path) if path.is_file() else []


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


def logged_at_k(
  row: Row | None, data: str, measure: str = "pass"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Return k [K] ascending, pass@k [K] and its standard error [K].

  A standard error that was not logged is NaN.

  Args:
    row: the line of an evaluation; None gives empty arrays.
    data: the name of the data set.
    measure: "pass", or "maj" for maj@k.
  """
  row, prefix = row or {}, f"val/{data}/{measure}@"
  ks = sorted(
    int(name.removeprefix(prefix))
    for name in row
    if name.startswith(prefix)
    and (digits := name.removeprefix(prefix)).isdecimal()
    and len(digits) <= _MAX_DIGITS
  )
  values = [row[f"{prefix}{k}"] for k in ks]
  errors = [row.get(f"{prefix}{k}_stderr", math.nan) for k in ks]
  return np.array(ks), np.array(values), np.array(errors)


def read_rows(path: Path | str) -> list[Row]:
  """Read the lines of a metrics.jsonl, with null as NaN.

  A last line that a killed run left unfinished is ignored.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: a line before the last one is not a JSON object, or a metric is
      neither a number nor a list of numbers.
  """
  path, rows = Path(path), []
  for number, (_, row) in enumerate(read_lines(path), start=1):
    if not _is_numbers(row.values()):
      name = next(n for n, v in row.items() if not _is_numbers([v]))
      raise ValueError(
        f"{path}:{number}: {name} is neither a number nor a list of numbers"
      )
    rows.append(row)
  return rows


def _is_numbers(values: Collection[Any]) -> bool:
  """Return whether all values are numbers or lists of numbers."""
  types = set(map(type, values))
  if list in types:
    lists = [value for value in values if type(value) is list]
    types = types.union(*(map(type, value) for value in lists)) - {list}
    if any(type(item) is list for value in lists for item in value):
      return False
  return types <= {int, float, bool}


def read_lines(path: Path) -> list[tuple[str, Row]]:
  """Read each line of a JSONL file as its text and its row.

  A null becomes NaN in the row; the text stays as it is in the file.
  """
  lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
  parsed = []
  for number, text in enumerate(lines, start=1):
    try:
      row = json.loads(text)
      if not isinstance(row, dict):
        raise ValueError("not an object")
    except (ValueError, RecursionError) as error:
      if number == len(lines):
        break
      raise ValueError(f"{path}:{number}: not a JSON object") from error
    if "null" in text:
      row = {name: _nan(value) for name, value in row.items()}
    parsed.append((text, row))
  return parsed


def _nan(value: Any) -> Any:
  """Replace None, also within lists, by NaN."""
  if isinstance(value, list):
    return [_nan(item) for item in value]
  return math.nan if value is None else value
