"""Fit the entropy law during a run: how much reward is left to gain.

The law R = -a exp(H) + b (entropy/law.py) is fitted again after every rollout
step, over all points so far. fit_points.py chooses the points: evaluations if
there are enough, otherwise means over blocks of rollout steps. A resumed run
reads its earlier lines from metrics.jsonl. The results are metrics of the step.
They are NaN until there are enough points and the entropy has moved far enough.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
import math
from pathlib import Path
from typing import Any

import numpy as np

from entrojax.entropy.law import (
  EntropyLaw,
  confidence,
  fit_entropy_law,
  predict,
)
from entrojax.reporting.fit_points import (
  STEP_METRICS,
  choose_points,
  evaluation_metrics,
  inapplicable,
)
from entrojax.reporting.formatting import with_interval
from entrojax.reporting.run_logs import (
  METRICS_FILE,
  Row,
  RunLog,
  read_rows,
)

# the metrics that the points and the interventions of a run are read from
_READ = (
  *(*STEP_METRICS, "*/gradient_change"),
  *("val/*/pass@1", "val/*/entropy"),
)
_METRICS = ("a", "b", "ceiling", "reward_left")


class _Pairs:
  """Pairs of finite numbers, in an array with room for more."""

  def __init__(self) -> None:
    self._buffer, self._size = np.empty((64, 2)), 0

  @property
  def array(self) -> np.ndarray:
    """The pairs so far, f64[K, 2]; a view."""
    return self._buffer[: self._size]

  def add(self, row: Row, names: tuple[str, str]) -> None:
    """Add two metrics of a line if both are finite."""
    pair = np.array([row.get(name, math.nan) for name in names], np.float64)
    if not np.isfinite(pair).all():
      return
    if self._size == len(self._buffer):
      self._buffer = np.concatenate([self._buffer, np.empty_like(self._buffer)])
    self._buffer[self._size] = pair
    self._size += 1


class LiveLaw:
  """The lines of a run so far, and the law fitted to them."""

  def __init__(self, workdir: Path, config: Mapping[str, Any]):
    """Read the lines that a resumed run has logged.

    Args:
      workdir: the run directory; without a metrics.jsonl there are no lines.
      config: the resolved config, nested.
    """
    path = workdir / METRICS_FILE
    self._workdir, self._config = workdir, config
    self._rows: list[Row] = []
    # the points so far, so that no step reads all earlier lines again
    self._steps, self._evaluations = _Pairs(), dict[str, _Pairs]()
    self._has_spoken = False
    self._notes: list[str] = []  # to print
    for row in read_rows(path) if path.exists() else []:
      self.add(row)

  def add(self, numbers: Mapping[str, Any]) -> None:
    """Add the metrics of a rollout step or of an evaluation."""
    row = {
      name: value
      for name, value in numbers.items()
      if any(fnmatchcase(name, pattern) for pattern in _READ)
    }
    self._rows.append({"step": len(self._rows), **row})
    self._steps.add(row, STEP_METRICS)
    for name in row:
      if fnmatchcase(name, "val/*/pass@1"):
        data = name.removeprefix("val/").removesuffix("/pass@1")
        pairs = self._evaluations.setdefault(data, _Pairs())
        pairs.add(row, evaluation_metrics(data))

  def metrics(self, numbers: Mapping[str, Any]) -> dict[str, float]:
    """Add the metrics of a rollout step and fit the law.

    Args:
      numbers: name -> number, the metrics of the rollout step.

    Returns:
      `law/a`, `law/b`, `law/ceiling` (the reward at H = 0) and
      `law/reward_left` (the ceiling minus the fitted reward at the last point's
      entropy), each with its standard error as `..._stderr`, and `law/points`,
      the number of points. All except the last are NaN while the law is not
      usable. The ceiling and what is left are NaN if reward rose with entropy.
    """
    self.add(numbers)
    entropy, reward, _, _ = choose_points(
      {data: pairs.array for data, pairs in self._evaluations.items()},
      self._steps.array,
    )
    law = fit_entropy_law(entropy, reward)
    results = dict.fromkeys(
      (f"law/{name}{end}" for name in _METRICS for end in ("", "_stderr")),
      math.nan,
    )
    if law.usable:
      results |= {
        "law/a": law.a,
        "law/a_stderr": law.stderr_a,
        "law/b": law.b,
        "law/b_stderr": law.stderr_b,
        "law/ceiling": law.ceiling,
        "law/ceiling_stderr": law.stderr_ceiling,
        "law/reward_left": law.ceiling - float(predict(law, entropy[-1])),
        # reward_left is a (exp(H) - 1)
        "law/reward_left_stderr": law.stderr_a * float(np.expm1(entropy[-1]))
        if law.a >= 0
        else math.nan,
      }
      if not self._has_spoken:
        self._has_spoken = True
        run = RunLog("", self._workdir, self._rows, self._config)
        self._notes = [_describe(law), *inapplicable(run)]
    return results | {"law/points": float(reward.size)}

  def notes(self) -> list[str]:
    """Return the messages to print: some when the law is first usable."""
    notes, self._notes = self._notes, []
    return [f"entropy law: {note}" for note in notes]


def _describe(law: EntropyLaw) -> str:
  if law.a < 0:
    return "reward rose with entropy, so there is no ceiling"
  ceiling = with_interval(law.ceiling, confidence(law).ceiling)
  return f"without entropy the reward is predicted to be {ceiling}"
