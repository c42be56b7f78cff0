"""Kill a run again and again; it must end as one that was left alone.

A run with a checkpoint after every step is sent SIGKILL or SIGTERM at a random
moment, and started again with the same command, until it is done. Its
parameters, optimizer state and metrics must then equal an undisturbed run's,
bit for bit, without a row lost or doubled.
"""

import json
from pathlib import Path
import random
import signal
import subprocess
import sys
import time
from typing import Any

from experiments.torture.score import Score

_STEPS = 12  # rollout steps of a run
_KILLS = 4  # of one run
_SECONDS = 600  # that a run may take from one start to its end
_TIMES = ("timing_s/", "perf/")  # metrics that differ from run to run


def torture(draw: random.Random, count: int, folder: Path) -> list[Score]:
  """Send `count` signals, a quarter of them SIGTERM."""
  _finish(_start(folder / "whole"))
  expected = _result(folder / "whole")
  failures, slowest, done, number = [], 0.0, 0, 0
  while done < count:
    workdir = folder / f"killed_{number}"
    number += 1
    for _ in range(min(_KILLS, count - done)):
      is_term = draw.random() < 0.25
      seconds, text = _interrupt(_start(workdir), workdir, draw, is_term)
      slowest = max(slowest, seconds if is_term else 0.0)
      failures += [text] if text else []
      done += 1
    text = _finish(_start(workdir))
    if text:
      failures.append(text)
    elif _result(workdir) != expected:
      failures.append(f"{workdir.name} differs from a run left alone")
  return [
    Score(
      "SIGKILL and SIGTERM: resumed bit for bit, no row lost or doubled",
      count,
      failures,
      [f"slowest from SIGTERM to the end: {slowest:.1f} s"],
    )
  ]


def _start(workdir: Path) -> subprocess.Popen:
  """Start or resume the run of a directory."""
  return subprocess.Popen(
    [
      *(sys.executable, "-m", "entrojax.main"),
      "--config=configs/countdown.py:test",
      "--config.mesh=(1, 1, 1)",
      "--config.checkpoint.every=1",
      "--config.evaluation.every=3",
      f"--config.num_rollout_steps={_STEPS}",
      f"--workdir={workdir}",
    ],
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def _finish(process: subprocess.Popen) -> str:
  """Wait for a run; return what is wrong with its end, "" if nothing."""
  output, _ = process.communicate(timeout=_SECONDS)
  if process.returncode:
    return f"status {process.returncode}: {output[-300:]}"
  return ""


def _interrupt(
  process: subprocess.Popen,
  workdir: Path,
  draw: random.Random,
  is_term: bool,
) -> tuple[float, str]:
  """Signal a run at a random moment after its first new row.

  Returns:
    The seconds until it ended, and what was wrong with that, "" if nothing.
  """
  path, delay = workdir / "metrics.jsonl", draw.uniform(0, 1.5)
  size = path.stat().st_size if path.exists() else 0
  deadline = time.monotonic() + _SECONDS
  while process.poll() is None and time.monotonic() < deadline:
    if path.exists() and path.stat().st_size > size:
      break
    time.sleep(0.02)
  time.sleep(delay)
  started = time.monotonic()
  process.send_signal(signal.SIGTERM if is_term else signal.SIGKILL)
  output, _ = process.communicate(timeout=_SECONDS)
  seconds = time.monotonic() - started
  if is_term and (process.returncode not in (0, 130) or "Traceback" in output):
    return seconds, f"SIGTERM: status {process.returncode}: {output[-300:]}"
  return seconds, ""


def _result(workdir: Path) -> tuple[list[dict[str, Any]], Any]:
  """Return the metrics of a run, and the digests of its last checkpoint."""
  rows = [
    {k: v for k, v in json.loads(line).items() if not k.startswith(_TIMES)}
    for line in (workdir / "metrics.jsonl").read_text().splitlines()
  ]
  record = workdir / "checkpoints" / str(_STEPS) / "host" / "metadata"
  return rows, json.loads(record.read_text())["leaves"]
