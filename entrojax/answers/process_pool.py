"""Run functions that may hang or crash in separate processes with a time limit.

A call is sent to a process as a line of JSON, and so is its result sent back. A
process that does not answer in time is killed, and the next call replaces a
process that has died. Other calls are not affected. The time limit is kept by
timers, not by handlers of signals, so any thread may call. Each process also
has a limit on its memory, where the system has such limits. Results are never
unpickled: if a response takes control of a process, it cannot return code that
the calling process would run. But the process is no sandbox: it has all rights
of its user.

`Pool.map` makes many calls with all processes at once. It has a time limit for
one call and one for all of them. To replace a process costs its imports again,
which may take a second. A pool with `fork=True` avoids this: each process
imports once, and a copy of it (a fork) answers the calls. If a copy is killed,
the next one is there in milliseconds. `map` then tries every call for a short
time first, so a few calls that hang do not keep the others waiting.

A pool serves one function. Its processes run pool_process.py, which loads the
function from the file that defines it.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
import contextlib
import functools
import inspect
import json
import math
import os
from pathlib import Path
import queue
import signal
import subprocess
import sys
import threading
import time
from typing import Any
import weakref

START_SECONDS = 120.0  # time limit of imports, which no call includes
MAX_WORKERS = 32  # `num_workers` returns no more, on any machine
# shares of a call's limit after which `map` puts a call back, if restarts are
# cheap: all calls are tried for a hundredth first
FORK_ROUNDS = (0.01, 0.04, 0.2, 1.0)
RETRY_SHARE = 0.25  # of a batch's time limit, for all rounds after the first
_SCRIPT = str(Path(__file__).with_name("pool_process.py"))
_SPARE_SECONDS = 10.0  # a process with forks ends them itself; then we do


class WorkerError(RuntimeError):
  """A call raised, or its process died."""


class NotReachedError(TimeoutError):
  """The time limit of a batch ended before this call had its own time."""


def num_workers() -> int:
  """Return the number of processes that this machine can run at once."""
  try:
    available = len(os.sched_getaffinity(0))
  except AttributeError:  # not on macOS
    available = os.cpu_count() or 1
  return min(available, MAX_WORKERS)


class Worker:
  """One process that runs a function, one call at a time."""

  def __init__(
    self, file: str, name: str, warm_up: Sequence[tuple], fork: bool = False
  ):
    """Start the process, which imports `file` and makes the calls warm_up.

    Args:
      file: the file that defines the function.
      name: the function's name in it.
      warm_up: the arguments of each first call.
      fork: whether forks of the process answer the calls.

    Raises:
      TimeoutError: the start took longer than START_SECONDS.
      WorkerError: the import or a first call raised.
    """
    self._fork = fork and hasattr(os, "fork")
    paths = [path or str(Path.cwd()) for path in sys.path]
    self._process = subprocess.Popen(
      [
        *(sys.executable, "-P", _SCRIPT, file, name),
        json.dumps({"warm_up": warm_up, "fork": self._fork}),
      ],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      encoding="ascii",
      env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
      start_new_session=True,  # a Ctrl-C is for us alone; stop() ends the forks
    )
    # Without this, subprocess keeps a running process and its pipes for ever.
    self._ender = weakref.finalize(self, _end, self._process)
    try:
      self._exchange("", START_SECONDS)
    except (TimeoutError, WorkerError):
      self.close()
      raise

  def call(
    self, args: tuple, seconds: float, cpu_seconds: float | None = None
  ) -> Any:
    """Call the function in the process; see Pool.call.

    Args:
      args: the arguments.
      seconds: the time limit.
      cpu_seconds: the limit of CPU time, with forks only; None: `seconds`.
    """
    request = json.dumps([args, seconds, cpu_seconds or seconds]) + "\n"
    if not self._fork:
      return self._exchange(request, seconds)
    try:
      return self._exchange(request, seconds + _SPARE_SECONDS)
    except TimeoutError:
      raise TimeoutError(f"no answer in {seconds} seconds") from None

  def _exchange(self, request: str, seconds: float) -> Any:
    """Write a request and read a line; at the time limit, kill the process."""
    assert self._process.stdin is not None and self._process.stdout is not None
    expired = threading.Event()

    def expire():
      expired.set()
      self.stop()

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    with contextlib.suppress(OSError):  # it has died, so no line will come
      self._process.stdin.write(request)
      self._process.stdin.flush()
    line = self._process.stdout.readline()
    timer.cancel()
    timer.join()
    if expired.is_set():
      self._close_pipes()
      raise TimeoutError(f"no answer in {seconds} seconds")
    return self._read(line)

  def _read(self, line: str) -> Any:
    """Parse a line; raise unless it holds a value."""
    try:
      answer = json.loads(line)
      failure = answer.get("error")
    except (ValueError, AttributeError, RecursionError):  # it is no answer
      self.close()
      raise WorkerError("the process died") from None
    if answer.get("timeout"):
      raise TimeoutError("no answer in time")
    if failure is not None:
      raise WorkerError(failure)
    return answer.get("value")

  def alive(self) -> bool:
    return self._process.poll() is None

  def stop(self) -> None:
    """Kill the process and its forks, if that was not done."""
    if self._ender.detach():
      _kill(self._process)

  def close(self) -> None:
    """Kill the process and its forks, and close the pipes; no call is made."""
    self.stop()
    self._close_pipes()

  def _close_pipes(self) -> None:
    _close_pipes(self._process)


def _kill(process: subprocess.Popen) -> None:
  """Kill a process and its forks."""
  if hasattr(os, "killpg"):
    with contextlib.suppress(ProcessLookupError, PermissionError):
      os.killpg(process.pid, signal.SIGKILL)
  process.kill()
  process.wait()


def _close_pipes(process: subprocess.Popen) -> None:
  for pipe in (process.stdin, process.stdout):
    if pipe is not None:
      with contextlib.suppress(OSError):  # of what could not be written
        pipe.close()


def _end(process: subprocess.Popen) -> None:
  """Kill the process of a Worker that nobody has any more."""
  _kill(process)
  _close_pipes(process)


class Pool:
  """Processes that share the calls of one function; a context manager.

  Each starts when a call first needs it. All end with the pool, at the latest
  when nothing refers to it any more.
  """

  def __init__(
    self,
    function: Callable[..., Any],
    *,
    size: int = 1,
    seconds: float = 5.0,
    warm_up: Sequence[tuple] = (),
    fork: bool = False,
  ):
    """Build a pool without starting a process.

    Args:
      function: a function at a module's top level, whose arguments and result
        JSON can represent. Its file is imported as a separate module.
      size: the number of processes, and so of calls that run at once.
      seconds: the time limit of a call.
      warm_up: arguments of calls that each process makes when it starts, with
        more time, for slow imports. Forks find what these calls have cached.
      fork: whether forks of the processes answer the calls, so that a process
        that was killed is replaced in milliseconds. The function's file must
        start no threads. On systems without forks this has no effect.

    Raises:
      ValueError: size or seconds is out of range, or the function is not at a
        module's top level.
    """
    if size < 1:
      raise ValueError(f"process_pool.size must be at least 1, got {size}")
    if not 0 < seconds < threading.TIMEOUT_MAX:
      raise ValueError(f"process_pool.seconds must be above 0, got {seconds}")
    if "." in function.__qualname__:
      raise ValueError(
        "process_pool.function must be at a module's top level, got "
        f"{function.__qualname__!r}"
      )
    file = str(Path(inspect.getfile(function)).resolve())
    self._worker = functools.partial(
      Worker, file, function.__name__, warm_up, fork
    )
    self._size, self._seconds = size, seconds
    self._rounds = FORK_ROUNDS if fork and hasattr(os, "fork") else (1.0,)
    self._free: queue.LifoQueue[Worker | None] = queue.LifoQueue()
    for _ in range(size):
      self._free.put(None)  # a place without a process yet

  def call(self, *args: Any) -> Any:
    """Return function(*args). This is thread-safe.

    Raises:
      TimeoutError: the call took longer than `seconds`; its process was killed.
      WorkerError: the function raised, or its process died or did not start.
    """
    return self._call(args, self._seconds, self._seconds)

  def _call(self, args: tuple, seconds: float, cpu_seconds: float) -> Any:
    worker = self._free.get()
    try:
      if worker is not None and not worker.alive():
        worker.close()
        worker = None
      if worker is None:
        worker = self._worker()
      return worker.call(args, seconds, cpu_seconds)
    finally:
      self._free.put(worker)

  def map(self, calls: Iterable[tuple], seconds: float = math.inf) -> list[Any]:
    """Make several calls with all processes at once.

    Args:
      calls: the arguments of each call.
      seconds: the time limit of all calls together.

    Returns:
      The result of each call, in order. If a call raised, its place holds the
      exception: NotReachedError if the time of all calls ended before the call
      had been tried for its own limit. With forks, calls that took longer than
      the first short limit get a quarter of the time of all calls.
    """
    work = list(calls)
    late = NotReachedError(f"not reached within {seconds:g} s for all calls")
    results: list[Any] = [late] * len(work)
    end = time.monotonic() + seconds
    deadline = end
    if len(self._rounds) > 1:  # the others have their time, whatever hangs
      deadline -= seconds * RETRY_SHARE if seconds < math.inf else 0
    left = list(range(len(work)))
    for number, share in enumerate(self._rounds):
      if number == 1:  # what is left probably hangs
        deadline = min(end, time.monotonic() + seconds * RETRY_SHARE)
      last = share == self._rounds[-1]
      left = self._round(work, left, share, deadline, results, last)
    return results

  def _round(
    self,
    work: Sequence[tuple],
    indices: Sequence[int],
    share: float,
    deadline: float,
    results: list[Any],
    last: bool,
  ) -> list[int]:
    """Try some calls for a share of their limit; see `map`.

    The short limits count CPU time, because an overloaded machine may give a
    process little of it. They let a call sleep 20 times as long.

    Args:
      work: the arguments of all calls.
      indices: the calls to make.
      share: of the time limit of a call, in (0, 1].
      deadline: the end of the batch, on time.monotonic's clock.
      results: the results of all calls, to be filled.
      last: whether a call that takes longer has failed.

    Returns:
      The calls that must be tried for longer.
    """
    again: list[int] = []

    def attempt(index: int) -> None:
      cpu_seconds = share * self._seconds
      rest = deadline - time.monotonic()
      if rest <= 0:
        again.append(index)
        return
      limit = min(self._seconds, 20 * cpu_seconds)
      try:
        results[index] = self._call(
          work[index], min(limit, rest), min(cpu_seconds, rest)
        )
      except TimeoutError as error:
        if not last:
          again.append(index)
        elif rest >= limit:
          results[index] = error
      except WorkerError as error:
        results[index] = error

    if indices:
      with ThreadPoolExecutor(min(self._size, len(indices))) as threads:
        list(threads.map(attempt, indices))
    return sorted(again)

  def close(self) -> None:
    """End the processes after their calls; a later call starts new ones."""
    workers = [self._free.get() for _ in range(self._size)]
    for worker in workers:
      if worker is not None:
        worker.close()
      self._free.put(None)

  def __enter__(self) -> "Pool":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()
