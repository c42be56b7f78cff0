"""End this process in one line if another process of the program has ended.

A process that was killed leaves the others waiting in a sum over all devices.
JAX notices after a hundred seconds, and ends them with a long dump. Here each
process writes a growing number to the store of the first process every few
seconds, in a thread, and reads the numbers of the others. If one stands still
for `PATIENCE`, this process prints a line and ends. It waits for nothing, since
all that it could wait for needs the process that is gone.

If an error ends a process, it writes the error in place of its number. After
some seconds, in which the others may report the same error themselves, each of
them ends in one line that repeats it. The process waits for that, and leaves
without JAX's barrier, at which all would wait for each other.

If the first process is killed, the store is gone with it. JAX notices that at
once, and ends the others with lines of its own, which cannot be replaced: a
Python function as the missed_heartbeat_callback of jaxlib 0.10.2's client ends
in std::bad_cast.
"""

import atexit
from collections.abc import Callable
import contextlib
import os
import sys
import threading
import time
from types import TracebackType

import jax
from jax._src import distributed  # the store has no public name

from entrojax.system.failure import failure

PERIOD = 3.0  # seconds between two signs
PATIENCE = 40.0  # seconds without a sign after which a process is gone
GRACE = 10.0  # seconds from another process's error to the end of this one
_EXIT_WRONG = 2
_DONE = "done"
_FAILED = "failed: "  # before the error


class Signs:
  """The signs of life of all processes, as one of them sees them."""

  def __init__(self, number: int, count: int, clock: Callable[[], float]):
    """Start with a sign of every process.

    Args:
      number: the number of this process.
      count: the number of processes.
      clock: returns the time in seconds.
    """
    self._clock = clock
    self._latest = {i: ("", clock()) for i in range(count) if i != number}
    self._store = clock()
    self._failure: tuple[int, float] | None = None  # the first, and since when

  @property
  def are_over(self) -> bool:
    """Whether all other processes have ended or are about to."""
    return all(
      sign == _DONE or sign.startswith(_FAILED)
      for sign, _ in self._latest.values()
    )

  def read(self, get: Callable[[int], str | None]) -> str:
    """Read the signs; return what to say if a process has ended, otherwise "".

    Args:
      get: returns the latest sign of a process, None before its first one. It
        raises RuntimeError if the store cannot be reached.
    """
    now = self._clock()
    try:
      for number, (before, _) in self._latest.items():
        sign = get(number)
        if sign is None:
          continue
        if sign.startswith(_FAILED) and self._failure is None:
          self._failure = (number, now)
        if sign == _DONE or sign != before or sign.startswith(_FAILED):
          self._latest[number] = (sign, now)
      self._store = now
    except RuntimeError:
      gone = 0 if now - self._store >= PATIENCE else None  # it has the store
    else:
      late = [
        i for i, (_, seen) in self._latest.items() if now - seen >= PATIENCE
      ]
      gone = late[0] if late else None
    if self._failure is not None and now - self._failure[1] >= GRACE:
      return self._describe_failure(self._failure[0])
    if gone is None:
      return ""
    return (
      f"error: process {gone} of {len(self._latest) + 1} is gone: it has given "
      f"no sign of life for {PATIENCE:g} seconds. Run the same command again "
      "to resume from the last checkpoint"
    )

  def _describe_failure(self, number: int) -> str:
    error = self._latest[number][0].removeprefix(_FAILED)
    return (
      f"error: process {number} of {len(self._latest) + 1} failed: {error}. "
      "Run the same command again to resume from the last checkpoint"
    )


def end(message: str, *, wait: float) -> None:
  """Print a message as the last line of this process, and end it.

  Args:
    message: what is wrong.
    wait: seconds before the end. Other threads still run, and what they
      print is thrown away: sums fail as soon as the other processes end.
  """
  print(message, file=sys.stderr, flush=True)
  nothing = os.open(os.devnull, os.O_WRONLY)
  for stream in (1, 2):
    os.dup2(nothing, stream)
  time.sleep(wait)
  os._exit(_EXIT_WRONG)


def watch() -> None:
  """Start the thread that gives and reads signs, in a program of several."""
  client = distributed.global_state.client
  if jax.process_count() == 1 or client is None:
    return
  here = jax.process_index()
  name = "entrojax/alive/{}".format
  signs = Signs(here, jax.process_count(), time.monotonic)

  def get(number: int) -> str | None:
    try:
      return client.key_value_try_get(name(number))
    except RuntimeError as error:
      if "NOT_FOUND" in str(error):
        return None
      raise

  def give(text: str) -> None:
    with contextlib.suppress(RuntimeError):  # `read` finds out for how long
      client.key_value_set(name(here), text, allow_overwrite=True)

  def run() -> None:
    count = 0
    while True:
      count += 1
      give(f"{_FAILED}{failure.text}" if failure.text else str(count))
      message = signs.read(get)
      if failure.text:  # the main thread ends the process, unless it hangs
        late = time.monotonic() - failure.noted_at >= GRACE + 4 * PERIOD
        message = f"error: {failure.text}" if late else ""
      if message:
        give(_DONE)
        # the others must read the first process's store before it ends
        end(message, wait=2 * PERIOD if here == 0 else 0)
      time.sleep(PERIOD)

  def leave() -> None:
    """Say how this process ends; after an error, end it without a barrier."""
    if not failure.text:
      give(_DONE)
      return
    give(f"{_FAILED}{failure.text}")
    deadline = time.monotonic() + GRACE + 2 * PERIOD
    while not signs.are_over and time.monotonic() < deadline:
      time.sleep(PERIOD / 10)  # the thread reads the signs
    for stream in (sys.stdout, sys.stderr):
      stream.flush()
    os._exit(failure.status)

  def note(
    kind: type[BaseException],
    error: BaseException,
    trace: TracebackType | None,
  ) -> None:
    failure.note(error, 1)
    show(kind, error, trace)

  show, sys.excepthook = sys.excepthook, note
  atexit.register(leave)
  threading.Thread(target=run, daemon=True, name="signs of life").start()
