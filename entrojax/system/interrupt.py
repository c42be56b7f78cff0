"""Ctrl-C and SIGTERM as a flag that the train loop reads between steps."""

from collections.abc import Callable
import signal
import threading
from types import FrameType
from typing import Any

# what signal.signal takes and returns
_Handler = Callable[[int, FrameType | None], Any] | int | None


class Interruption:
  """While entered, the first SIGINT or SIGTERM sets `received`.

  A second one interrupts at once, as it would without this class. Outside the
  main thread, where Python takes no signals, it does nothing.
  """

  SIGNALS = (signal.SIGINT, signal.SIGTERM)

  def __init__(self) -> None:
    self.received: str | None = None  # the signal's name
    self._before: dict[int, _Handler] = {}

  def __enter__(self) -> "Interruption":
    if threading.current_thread() is threading.main_thread():
      for number in self.SIGNALS:
        self._before[number] = signal.signal(number, self._receive)
    return self

  def __exit__(self, *_) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def _receive(self, number: int, frame: FrameType | None) -> None:
    del frame
    if self.received is not None:
      raise KeyboardInterrupt
    self.received = signal.Signals(number).name
    print(
      f"{self.received}: saving after this step; once more ends it unsaved",
      flush=True,
    )
