"""Several processes on this machine that run one program."""

from collections.abc import Mapping, Sequence
import os
import socket
import subprocess
import sys

from tests.helpers.paths import ROOT


def start(
  count: int,
  *command: str,
  extra: Mapping[int, Sequence[str]] | None = None,
  num_devices: int = 1,
  **environment: str,
) -> list[subprocess.Popen]:
  """Starts `python -m command` in processes that know of each other.

  Args:
    count: of processes; one is told of no others.
    *command: the module and its arguments.
    extra: arguments of one process alone.
    num_devices: fake devices of each.
    **environment: variables beside this process's own.
  """
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  flags = (
    f"--xla_force_host_platform_device_count={num_devices} "
    "--xla_backend_optimization_level=0 --xla_cpu_multi_thread_eigen=false"
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
        env={**os.environ, "XLA_FLAGS": flags, **environment},
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
  """Returns status and output of each; none outlives its time.

  Raises:
    subprocess.TimeoutExpired: one took longer than `seconds`.
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
