"""The entropy law of a run while it runs: what reward is left to buy.

R = -a exp(H) + b (law.py) is fitted anew after every rollout step, over
all steps so far: H the mean entropy of the step's updates, R its mean reward.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from entrojax.entropy.law import fit_entropy_law, predict
from entrojax.reporting.run_logs import METRICS_FILE, read_metrics

_NAMES = ("actor/entropy", "critic/rewards/mean")


class LiveLaw:
  """The points of a run so far; a resumed run goes on with those it has."""

  def __init__(self, workdir: Path):
    """Reads the points that `workdir` holds, if any."""
    path = workdir / METRICS_FILE
    self._points: list[tuple[float, float]] = []
    for row in read_metrics(path) if path.exists() else []:
      self._add(row)

  def metrics(self, numbers: Mapping[str, Any]) -> dict[str, float]:
    """Takes a rollout step in and returns the law after it.

    Args:
      numbers: of the rollout step, by name.

    Returns:
      `law/a`, `law/b`, `law/ceiling` (the reward at H = 0) and
      `law/reward_left` (the ceiling less the fitted reward at this step's H);
      NaN with fewer than three distinct entropies, and without a ceiling where
      reward rose with entropy.
    """
    self._add(numbers)
    entropy, reward = np.array(self._points).reshape(-1, 2).T
    law = fit_entropy_law(entropy, reward)
    here = numbers.get(_NAMES[0], np.nan)
    return {
      "law/a": law.a,
      "law/b": law.b,
      "law/ceiling": law.ceiling,
      "law/reward_left": law.ceiling - float(predict(law, here)),
    }

  def _add(self, numbers: Mapping[str, Any]) -> None:
    point = tuple(float(numbers.get(name, np.nan)) for name in _NAMES)
    if np.isfinite(point).all():
      self._points.append((point[0], point[1]))
