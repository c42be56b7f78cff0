"""Estimate the time that a run still needs, from its recent steps.

The first step of a process also compiles, so it counts only while there is no
other one. A step's time is the median of the last steps, so that a pause of
the machine does not change it. The evaluations that are still due take as long
as the shortest one so far, as the first also compiles.
"""

from collections import deque
import statistics

_WINDOW = 20  # steps


class TimeLeft:
  """Collects when steps and evaluations ended, and estimates the rest.

  Args:
    total: the number of steps of the whole run.
    first: the number of steps that were done before this process.
    now: the time at which this process starts, seconds.
    evaluate_every: steps between evaluations; 0 = only one after the last step.
      None: there are no evaluations.
  """

  def __init__(
    self,
    total: int,
    *,
    first: int,
    now: float,
    evaluate_every: int | None = None,
  ):
    self._total, self._done = total, first
    self._every = evaluate_every
    self._last = now  # when the last step or evaluation ended
    self._first_step: float | None = None  # seconds per step, with compilation
    self._steps: deque[float] = deque(maxlen=_WINDOW)  # seconds per step
    self._evaluation: float | None = None  # seconds
    self._is_evaluated = True  # whether the evaluation at `done` has ended

  def step(self, done: int, now: float) -> None:
    """Record that `done` steps of the run are done."""
    if done <= self._done:
      return
    seconds = (now - self._last) / (done - self._done)
    if self._first_step is None:
      self._first_step = seconds
    else:
      self._steps.append(seconds)
    self._done, self._last, self._is_evaluated = done, now, False

  def evaluation(self, now: float) -> None:
    """Record that an evaluation has ended."""
    seconds = now - self._last
    self._evaluation = min(seconds, self._evaluation or seconds)
    self._last, self._is_evaluated = now, True

  def seconds(self) -> float | None:
    """Return the seconds left; None before the first step."""
    if self._first_step is None:
      return None
    step = statistics.median(self._steps) if self._steps else self._first_step
    due = self._evaluations_due() * (self._evaluation or 0.0)
    return (self._total - self._done) * step + due

  def _evaluations_due(self) -> int:
    """Return the number of evaluations that have not ended yet."""
    if self._every is None:
      return 0
    every, total = self._every, self._total
    is_due = lambda step: step == total or bool(every and step % every == 0)
    first = self._done + 1 if self._is_evaluated else self._done
    return sum(map(is_due, range(first, total + 1)))
