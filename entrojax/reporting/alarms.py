"""Raise an alarm when a run goes wrong, from the metrics of its steps.

An alarm compares a mean over the last steps with a limit. It may warn, with one
line in the progress display, stop the run after the step that is running, or
take it back to an earlier checkpoint with a changed setting. It is logged as
`alarms/<name>` = 1 in each step in which it is raised, and it acts only in the
first of them. So a run that an alarm has stopped can be resumed.
"""

from collections.abc import Mapping, Sequence
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from entrojax.reporting.run_logs import (
  ENTROPY,
  METRICS_FILE,
  TRAINING_REWARD,
  read_rows,
)

ROLL_BACK = "roll_back"
ACTIONS = ("off", "warn", "stop", ROLL_BACK)
_ENDS = {"stop": "ends the run", ROLL_BACK: "takes the run back"}


class Watched(NamedTuple):
  """The number that an alarm watches."""

  metrics: tuple[str, ...]  # whose sum is the number
  is_relative: bool  # in units of the mean over the first steps of the run
  is_upper: bool  # the alarm is raised above the limit rather than below it
  text: str  # the message, with {value} and {limit}


WATCHED = {
  "collapse": Watched(
    (ENTROPY,),
    is_relative=True,
    is_upper=False,
    text="the entropy is {value:.2g} of its start, below {limit:g}",
  ),
  "explosion": Watched(
    (ENTROPY,),
    is_relative=True,
    is_upper=True,
    text="the entropy is {value:.2g} times its start, above {limit:g}",
  ),
  "length": Watched(
    ("response_length/mean",),
    is_relative=True,
    is_upper=True,
    text="responses are {value:.2g} times as long as at the start, above "
    "{limit:g}",
  ),
  "idle": Watched(
    ("actor/idle",),
    is_relative=False,
    is_upper=True,
    text="{value:.0%} of the optimizer steps had no gradient, above "
    "{limit:.0%}: nothing is learned",
  ),
  "no_signal": Watched(
    ("critic/groups/all_right", "critic/groups/all_wrong"),
    is_relative=False,
    is_upper=True,
    text="all rewards are equal in {value:.0%} of the groups, above "
    "{limit:.0%}",
  ),
  "low_reward": Watched(
    (TRAINING_REWARD,),
    is_relative=False,
    is_upper=False,
    text="the mean reward is {value:.3g}, below {limit:g}",
  ),
  "high_reward": Watched(
    (TRAINING_REWARD,),
    is_relative=False,
    is_upper=True,
    text="the mean reward is {value:.3g}, above {limit:g}",
  ),
  "mismatch": Watched(
    ("rollout/log_prob_diff_max",),
    is_relative=False,
    is_upper=True,
    text="sampler and trainer differ by {value:.2g} nats per token, above "
    "{limit:g}",
  ),
}


class AlarmSettings(NamedTuple):
  """What each alarm does, and when."""

  window: int  # steps that a mean is taken over
  actions: Mapping[str, str]  # alarm -> off, warn, stop or roll_back
  limits: Mapping[str, float]  # alarm -> limit
  roll_back: tuple = ()  # (setting, value) of a roll-back; (): none is set


def reading(watched: Watched, history: Sequence[float], window: int) -> float:
  """Compute the number that is compared with a limit.

  Args:
    watched: the number that the alarm watches.
    history: its value in each step so far, without those that are not finite.
    window: the number of steps in a mean.

  Returns:
    The mean of the last `window` values, divided by the mean of the first
    ones if the alarm is relative; NaN with fewer values.
  """
  if len(history) < window:
    return math.nan
  last = float(np.mean(history[-window:]))
  if not watched.is_relative:
    return last
  start = float(np.mean(history[:window]))
  return last / start if start > 0 else math.nan


def is_raised(watched: Watched, value: float, limit: float) -> bool:
  """Return whether a reading is beyond its limit; a NaN is not."""
  return value > limit if watched.is_upper else value < limit


class Alarms:
  """The alarms of a run, and the numbers that they watch."""

  def __init__(self, workdir: Path, settings: AlarmSettings):
    """Read the steps that a resumed run has logged.

    Args:
      workdir: the run directory; without a metrics.jsonl there are no steps.
      settings: what each alarm does.
    """
    self._window, self._limits = settings.window, settings.limits
    self._actions = {
      name: action
      for name, action in settings.actions.items()
      if action != "off"
    }
    self._history: dict[str, list[float]] = {name: [] for name in self._actions}
    self._raised: set[str] = set()
    self._notes: list[str] = []
    self.stop = (
      ""  # why the run has to end: the first such alarm, with its text
    )
    self.roll_back = ""  # the alarm that demands a roll-back
    path = workdir / METRICS_FILE
    for row in read_rows(path) if path.exists() else []:
      if TRAINING_REWARD in row:
        self._add(row)
        self._raised = {name for name in WATCHED if f"alarms/{name}" in row}

  def metrics(self, numbers: Mapping[str, Any]) -> dict[str, float]:
    """Add the metrics of a rollout step and return the alarms it raises.

    Args:
      numbers: name -> number, the metrics of the rollout step.

    Returns:
      `alarms/<name>` = 1 for each alarm that is raised.
    """
    self._add(numbers)
    values = {
      name: reading(WATCHED[name], history, self._window)
      for name, history in self._history.items()
    }
    raised = {
      name
      for name, value in values.items()
      if is_raised(WATCHED[name], value, self._limits[name])
    }
    for name in sorted(raised - self._raised):
      text = WATCHED[name].text.format(
        value=values[name], limit=self._limits[name]
      )
      end = ""
      if verb := _ENDS.get(action := self._actions[name]):
        end = f"; alarms.{name} {verb}"
        self.stop = self.stop or f"alarm {name}: {text}"
        if action == ROLL_BACK:
          self.roll_back = self.roll_back or name
      self._notes.append(f"alarm {name}: {text}{end}")
    self._raised = raised
    return {f"alarms/{name}": 1.0 for name in sorted(raised)}

  def notes(self) -> list[str]:
    """Return the messages to print: one for each alarm that is new."""
    notes, self._notes = self._notes, []
    return notes

  def _add(self, numbers: Mapping[str, Any]) -> None:
    for name, history in self._history.items():
      value = sum(
        float(numbers.get(metric, math.nan)) for metric in WATCHED[name].metrics
      )
      if math.isfinite(value):
        history.append(value)
