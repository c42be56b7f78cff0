"""Decide when a run saves checkpoints, and survive saves that fail.

A run saves after a number of steps, after a number of minutes, and where an
evaluation is the best so far. If a save fails, as on a full disk, the run
prints a warning and continues, and the save is tried again a minute later. Only
the last save of a run must succeed: `finish` tries it a few times and then
raises an error. If an error ends a run between two updates, `save_after` saves
the steps before it.
"""

from collections.abc import Callable, Mapping
import contextlib
import math
from pathlib import Path
import time
from typing import Any

import jax

from entrojax.system import hosts
from entrojax.system.checkpoint import Checkpoints, SaveError
from entrojax.system.checkpoint_record import Best
from entrojax.types import TrainState

_RETRY = 60  # seconds from a failed save to the next one
_PAUSES = (0, 1, 5)  # seconds before each attempt of the last save

# starts to write a checkpoint and returns its folder
Write = Callable[[Best | None], Path]


class Saves:
  """The saves of one run; every process makes the same calls."""

  def __init__(
    self,
    checkpoints: Checkpoints,
    *,
    every: int,
    minutes: float,
    keep_best: str | None,
    report: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
  ):
    """Start the clock.

    Args:
      checkpoints: the checkpoints of the run.
      every: steps between two saves; 0: no such saves.
      minutes: minutes between two saves; 0: no such saves.
      keep_best: a metric of the evaluations; the checkpoint with its highest
        value is kept. None: no such checkpoint.
      report: takes a line about a save that failed.
      clock: returns the time in seconds.
      sleep: waits for some seconds.
    """
    self._checkpoints = checkpoints
    self._every = every
    self._seconds = 60 * minutes if minutes else math.inf
    self._metric = keep_best
    self._report = report
    self._clock, self._sleep = clock, sleep
    self._next = clock() + self._seconds
    self._new_best: Best | None = None

  def rate(self, step: int, metrics: Mapping[str, Any]) -> None:
    """Note the metrics of an evaluation; the best one's checkpoint is kept.

    The evaluation before the first step counts for nothing: its policy is the
    model that the run starts from.

    Raises:
      ValueError: the metric that keep_best names is not among them.
    """
    if self._metric is None:
      return
    if self._metric not in metrics:
      raise ValueError(
        f"checkpoint.keep_best = {self._metric!r} is no metric of this run's "
        f"evaluations: choose one of {', '.join(sorted(metrics))}"
      )
    value, best = float(metrics[self._metric]), self._checkpoints.best
    better = best is None or best.metric != self._metric or value > best.value
    if step and better and math.isfinite(value):
      self._new_best = Best(self._metric, value, step)

  def due(self, step: int) -> bool:
    """Return whether the run is to save after this step.

    An earlier save that has failed in the background is reported here.
    """
    try:
      self._checkpoints.check()
    except SaveError as error:
      self._say(error)
    by_steps = bool(self._every) and step % self._every == 0
    is_late = self._clock() >= self._next
    return hosts.any_of(by_steps or is_late or self._new_best is not None)

  def save(self, write: Write) -> None:
    """Start a save; if it fails at once, say so."""
    try:
      write(self._new_best)
    except SaveError as error:
      self._say(error)
    else:
      self._next = self._clock() + self._seconds
    self._new_best = None

  def finish(self, write: Write) -> Path:
    """Save the end of a run and wait until it is on disk.

    Returns:
      The folder of the checkpoint.

    Raises:
      ValueError: every attempt has failed.
    """
    for pause in _PAUSES:
      self._sleep(pause)
      try:
        path = write(self._new_best)
        self._checkpoints.wait()
        return path
      except SaveError as error:
        reason = str(error)
    newest = self._checkpoints.latest()
    rest = "no checkpoint" if newest is None else f"checkpoint {newest}"
    raise ValueError(
      f"the end of the run could not be saved: {reason}. The newest on disk is "
      f"{rest}: make room, and run the same command again to resume from it"
    )

  def _say(self, error: SaveError) -> None:
    """Report a failed save, and have it tried again."""
    self._next = self._clock() + min(_RETRY, self._seconds)
    newest = self._checkpoints.latest()
    rest = "there is none yet" if newest is None else f"the newest is {newest}"
    self._report(
      f"warning: a checkpoint could not be saved ({error}); {rest}. The run "
      "goes on and tries again"
    )


def save_after(
  error: Exception,
  state: TrainState,
  finish: Callable[[], Path],
  report: Callable[[str], None],
) -> None:
  """Save what a run has reached before an error ends it, if that is possible.

  It is impossible once an update has taken over the state. With several
  processes, all must save together, so that they save only after an error that
  all of them raise.

  Args:
    error: the error; the caller raises it again.
    state: after the last step whose update has ended.
    finish: saves the run and returns the checkpoint.
    report: takes a line for the user.
  """
  if jax.process_count() > 1 and not isinstance(error, hosts.SharedError):
    return
  if any(leaf.is_deleted() for leaf in jax.tree.leaves(state)):
    return
  try:
    report(
      f"The run ends with an error. Saved {finish()}. The same command resumes "
      "from there."
    )
  except Exception as failure:  # the run ends with the first error
    with contextlib.suppress(OSError):
      report(f"warning: the run could not be saved: {failure}")
