"""Functions that may hang or crash, in processes of their own, time-limited.

A call goes to a process as a line of JSON and comes back as one. A process that
does not answer in time is killed, one that died is replaced by the next call,
and neither is seen by other calls. Nothing depends on signals, so that any
thread may call, and nothing is unpickled, so that a process that a response has
led astray can return a wrong value, but run nothing here.

The processes run this file by itself and load the function from the file that
defines it: JAX is not imported, unless that file does.
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

START_SECONDS = 120.0  # for imports, which count to no call
MEMORY = 4 << 30  # bytes of a process's address space, where that can be set


class WorkerError(RuntimeError):
  """A call raised, or its process died."""


class Worker:
  """One process that holds a function, and answers one call at a time."""

  def __init__(self, file: str, name: str, warm_up: tuple | None):
    """Starts the process, which imports `file` and makes the call warm_up."""
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
    """Returns what the function does; see Pool.call."""
    return self._exchange(json.dumps([args, seconds]) + "\n", seconds)

  def _exchange(self, request: str, seconds: float) -> Any:
    """Writes, and reads a line; a timer that kills the process ends both."""
    assert self._process.stdin is not None and self._process.stdout is not None
    expired = threading.Event()

    def expire():
      expired.set()
      self.stop()

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    with contextlib.suppress(OSError):  # it is dead: no line will come
      self._process.stdin.write(request)
      self._process.stdin.flush()
    line = self._process.stdout.readline()
    timer.cancel()
    timer.join()
    if expired.is_set():
      raise TimeoutError(f"no answer in {seconds} seconds")
    return self._read(line)

  def _read(self, line: str) -> Any:
    """Returns the value in an answer, or raises."""
    try:
      answer = json.loads(line)
      failure = answer.get("error")
    except (ValueError, AttributeError, RecursionError):  # or it is no answer
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

  They start when a call first needs them, and end with this process.
  """

  def __init__(
    self,
    function: Callable[..., Any],
    *,
    size: int = 1,
    seconds: float = 5.0,
    warm_up: tuple | None = None,
  ):
    """Makes a pool; starts nothing.

    Args:
      function: of a module's top level; takes and returns what JSON can write.
        Its file is imported by itself.
      size: processes, which is how many calls run at once.
      seconds: that a call may take.
      warm_up: arguments of a call that each process makes before its first,
        with time for slow imports.

    Raises:
      ValueError: size or seconds is out of range, or function is a closure.
    """
    if size < 1:
      raise ValueError(f"verify_pool.size must be at least 1, got {size}")
    if not 0 < seconds < threading.TIMEOUT_MAX:
      raise ValueError(f"verify_pool.seconds must be above 0, got {seconds}")
    if "." in function.__qualname__:
      raise ValueError(
        "verify_pool.function must be of a module's top level, got "
        f"{function.__qualname__!r}"
      )
    file = str(Path(inspect.getfile(function)).resolve())
    self._worker = functools.partial(Worker, file, function.__name__, warm_up)
    self._size, self._seconds = size, seconds
    self._free: queue.LifoQueue[Worker | None] = queue.LifoQueue()
    for _ in range(size):
      self._free.put(None)  # a place without a process yet

  def call(self, *args: Any) -> Any:
    """Returns function(*args); any thread may call.

    Raises:
      TimeoutError: it took longer than `seconds`; the process was killed.
      WorkerError: it raised, or its process died or could not start.
    """
    worker = self._free.get()
    try:
      if worker is None or not worker.alive():
        worker = self._worker()
      return worker.call(args, self._seconds)
    finally:
      self._free.put(worker)

  def map(self, calls: Iterable[tuple]) -> list[Any]:
    """Returns what each call does, in order; an exception in its place."""

    def attempt(args):
      try:
        return self.call(*args)
      except (TimeoutError, WorkerError) as error:
        return error

    with ThreadPoolExecutor(self._size) as threads:
      return list(threads.map(attempt, calls))

  def close(self) -> None:
    """Ends the processes once their calls are done; a call starts others."""
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
  """Answers calls until the other side closes, or is gone."""
  answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="ascii")
  sys.stdout = sys.stderr  # whatever the function prints is no answer
  spec = importlib.util.spec_from_file_location("_of_a_pool", file)
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  function = getattr(module, name)
  _limit("RLIMIT_AS", MEMORY)
  print(json.dumps({"value": "ready"}), file=answers, flush=True)
  for line in sys.stdin:
    args, seconds = json.loads(line)
    # should the other side die meanwhile, nobody else ends a call that hangs
    _limit("RLIMIT_CPU", int(os.times().user + os.times().system + seconds) + 1)
    try:
      answer = json.dumps({"value": function(*args)})
    except Exception as error:  # whatever it is, it has one meaning: failed
      answer = json.dumps({"error": f"{type(error).__name__}: {error}"[:200]})
    print(answer, file=answers, flush=True)


def _limit(name: str, value: int) -> None:
  """Lowers a limit of this process, on systems that have it."""
  try:
    import resource

    kind = getattr(resource, name)
    resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))
  except (ImportError, AttributeError, OSError, ValueError):
    return


if __name__ == "__main__":
  _serve(*sys.argv[1:])
