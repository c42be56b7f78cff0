"""Send SIGTERM to a run with the demo's settings; it must save in 15 seconds.

The signal arrives while the policy is evaluated on 256 prompts with 64 samples
each, or in a rollout step. An evaluation that it cuts short is owed, which the
saved checkpoint says.
"""

import json
import os
from pathlib import Path
import random
import signal
import time

from experiments.torture import processes
from experiments.torture.score import Score

_LIMIT = 15.0  # seconds from the signal to the end


def torture(draw: random.Random, count: int, folder: Path) -> list[Score]:
  """Interrupt `count` runs, in turn in an evaluation and in a step."""
  failures, notes = [], []
  for number in range(count):
    in_evaluation = number % 2 == 0
    seconds, cpu_seconds, text = _preempt(
      folder / str(number), draw, in_evaluation
    )
    place = "an evaluation" if in_evaluation else "a rollout step"
    load = os.getloadavg()[0]
    notes.append(
      f"in {place}: {seconds:.1f} s with {cpu_seconds:.1f} CPU s, at a load of "
      f"{load:.0f}"
    )
    if not text and seconds > _LIMIT:
      text = f"it took {seconds:.1f} s"
    failures += [f"SIGTERM in {place}: {text}"] if text else []
  return [
    Score(
      f"SIGTERM with the demo's evaluation: saved within {_LIMIT:.0f} s",
      count,
      failures,
      notes,
    )
  ]


def _preempt(
  workdir: Path, draw: random.Random, in_evaluation: bool
) -> tuple[float, float, str]:
  """Interrupt a run.

  Returns:
    The seconds from SIGTERM to the end, the CPU seconds in between, and what is
    wrong, "" if nothing.
  """
  output = workdir.with_suffix(".txt")
  process = processes.start(
    workdir,
    "--config.mesh=(1, 1, 1)",
    config="configs/countdown.py:demo",
    output=output,
  )
  try:
    text = "Evaluating after rollout step 0" if in_evaluation else "rollout 10/"
    if not processes.wait_for_text(output, text, [process]):
      return 0, 0, f"it did not get there: {output.read_text()[-300:]}"
    time.sleep(draw.random())
    started, cpu_before = time.monotonic(), _cpu_seconds(process.pid)
    process.send_signal(signal.SIGTERM)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - started
    cpu_seconds = usage.ru_utime + usage.ru_stime - cpu_before
  finally:
    processes.stop([process])
  if process.returncode != processes.SAVED:
    text = f"status {process.returncode}: {output.read_text()[-300:]}"
    return seconds, cpu_seconds, text
  (record,) = workdir.glob("checkpoints/*/host/metadata")
  owed = json.loads(record.read_text())["host"]["evaluation_owed"]
  text = "" if owed == in_evaluation else f"evaluation_owed is {owed}"
  return seconds, cpu_seconds, text


def _cpu_seconds(pid: int) -> float:
  """Return the CPU time that a running process has used (proc(5), stat)."""
  fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
  return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
