"""Run units side by side, in processes that live as long as the sweep.

A process compiles a graph once for all of its units that share it. So a process
that becomes free is given a unit with the graphs of its last one, if there is
any left, and otherwise one with graphs that no other process is using. Each
process has its own share of the machine's cores. If it dies, only its unit
fails, and another process takes its place. No unit fails if it has none.

Every process checks whether the sweep is alive, and saves and ends if it is
not.
"""

from collections.abc import Callable, Hashable, Sequence
import contextlib
import multiprocessing
from multiprocessing import connection
from multiprocessing.connection import Connection
import os
from pathlib import Path
import signal
import threading
from typing import Any

from entrojax.assembly.graphs import graph_settings
from entrojax.sweeps.unit_runs import (
  FAILED,
  INTERRUPTED,
  OUTPUT_FILE,
  Outcome,
  Task,
)
from entrojax.system.interrupt import Interruption

_POLL = 0.5  # seconds between two looks at signals
_PATIENCE = 10.0  # seconds for a process to end

Run = Callable[[Task], Outcome]
# called with the task's place in the list
Started = Callable[[int], None]
Ended = Callable[[int, Outcome], None]


def share_cores(number: int, jobs: int) -> list[int]:
  """Return the cores of one of `jobs` processes: equal, separate parts.

  With more processes than cores, several of them share a core. The list is
  empty where the system cannot give processes their own cores.
  """
  if not hasattr(os, "sched_getaffinity"):
    return []
  cores = sorted(os.sched_getaffinity(0))
  if jobs > len(cores):
    return [cores[number % len(cores)]]
  start, end = (i * len(cores) // jobs for i in (number, number + 1))
  return cores[start:end]


def use_cores(cores: Sequence[int]) -> None:
  """Restrict this process to these cores. XLA reads them when it starts."""
  if cores:
    os.sched_setaffinity(0, cores)


def choose_next(
  waiting: Sequence[int],
  kinds: Sequence[Hashable],
  last: Hashable,
  running: Sequence[Hashable],
) -> int:
  """Choose the next task of a process that is free.

  Args:
    waiting: the places of the tasks that nobody has begun, not empty.
    kinds: the kind of each task; tasks of one kind share compiled graphs.
    last: the kind of the process's last task; None: it had none.
    running: the kinds of the tasks that other processes run.
  """
  left = [kinds[place] for place in waiting]
  if last in left:
    return waiting[left.index(last)]
  free = [kind for kind in left if kind not in running] or left
  # the longest row of alike tasks first, so that none is left to the end
  kind = max(free, key=left.count)
  return waiting[left.index(kind)]


def run_here(
  tasks: Sequence[Task], run: Run, started: Started, ended: Ended
) -> bool:
  """Run tasks one after the other in this process; see `Workers.run`.

  The caller gets the message about a signal by `interrupt.report_to`.
  """
  with Interruption() as interruption:
    for place, task in enumerate(tasks):
      started(place)
      outcome = run(task)
      ended(place, outcome)
      if interruption.received is not None or outcome.end == INTERRUPTED:
        return False
  return True


class _Worker:
  """A process that runs one unit after the other."""

  def __init__(self, cores: Sequence[int]):
    context = multiprocessing.get_context("spawn")
    self.pipe, far_end = context.Pipe()
    self._process = context.Process(
      target=_serve, args=(far_end, cores), daemon=True
    )
    self._process.start()
    far_end.close()
    self.cores = cores
    self.place: int | None = None  # of its task; None: it is idle
    self.kind: Hashable = None  # of its task, or of its last one
    self.interrupted = False
    self.died = False

  def begin(self, place: int, kind: Hashable, run: Run, task: Task) -> None:
    """Send a task to the process."""
    self.place, self.kind = place, kind
    self._send(run, task, folder=task.folder)

  def call(self, function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in the process and return, or raise, its result."""
    self._send(_catch, function, *args, folder=None)
    try:
      result, failure = self.pipe.recv()
    except (EOFError, OSError) as error:
      raise ValueError(
        f"a process of the sweep failed: {self._describe_death()}"
      ) from error
    if failure is not None:
      raise failure
    return result

  def receive(self) -> tuple[int, Outcome]:
    """Return the place and the outcome of the task, which has ended."""
    place, self.place = self.place, None
    assert place is not None
    try:
      return place, self.pipe.recv()
    except (EOFError, OSError):
      self.died = True
    if self.interrupted:  # before it had begun to train
      return place, Outcome(INTERRUPTED)
    return place, Outcome(FAILED, self._describe_death())

  def is_lost(self) -> bool:
    """Return whether the process of an idle worker has died."""
    # an idle process sends nothing, so only the end of its pipe can be read
    return self.died or self.pipe.poll()

  def interrupt(self) -> None:
    """Let the task save and end."""
    if not self.interrupted:
      self.interrupted = True
      self._process.terminate()

  def stop(self) -> None:
    """End the process, after it has ended its task if there is one."""
    self.pipe.close()
    self._process.terminate()
    self._process.join(timeout=_PATIENCE)
    self._process.kill()

  def _send(self, function: Callable, *args: Any, folder: Path | None) -> None:
    with contextlib.suppress(OSError):  # it has died, so nothing will come
      self.pipe.send((function, args, folder))

  def _describe_death(self) -> str:
    self._process.join(timeout=_PATIENCE)
    code = self._process.exitcode
    if code is not None and code < 0:
      return f"its process was killed by {signal.Signals(-code).name}"
    return f"its process ended with exit status {code}"


class Workers:
  """The processes of a sweep; a context manager."""

  def __init__(self, jobs: int):
    """Start `jobs` processes."""
    self._all = [_Worker(share_cores(i, jobs)) for i in range(jobs)]

  def __enter__(self) -> "Workers":
    return self

  def __exit__(self, *_) -> None:
    for worker in self._all:
      worker.stop()

  def call(self, function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in the first process, which has the devices of a run.

    Raises:
      ValueError: the function raised it, or the process died.
    """
    return self._all[0].call(function, *args)

  def run(
    self, tasks: Sequence[Task], run: Run, started: Started, ended: Ended
  ) -> bool:
    """Run tasks until all have ended, or a signal interrupts the sweep.

    After the first signal, the running units save and end, and no other begins.

    Args:
      tasks: the units.
      run: runs one of them, in a process.
      started: called when a unit begins.
      ended: called when a unit ends.

    Returns:
      False if the sweep was interrupted.

    Raises:
      KeyboardInterrupt: a second signal came; nothing is saved.
    """
    kinds = [graph_settings(task.config) for task in tasks]
    waiting = list(range(len(tasks)))
    with Interruption() as interruption:
      while True:
        if interruption.received is None:
          self._hand_out(tasks, run, kinds, waiting, started)
        busy = self._busy()
        if not busy:
          return interruption.received is None
        ready = connection.wait([w.pipe for w in busy], timeout=_POLL)
        for worker in busy:
          if worker.pipe in ready:
            ended(*worker.receive())
          elif interruption.received is not None:
            worker.interrupt()

  def _busy(self) -> list[_Worker]:
    return [worker for worker in self._all if worker.place is not None]

  def _hand_out(
    self,
    tasks: Sequence[Task],
    run: Run,
    kinds: Sequence[Hashable],
    waiting: list[int],
    started: Started,
  ) -> None:
    """Give every idle process a task; replace those that died."""
    for number, worker in enumerate(self._all):
      if worker.place is not None or not waiting:
        continue
      if worker.is_lost():
        worker = self._all[number] = _Worker(worker.cores)
      running = [other.kind for other in self._busy()]
      place = choose_next(waiting, kinds, worker.kind, running)
      waiting.remove(place)
      worker.begin(place, kinds[place], run, tasks[place])
      started(place)


def _serve(pipe: Connection, cores: Sequence[int]) -> None:
  """Run what the sweep sends until it closes the pipe.

  A message is (function, arguments, folder): what the process writes to stdout
  and stderr during the call goes to output.txt in the folder, or nowhere.
  """
  os.setsid()  # Ctrl-C reaches the sweep alone, which passes it on
  use_cores(cores)
  _direct_output(None)
  threading.Thread(target=_end_with_the_sweep, daemon=True).start()
  while True:
    try:
      function, args, folder = pipe.recv()
    except EOFError:
      return
    _direct_output(folder)
    result = function(*args)
    _direct_output(None)
    pipe.send(result)


def _catch(function: Callable[..., Any], *args: Any) -> tuple:
  """Call a function; return its result and None, or None and a ValueError."""
  try:
    return function(*args), None
  except ValueError as error:
    return None, error


def _end_with_the_sweep() -> None:
  """Interrupt this process when the sweep has died."""
  parent = multiprocessing.parent_process()
  assert parent is not None
  parent.join()
  os.kill(os.getpid(), signal.SIGTERM)


def _direct_output(folder: Path | None) -> None:
  """Direct stdout and stderr, also XLA's, to output.txt of a run directory."""
  flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
  try:
    if folder is None:
      file = os.open(os.devnull, flags)
    else:
      folder.mkdir(parents=True, exist_ok=True)
      file = os.open(folder / OUTPUT_FILE, flags, 0o666)
  except OSError:  # the run itself reports it
    file = os.open(os.devnull, flags)
  for stream in (1, 2):
    os.dup2(file, stream)
  os.close(file)
