"""Kill one of four processes; the others must end within a minute."""

import os
from pathlib import Path
import random
import signal
import socket
import subprocess
import sys
import time

from experiments.torture.score import Score

_COUNT = 4
_START_SECONDS = 900  # until the first row is written
_END_SECONDS = 60


def torture(draw: random.Random, count: int, folder: Path) -> list[Score]:
  """Start four processes `count` times, and kill one that is not the first."""
  failures, slowest = [], 0.0
  for number in range(count):
    seconds, text = _lose_one(folder / str(number), draw.randrange(1, _COUNT))
    slowest = max(slowest, seconds)
    failures += [text] if text else []
  return [
    Score(
      "one of four processes is killed: the others end within 60 s",
      count,
      failures,
      [f"slowest end: {slowest:.0f} s"],
    )
  ]


def _lose_one(workdir: Path, victim: int) -> tuple[float, str]:
  """Return the seconds until all have ended, and what is wrong."""
  processes = _start(workdir)
  try:
    path, deadline = workdir / "metrics.jsonl", time.monotonic()
    deadline += _START_SECONDS
    while not (path.exists() and '"rollout_step": 1,' in path.read_text()):
      if time.monotonic() > deadline or processes[0].poll() is not None:
        return 0.0, "the run did not reach its first step"
      time.sleep(0.2)
    processes[victim].send_signal(signal.SIGKILL)
    started = time.monotonic()
    others = [p for i, p in enumerate(processes) if i != victim]
    while any(process.poll() is None for process in others):
      if time.monotonic() - started > _END_SECONDS:
        return _END_SECONDS, f"process {victim} was killed, others run on"
      time.sleep(0.2)
    statuses = [process.returncode for process in others]
    wrong = f"the others ended with {statuses}" if 0 in statuses else ""
    return time.monotonic() - started, wrong
  finally:
    for process in processes:
      process.kill()
      process.wait()


def _start(workdir: Path) -> list[subprocess.Popen]:
  """Start a run of four processes with one device each."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  workdir.mkdir()
  outputs = [(workdir / f"output_{i}.txt").open("w") for i in range(_COUNT)]
  return [
    subprocess.Popen(
      [
        *(sys.executable, "-m", "entrojax.main"),
        "--config=configs/countdown.py:test",
        "--config.mesh=(4, 1, 1)",
        "--config.num_rollout_steps=100000",
        f"--workdir={workdir}",
        f"--coordinator=127.0.0.1:{port}",
        f"--num_processes={_COUNT}",
        f"--process_id={number}",
      ],
      env={**os.environ, "JAX_PLATFORMS": "cpu"},
      stdout=output,
      stderr=subprocess.STDOUT,
    )
    for number, output in enumerate(outputs)
  ]
