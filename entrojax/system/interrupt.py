"""Turn Ctrl-C and SIGTERM into a flag that a training loop reads between steps.

The first signal only sets the flag. The loop of entrojax.main or entrojax.sft
then finishes its step, saves a checkpoint and ends. A second signal raises
KeyboardInterrupt at once, and nothing is saved. The program itself may ask for
the end of a run too, as an alarm does. That is no signal, and the first signal
after it is still the first.

A sweep has a flag of its own around the flags of its runs. A signal sets them
all, and a run that begins after the signal ends at once. So no signal is lost
between two runs or while a run is built. A request ends only the run that
makes it; those around the run get to know the reason.
"""

from collections.abc import Callable, Iterator
import contextlib
import contextvars
import functools
import signal
import threading
from types import FrameType
from typing import Any

# takes the message about a first signal; None: it is printed
_report: contextvars.ContextVar[Callable[[str], None] | None]
_report = contextvars.ContextVar("report", default=None)


@contextlib.contextmanager
def report_to(report: Callable[[str], None]) -> Iterator[None]:
  """Pass the message about a first signal to a function."""
  token = _report.set(report)
  try:
    yield
  finally:
    _report.reset(token)


# What signal.signal takes and returns.
_Handler = Callable[[int, FrameType | None], Any] | int | None

_entered: list["Interruption"] = []  # from the outermost to the innermost


class Interruption:
  """A context manager in which the first SIGINT or SIGTERM sets `received`.

  Within another Interruption that has received a signal, `received` is set from
  the beginning. A second signal raises KeyboardInterrupt at once. Outside the
  main thread, where Python receives no signals, the context manager does
  nothing.

  Attributes:
    received: the name of the first signal; None without one.
    reason: why the program itself ends this run, or ended a run within this
      context; None if it did not.
  """

  SIGNALS = (signal.SIGINT, signal.SIGTERM)

  def __init__(self) -> None:
    self.received: str | None = None
    self.reason: str | None = None
    self._has_request = False
    self._previous: dict[int, _Handler] = {}

  def __enter__(self) -> "Interruption":
    if threading.current_thread() is threading.main_thread():
      for number in self.SIGNALS:
        self._previous[number] = signal.signal(number, self._receive)
      if _entered:
        self.received = _entered[-1].received
      _entered.append(self)
    return self

  def __exit__(self, *_) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler)
    if self in _entered:
      _entered.remove(self)

  @property
  def ends(self) -> bool:
    """Whether the loop is to end: after a signal or its own request."""
    return self.received is not None or self._has_request

  def request(self, reason: str) -> None:
    """End this run as a first signal would, but not what is around it.

    Args:
      reason: why, for `reason` of this context and of those around it.
    """
    self._has_request = True
    self.reason = reason
    for interruption in _entered:
      interruption.reason = reason

  def _receive(self, number: int, frame: FrameType | None) -> None:
    del frame
    if self.received is not None:
      raise KeyboardInterrupt
    for interruption in _entered:
      interruption.received = signal.Signals(number).name
    report = _report.get() or functools.partial(print, flush=True)
    report(
      f"{self.received} received. The run saves and ends after this step. "
      "Interrupt again to end it at once, without saving."
    )
