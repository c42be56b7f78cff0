"""Show the progress of a sweep to the person who watches it.

On a terminal this is a live table of the units that run, with their latest
numbers, above a line with the number of units in each state and the time left.
Anywhere else it is plain lines: one when a unit begins and one when it ends.
"""

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
import math
import sys
import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from entrojax.reporting.formatting import number
from entrojax.reporting.progress import duration
from entrojax.system.terminal import harmless

# label -> name of the metric, in which * stands for any data set
_SHOWN = {
  "entropy": "actor/entropy",
  "reward": "critic/rewards/mean",
  "pass@1": "val/*/pass@1",
}
_ROWS = 8  # ended units in the live table


class SweepProgress:
  """Shows how far a sweep is. Use it as a context manager.

  Args:
    names: the names of the units to run.
    num_steps: rollout steps of each of them.
    latest: (place of a unit in `names`) -> its latest metrics, by name.
    jobs: the number of units that run at once.
    console: where to write; None means standard output.
    clock: returns the time in seconds.
  """

  def __init__(
    self,
    names: Sequence[str],
    *,
    num_steps: Sequence[int],
    latest: Callable[[int], Mapping[str, Any]],
    jobs: int = 1,
    console: Console | None = None,
    clock: Callable[[], float] = time.monotonic,
  ):
    self._names, self._num_steps = names, num_steps
    self._latest, self._jobs, self._clock = latest, jobs, clock
    # stdout as it is now; later it may be directed to a unit's file
    self._console = console or Console(file=sys.stdout)
    self._began: dict[int, float] = {}  # place -> time, of running units
    self._ends: dict[int, tuple[str, float]] = {}  # place -> (end, seconds)
    terminal = self._console.is_terminal and not self._console.is_dumb_terminal
    self._live = (
      Live(
        get_renderable=self._render,
        console=self._console,
        refresh_per_second=2,
        redirect_stdout=False,  # a unit's output goes to its own file
        redirect_stderr=False,
      )
      if terminal
      else None
    )

  def started(self, place: int) -> None:
    """Show that a unit begins."""
    self._began[place] = self._clock()
    if not self._live:
      self._print(f"{self._head(place)} begins")

  def ended(self, place: int, end: str, reason: str = "") -> None:
    """Show how a unit ended.

    Args:
      place: of the unit in `names`.
      end: such as "finished" or "failed".
      reason: of a failure; shown above the table, and on a line of its own
        elsewhere.
    """
    seconds = self._clock() - self._began.pop(place)
    self._ends[place] = (end, seconds)
    parts = [f"{self._head(place)} {end} after {duration(seconds)}"]
    if reason:
      parts.append(f": {reason}")
    elif numbers := self._numbers(place):
      parts.append(f"  {numbers}")
    if reason or not self._live:
      self._print("".join(parts))

  def note(self, text: str) -> None:
    """Print a line of text above the table."""
    self._print(text)

  def _head(self, place: int) -> str:
    done = len(self._ends)
    return f"[{done}/{len(self._names)}] {self._names[place]}"

  def _numbers(self, place: int) -> str:
    values = _shown(self._latest(place))
    return "  ".join(f"{label} {text}" for label, text in values.items())

  def _print(self, text: str) -> None:
    self._console.print(Text(harmless(text)), soft_wrap=True, highlight=False)
    self._console.file.flush()

  def _time_left(self) -> str:
    """Format the time left, from the units that ended in this process."""
    times = [
      seconds for end, seconds in self._ends.values() if end == "finished"
    ]
    if not times:
      return "time left unknown"
    waiting = len(self._names) - len(self._ends)
    mean = sum(times) / len(times)
    running = sum(self._clock() - began for began in self._began.values())
    jobs = max(1, min(self._jobs, waiting))
    return f"time left {duration(max(0.0, waiting * mean - running) / jobs)}"

  def _render(self) -> Group:
    table = Table(box=None, pad_edge=False)
    columns = ["unit", "state", "rollout", *_SHOWN, "time"]
    for name in columns:
      table.add_column(
        name,
        justify="left" if name in ("unit", "state") else "right",
        no_wrap=True,
        overflow="ellipsis",
      )
    ended = list(self._ends)[-_ROWS:]
    for place in (*ended, *self._began):
      metrics = self._latest(place)
      values = _shown(metrics)
      state, seconds = self._ends.get(
        place, ("running", self._clock() - self._began.get(place, 0.0))
      )
      step = metrics.get("rollout_step", 0)
      table.add_row(
        self._names[place],
        state,
        f"{step}/{self._num_steps[place]}",
        *(values.get(label, "") for label in _SHOWN),
        duration(seconds),
      )
    counts = [f"{len(self._began)} running"]
    states = [end for end, _ in self._ends.values()]
    counts += [
      f"{states.count(state)} {state}" for state in dict.fromkeys(states)
    ]
    waiting = len(self._names) - len(self._ends) - len(self._began)
    line = f"{', '.join(counts)}, {waiting} waiting; {self._time_left()}"
    return Group(table, Text(line, overflow="ellipsis", no_wrap=True))

  def __enter__(self) -> "SweepProgress":
    if self._live:
      self._live.start()
    return self

  def __exit__(self, *_) -> None:
    if self._live:
      self._live.stop()


def _shown(metrics: Mapping[str, Any]) -> dict[str, str]:
  """Return the numbers to show, as label -> text."""
  return {
    label: number(math.nan if value is None else value)
    for label, pattern in _SHOWN.items()
    for name, value in metrics.items()
    if fnmatchcase(name, pattern)
  }
