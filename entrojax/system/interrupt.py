"""Turn Ctrl-C and SIGTERM into a flag that a training loop reads between steps.

The first signal only sets the flag. The loop of entrojax.main or entrojax.sft
then finishes its step, saves a checkpoint and ends. A second signal raises
KeyboardInterrupt at once, and nothing is saved. The program itself may set the
flag too.

A sweep has a flag of its own around the flags of its runs. A signal sets them
all, and a run that begins after the signal ends at once. So no signal is lost
between two runs or while a run is built.
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
  """

  SIGNALS = (signal.SIGINT, signal.SIGTERM)

  def __init__(self) -> None:
    self.received: str | None = None  # the signal's name, or the reason
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

  def request(self, reason: str) -> None:
    """Set the flag as a first signal would.

    Args:
      reason: takes the place of the signal's name.
    """
    self.received = self.received or reason

  def _receive(self, number: int, frame: FrameType | None) -> None:
    del frame
    if self.received is not None:
      raise KeyboardInterrupt
    for interruption in _entered:
      interruption.request(signal.Signals(number).name)
    report = _report.get() or functools.partial(print, flush=True)
    report(
      f"{self.received} received. The run saves and ends after this step. "
      "Interrupt again to end it at once, without saving."
    )
