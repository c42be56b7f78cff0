"""Start training commands as processes, and look at them from outside."""

from collections.abc import Mapping, Sequence
import os
from pathlib import Path
import subprocess
import sys
import time

SECONDS = 1800  # that a run may take to any of its next signs of life
SAVED = 130  # exit status of a run that a signal has ended


def start(
  workdir: Path,
  *arguments: str,
  config: str = "configs/countdown.py:test",
  output: Path | None = None,
  environment: Mapping[str, str] | None = None,
) -> subprocess.Popen:
  """Start or resume the run of a directory.

  Args:
    workdir: the run directory.
    *arguments: more of the command line.
    config: the config file.
    output: where the run's output goes; None: to be read from the process.
    environment: variables in addition to this process's own.
  """
  command = [
    *(sys.executable, "-m", "entrojax.main", f"--config={config}"),
    *(*arguments, f"--workdir={workdir}"),
  ]
  return subprocess.Popen(
    command,
    env={**os.environ, "JAX_PLATFORMS": "cpu", **(environment or {})},
    stdout=output.open("a") if output else subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def wait_for_text(
  path: Path, text: str, processes: Sequence[subprocess.Popen]
) -> bool:
  """Wait until a file holds a text; return False if a process ends first."""
  deadline = time.monotonic() + SECONDS
  while time.monotonic() < deadline:
    if path.exists() and text in path.read_text():
      return True
    if any(process.poll() is not None for process in processes):
      return False
    time.sleep(0.05)
  return False


def stop(processes: Sequence[subprocess.Popen]) -> None:
  """Kill what is left of some processes."""
  for process in processes:
    process.kill()
    process.wait()
