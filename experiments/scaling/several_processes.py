"""Measure what a run costs each of its processes.

The same run of the tiny Countdown base is made by one, two and four processes
with one device each, as far as there are so many cores: processes that wait for
each other on fewer cores take minutes for a rollout step. A run of few and one
of more rollout steps are made, so that starting and compiling cancel in the
difference.
"""

import os
from pathlib import Path
import socket
import statistics
import tempfile

from experiments.torture import processes

_NUMBERS = (1, 2, 4)
_STEPS = (10, 110)  # rollout steps of the short and of the long run


def numbers_here() -> tuple[int, ...]:
  """Return the numbers of processes for which this machine has cores."""
  cores = os.cpu_count() or 1
  return tuple(number for number in _NUMBERS if number <= cores)


def cost_of_processes(number: int) -> dict[str, float]:
  """Return the CPU seconds of a rollout step and the memory, for one process.

  Args:
    number: the number of processes.

  Raises:
    RuntimeError: a process failed; the message has its output.
  """
  with tempfile.TemporaryDirectory() as folder:
    short, long = (_run(number, n, Path(folder) / str(n)) for n in _STEPS)
  return {
    "seconds": (long[0] - short[0]) / (_STEPS[1] - _STEPS[0]),
    "bytes": long[1],
  }


def _run(number: int, num_steps: int, workdir: Path) -> tuple[float, float]:
  """Make a run.

  Returns:
    The mean CPU seconds of its processes, and the median of their peak memory.
  """
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  outputs = [
    workdir.with_name(f"{workdir.name}_{i}.txt") for i in range(number)
  ]
  started = [
    processes.start(
      workdir,
      f"--config.mesh=(1, {number}, 1)",
      f"--config.num_rollout_steps={num_steps}",
      "--config.evaluation.every=0",
      "--config.evaluation.split=validation[:8]",
      "--config.evaluation.num_samples=1",
      "--config.evaluation.prompts_per_batch=8",
      *_of_process(number, i, port),
      config="configs/grpo.py:demo",
      output=output,
      environment={"NPROC": "1"},
    )
    for i, output in enumerate(outputs)
  ]
  seconds, peaks = [], []
  for process, output in zip(started, outputs, strict=True):
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
      processes.stop(started)
      raise RuntimeError(output.read_text()[-2000:])
    seconds.append(usage.ru_utime + usage.ru_stime)
    peaks.append(1024.0 * usage.ru_maxrss)
  return statistics.mean(seconds), statistics.median(peaks)


def _of_process(number: int, i: int, port: int) -> tuple[str, ...]:
  """Return the flags of process i; none if it is alone."""
  if number == 1:
    return ()
  return (
    f"--coordinator=127.0.0.1:{port}",
    f"--num_processes={number}",
    f"--process_id={i}",
  )
