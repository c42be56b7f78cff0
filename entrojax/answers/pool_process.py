"""Answer the calls of a pool, in a process of its own (process_pool.py).

    python pool_process.py FILE FUNCTION OPTIONS

The script imports nothing from entrojax, so that it starts without JAX unless
the file of the function imports it. Requests and answers are lines of JSON on
the first two descriptors.
"""

from collections.abc import Callable, Sequence
import contextlib
import importlib.util
import json
import os
import signal
import sys
from typing import TextIO

MEMORY = 4 << 30  # bytes of address space per process, if it can be limited


def _serve(file: str, name: str, options: str) -> None:
  """Answer calls until the calling process closes the pipe or ends."""
  requests, answers = _take_pipes()
  settings = json.loads(options)
  try:
    function = _load(file, name)
    _limit("RLIMIT_AS", MEMORY)
    for args in settings["warm_up"]:
      function(*args)
  except Exception as error:  # the file may raise anything
    print(_failure(error), file=answers, flush=True)
    return
  print(json.dumps({"value": "ready"}), file=answers, flush=True)
  if settings["fork"]:
    _serve_by_forks(function, requests, answers)
    return
  for line in requests:
    _, seconds, _ = json.loads(line)
    # if the calling process dies meanwhile, only this limit ends a hanging call
    _limit("RLIMIT_CPU", int(os.times().user + os.times().system + seconds) + 1)
    print(_answer(function, line), file=answers, flush=True)


def _take_pipes() -> tuple[TextIO, TextIO]:
  """Move the pipes to the calling process away from descriptors 0 and 1.

  The function may start programs, and they inherit these two descriptors. What
  such a program prints must not be read as an answer, and what it reads must
  not be a request. Afterwards both lead nowhere.

  Returns:
    The requests and the answers, which no program inherits.
  """
  requests = os.fdopen(os.dup(0), encoding="ascii")
  answers = os.fdopen(os.dup(1), "w", encoding="ascii")
  nowhere = os.open(os.devnull, os.O_RDWR)
  os.dup2(nowhere, 0)
  os.dup2(nowhere, 1)
  os.close(nowhere)
  return requests, answers


def _load(file: str, name: str) -> Callable:
  """Import a function from a file."""
  spec = importlib.util.spec_from_file_location("_of_a_pool", file)
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return getattr(module, name)


def _answer(function: Callable, line: str) -> str:
  """Make the call that a line of JSON describes; return a line of JSON."""
  try:
    return json.dumps({"value": function(*json.loads(line)[0])})
  except Exception as error:  # any exception means that the call failed
    return _failure(error)


def _failure(error: Exception) -> str:
  return json.dumps({"error": f"{type(error).__name__}: {error}"[:200]})


def _serve_by_forks(
  function: Callable, requests: TextIO, answers: TextIO
) -> None:
  """Answer calls by a fork of this process; replace it when it ends."""
  fork = None
  for line in requests:
    if fork is None:
      fork = _Fork(function, (requests.fileno(), answers.fileno()))
    answer = fork.call(line)
    if answer is None:
      late = fork.ended_by_timer()
      fork = None
      answer = json.dumps(
        {"timeout": True} if late else {"error": "the process died"}
      )
    print(answer, file=answers, flush=True)


class _Fork:
  """A copy of this process that answers calls until one of them ends it."""

  def __init__(self, function: Callable, closed: Sequence[int]):
    """Fork; the copy closes the files `closed`, which are not for it."""
    read_call, write_call = os.pipe()
    read_answer, write_answer = os.pipe()
    self._pid = os.fork()
    if self._pid == 0:
      try:
        for file in (*closed, write_call, read_answer):
          os.close(file)
        _answer_with_timers(function, read_call, write_answer)
      finally:
        os._exit(0)
    os.close(read_call)
    os.close(write_answer)
    self._calls = os.fdopen(write_call, "w", encoding="ascii")
    self._answers = os.fdopen(read_answer, encoding="ascii")

  def call(self, line: str) -> str | None:
    """Return the answer to a line, without its end; None if the copy ended."""
    with contextlib.suppress(OSError):
      self._calls.write(line)
      self._calls.flush()
    answer = self._answers.readline()
    return answer.rstrip("\n") if answer.endswith("\n") else None

  def ended_by_timer(self) -> bool:
    """Clean up after a copy that has ended; return whether a timer ended it."""
    with contextlib.suppress(OSError):
      self._calls.close()
    self._answers.close()
    _, status = os.waitpid(self._pid, 0)
    timers = (signal.SIGALRM, signal.SIGPROF)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) in timers


def _answer_with_timers(function: Callable, calls: int, answers: int) -> None:
  """Answer calls; the kernel's timers end this process at their limits."""
  for number in (signal.SIGALRM, signal.SIGPROF):
    signal.signal(number, signal.SIG_DFL)
  with (
    os.fdopen(calls, encoding="ascii") as lines,
    os.fdopen(answers, "w", encoding="ascii") as out,
  ):
    for line in lines:
      _, seconds, cpu_seconds = json.loads(line)
      signal.setitimer(signal.ITIMER_REAL, seconds)
      signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
      answer = _answer(function, line)
      signal.setitimer(signal.ITIMER_REAL, 0)
      signal.setitimer(signal.ITIMER_PROF, 0)
      print(answer, file=out, flush=True)


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
