"""Run one program in several processes on this machine."""

from collections.abc import Mapping, Sequence
import os
import socket
import subprocess
import sys

from tests.helpers.paths import ROOT
from tests.helpers.xla import QUICK_FLAGS


def start(
  count: int,
  *command: str,
  extra: Mapping[int, Sequence[str]] | None = None,
  num_devices: int = 1,
  **environment: str,
) -> list[subprocess.Popen]:
  """Start `python -m command` in processes that form one JAX program.

  Args:
    count: the number of processes; a single one gets no process flags.
    *command: the module and its arguments.
    extra: more arguments for some processes, by process number.
    num_devices: fake devices of each process.
    **environment: environment variables in addition to this process's own.
  """
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  flags = (
    f"--xla_force_host_platform_device_count={num_devices} {QUICK_FLAGS} "
    "--xla_cpu_multi_thread_eigen=false"
  )
  processes = []
  for number in range(count):
    arguments = [*command, *(extra or {}).get(number, ())]
    if count > 1:
      arguments += [
        f"--coordinator=127.0.0.1:{port}",
        f"--num_processes={count}",
        f"--process_id={number}",
      ]
    processes.append(
      subprocess.Popen(
        [sys.executable, "-m", *arguments],
        env={**os.environ, **environment, "XLA_FLAGS": flags},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
      )
    )
  return processes


def finish(
  processes: Sequence[subprocess.Popen], *, seconds: float
) -> list[tuple[int, str]]:
  """Wait for processes and return the exit status and output of each.

  Processes that still run after `seconds` are killed.

  Raises:
    subprocess.TimeoutExpired: a process took longer than `seconds`.
  """
  try:
    return [
      (process.returncode, output)
      for process in processes
      for output, _ in [process.communicate(timeout=seconds)]
    ]
  finally:
    for process in processes:
      process.kill()
      process.wait()
