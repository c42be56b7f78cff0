"""Run functions that may hang or crash in separate processes with a time limit.

A call is sent to a process as a line of JSON, and so is its result sent back. A
process that does not answer in time is killed, and the next call replaces a
process that has died. Other calls are not affected. The time limit is kept by a
timer thread, not by an alarm signal, so any thread may call. Results are never
unpickled: if a response takes control of a process, it can return a wrong
value, but it cannot run code in the calling process.

A pool serves one function. Its processes run this file as a script and load the
function from the file that defines it. This file imports nothing from entrojax,
so that a process starts without JAX unless the function's own file imports it.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
import contextlib
import functools
import importlib.util
import inspect
import json
import os
from pathlib import Path
import queue
import subprocess
import sys
import threading
from typing import Any

START_SECONDS = 120.0  # time limit of imports, which no call includes
MEMORY = 4 << 30  # bytes of address space per process, if it can be limited


class WorkerError(RuntimeError):
  """A call raised, or its process died."""


class Worker:
  """One process that runs a function, one call at a time."""

  def __init__(self, file: str, name: str, warm_up: tuple | None):
    """Start the process, which imports `file` and makes the call warm_up.

    Args:
      file: the file that defines the function.
      name: the function's name in it.
      warm_up: arguments of a first call; None: there is no first call.
    """
    paths = [path or str(Path.cwd()) for path in sys.path]
    self._process = subprocess.Popen(
      [sys.executable, "-P", __file__, file, name],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      encoding="ascii",
      env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    try:
      self._exchange("", START_SECONDS)
      if warm_up is not None:
        self.call(warm_up, START_SECONDS)
    except (TimeoutError, WorkerError):
      self.stop()
      raise

  def call(self, args: tuple, seconds: float) -> Any:
    """Call the function in the process; see Pool.call."""
    return self._exchange(json.dumps([args, seconds]) + "\n", seconds)

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
      raise TimeoutError(f"no answer in {seconds} seconds")
    return self._read(line)

  def _read(self, line: str) -> Any:
    """Parse a line; raise WorkerError unless it holds a value."""
    try:
      answer = json.loads(line)
      failure = answer.get("error")
    except (ValueError, AttributeError, RecursionError):  # it is no answer
      self.stop()
      raise WorkerError("the process died") from None
    if failure is not None:
      raise WorkerError(failure)
    return answer.get("value")

  def alive(self) -> bool:
    return self._process.poll() is None

  def stop(self) -> None:
    self._process.kill()
    self._process.wait()


class Pool:
  """Processes that share the calls of one function; a context manager.

  Each starts when a call first needs it. All end with this process.
  """

  def __init__(
    self,
    function: Callable[..., Any],
    *,
    size: int = 1,
    seconds: float = 5.0,
    warm_up: tuple | None = None,
  ):
    """Build a pool without starting a process.

    Args:
      function: a function at a module's top level, whose arguments and result
        JSON can represent. Its file is imported as a separate module.
      size: the number of processes, and so of calls that run at once.
      seconds: the time limit of a call.
      warm_up: arguments of a call that each process makes when it starts, with
        more time, for slow imports; None: there is no such call.

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
    self._worker = functools.partial(Worker, file, function.__name__, warm_up)
    self._size, self._seconds = size, seconds
    self._free: queue.LifoQueue[Worker | None] = queue.LifoQueue()
    for _ in range(size):
      self._free.put(None)  # a place without a process yet

  def call(self, *args: Any) -> Any:
    """Return function(*args). This is thread-safe.

    Raises:
      TimeoutError: the call took longer than `seconds`; its process was killed.
      WorkerError: the function raised, or its process died or did not start.
    """
    worker = self._free.get()
    try:
      if worker is None or not worker.alive():
        worker = self._worker()
      return worker.call(args, self._seconds)
    finally:
      self._free.put(worker)

  def map(self, calls: Iterable[tuple]) -> list[Any]:
    """Make several calls at once.

    Args:
      calls: the arguments of each call.

    Returns:
      The result of each call, in order. If a call raised, its place holds the
      exception.
    """

    def attempt(args):
      try:
        return self.call(*args)
      except (TimeoutError, WorkerError) as error:
        return error

    with ThreadPoolExecutor(self._size) as threads:
      return list(threads.map(attempt, calls))

  def close(self) -> None:
    """End the processes after their calls; a later call starts new ones."""
    workers = [self._free.get() for _ in range(self._size)]
    for worker in workers:
      if worker is not None:
        worker.stop()
      self._free.put(None)

  def __enter__(self) -> "Pool":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()


# -- in the process -----------------------------------------------------------


def _serve(file: str, name: str) -> None:
  """Answer calls until the calling process closes the pipe or ends."""
  answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="ascii")
  sys.stdout = sys.stderr  # keeps the function's own output apart
  spec = importlib.util.spec_from_file_location("_of_a_pool", file)
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  function = getattr(module, name)
  _limit("RLIMIT_AS", MEMORY)
  print(json.dumps({"value": "ready"}), file=answers, flush=True)
  for line in sys.stdin:
    args, seconds = json.loads(line)
    # if the calling process dies meanwhile, only this limit ends a hanging call
    _limit("RLIMIT_CPU", int(os.times().user + os.times().system + seconds) + 1)
    try:
      answer = json.dumps({"value": function(*args)})
    except Exception as error:  # any exception means that the call failed
      answer = json.dumps({"error": f"{type(error).__name__}: {error}"[:200]})
    print(answer, file=answers, flush=True)


def _limit(name: str, value: int) -> None:
  """Lower a limit of this process, on systems that have such limits."""
  try:
    import resource

    kind = getattr(resource, name)
    resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))
  except (ImportError, AttributeError, OSError, ValueError):
    return


if __name__ == "__main__":
  _serve(*sys.argv[1:])
