"""Fit the entropy law during a run: how much reward is left to gain.

The law R = -a exp(H) + b (entropy/law.py) is fitted again after every rollout
step, over all steps so far. H is the mean entropy of the step's updates in
nats, R is the step's mean reward. A resumed run reads its earlier points from
metrics.jsonl. The results are metrics of the step: law/a, law/b, law/ceiling
and law/reward_left.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from entrojax.entropy.law import fit_entropy_law, predict
from entrojax.reporting.run_logs import (
  ENTROPY,
  METRICS_FILE,
  TRAINING_REWARD,
  read_rows,
)


class LiveLaw:
  """The points (H, R) of a run so far, and the law fitted to them."""

  def __init__(self, workdir: Path):
    """Read the points of the rollout steps that a resumed run has logged.

    Args:
      workdir: the run directory; without a metrics.jsonl there are no points.
    """
    path = workdir / METRICS_FILE
    self._points: list[tuple[float, float]] = []
    for row in read_rows(path) if path.exists() else []:
      self._add(row)

  def metrics(self, numbers: Mapping[str, Any]) -> dict[str, float]:
    """Add the point of a rollout step and fit the law.

    Args:
      numbers: name -> number, the metrics of the rollout step.

    Returns:
      `law/a`, `law/b`, `law/ceiling` (the reward at H = 0) and
      `law/reward_left` (the ceiling minus the fitted reward at this step's H).
      All are NaN with fewer than three distinct entropies. The last two are
      NaN if reward rose with entropy, as there is no ceiling then.
    """
    self._add(numbers)
    entropy, reward = np.array(self._points).reshape(-1, 2).T
    law = fit_entropy_law(entropy, reward)
    current = numbers.get(ENTROPY, np.nan)
    return {
      "law/a": law.a,
      "law/b": law.b,
      "law/ceiling": law.ceiling,
      "law/reward_left": law.ceiling - float(predict(law, current)),
    }

  def _add(self, numbers: Mapping[str, Any]) -> None:
    """Add the point of a line, if it has both numbers."""
    entropy = float(numbers.get(ENTROPY, np.nan))
    reward = float(numbers.get(TRAINING_REWARD, np.nan))
    if np.isfinite([entropy, reward]).all():
      self._points.append((entropy, reward))
