"""Kill a run again and again; it must end as one that was left alone.

A run with a checkpoint after every step is sent SIGKILL or SIGTERM at a random
moment, and started again with the same command, until it is done. Its
parameters, optimizer state, metrics, samples and evaluations must then equal an
undisturbed run's, bit for bit, without a row lost or doubled.

Some SIGKILLs arrive while the run starts or resumes. SIGTERM arrives after a
row was written, and must end the run by itself, saved.
"""

import json
from pathlib import Path
import random
import signal
import subprocess
import time
from typing import Any

from experiments.torture import processes
from experiments.torture.score import Score

_STEPS = 24  # rollout steps of a run
_KILLS = 6  # of one run
_TERMS = 0.25  # the share of SIGTERM among the signals
_EARLY = 0.2  # the share of SIGKILLs before the first row
_TIMES = ("timing_s/", "perf/")  # metrics that differ from run to run


def torture(draw: random.Random, count: int, folder: Path) -> list[Score]:
  """Send `count` signals, a quarter of them SIGTERM."""
  started = time.monotonic()
  whole = _start(folder / "whole")
  _wait_for_rows(whole, folder / "whole", 1)
  start_seconds = time.monotonic() - started
  _finish(whole)
  expected = _result(folder / "whole")
  num_terms = round(_TERMS * count)
  signals = [signal.SIGTERM] * num_terms
  signals += [signal.SIGKILL] * (count - num_terms)
  draw.shuffle(signals)
  failures: list[str] = []
  ends: list[float] = []  # seconds from SIGTERM to the end
  number = 0
  while signals:
    workdir = folder / f"killed_{number}"
    number += 1
    for _ in range(min(_KILLS, len(signals))):
      process = _start(workdir)
      if not _wait_for_a_moment(
        process, workdir, draw, signals[-1], start_seconds
      ):
        break  # the run has ended: the signal is sent to the next one
      seconds, text = _send(process, sent := signals.pop())
      ends += [seconds] if sent == signal.SIGTERM else []
      failures += [text] if text else []
    text = _finish(_start(workdir))
    if text:
      failures.append(text)
    elif _result(workdir) != expected:
      failures.append(f"{workdir.name} differs from a run left alone")
  return [
    Score(
      f"{count - num_terms} SIGKILLs and {num_terms} SIGTERMs: resumed bit for "
      "bit, no row lost or doubled",
      count,
      failures,
      [
        f"{number} runs of {_STEPS} rollout steps",
        f"slowest from SIGTERM to the end: {max(ends, default=0):.1f} s",
      ],
    )
  ]


def _start(workdir: Path) -> subprocess.Popen:
  """Start or resume the run of a directory."""
  return processes.start(
    workdir,
    "--config.mesh=(1, 1, 1)",
    "--config.checkpoint.every=1",
    "--config.evaluation.every=5",
    f"--config.num_rollout_steps={_STEPS}",
  )


def _finish(process: subprocess.Popen) -> str:
  """Wait for a run; return what is wrong with its end, "" if nothing."""
  output, _ = process.communicate(timeout=processes.SECONDS)
  if process.returncode:
    return f"status {process.returncode}: {output[-300:]}"
  return ""


def _wait_for_a_moment(
  process: subprocess.Popen,
  workdir: Path,
  draw: random.Random,
  number: signal.Signals,
  start_seconds: float,
) -> bool:
  """Wait until a random moment of a run; return False if it ends before.

  Args:
    process: the run.
    workdir: its directory.
    draw: draws the moment.
    number: the signal that will be sent.
    start_seconds: the time that a run takes to its first row.
  """
  is_early = draw.random() < _EARLY and number == signal.SIGKILL
  rows, delay = draw.randrange(1, 4), draw.random()
  if is_early:
    _wait_for_rows(process, workdir, 1, delay * start_seconds)
  else:
    _wait_for_rows(process, workdir, rows)
    time.sleep(0.2 * delay)
  return process.poll() is None


def _wait_for_rows(
  process: subprocess.Popen,
  workdir: Path,
  rows: int,
  seconds: float = processes.SECONDS,
) -> None:
  """Wait until a run has added to its metrics `rows` times, or has ended.

  Args:
    process: the run.
    workdir: its directory.
    rows: the number of times.
    seconds: wait no longer than this.
  """
  path = workdir / "metrics.jsonl"
  read = lambda: path.stat().st_size if path.exists() else 0
  size, deadline = read(), time.monotonic() + seconds
  while rows and process.poll() is None and time.monotonic() < deadline:
    time.sleep(0.01)
    if (now := read()) != size:
      # a resumed run may first remove rows after its checkpoint
      rows -= now > size
      size = now


def _send(
  process: subprocess.Popen, number: signal.Signals
) -> tuple[float, str]:
  """Send a signal to a run and wait for its end.

  Returns:
    The seconds until it ended, and what was wrong with that, "" if nothing.
  """
  started = time.monotonic()
  process.send_signal(number)
  output, _ = process.communicate(timeout=processes.SECONDS)
  seconds = time.monotonic() - started
  # a run may end by itself before the signal reaches it
  allowed = (0, processes.SAVED) if number == signal.SIGTERM else (0, -number)
  if process.returncode not in allowed or "Traceback" in output:
    return seconds, f"{number.name}: {process.returncode}: {output[-300:]}"
  return seconds, ""


def _result(workdir: Path) -> dict[str, Any]:
  """Return all that must be the same in two runs of the same command.

  These are the metrics, the rows of samples and evaluations, and the digests of
  the last checkpoint's arrays.
  """
  metrics = [
    {k: v for k, v in json.loads(line).items() if not k.startswith(_TIMES)}
    for line in (workdir / "metrics.jsonl").read_text().splitlines()
  ]
  record = workdir / "checkpoints" / str(_STEPS) / "host" / "metadata"
  return {
    "metrics": metrics,
    "samples": (workdir / "samples.jsonl").read_text(),
    "evaluations": (workdir / "evaluations.jsonl").read_text(),
    "leaves": json.loads(record.read_text())["leaves"],
  }
