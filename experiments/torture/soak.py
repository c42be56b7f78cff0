"""Let a run make 2,000 updates, and watch its memory, files and compilations.

After the warm-up, which has evaluations and checkpoints, memory may grow by
less than 2 %, the number of open files stays what it is, and nothing more is
compiled.
"""

from pathlib import Path
import random
import statistics
import subprocess
import time
from typing import NamedTuple

from experiments.torture import processes
from experiments.torture.score import Score

_UPDATES_PER_ROLLOUT = 4
_EVERY = 50  # rollout steps between evaluations, checkpoints and lines
_GROWTH = 0.02
_PERIOD = 0.5  # seconds between two looks at the process
_COMPILING = "Compiling "  # begins JAX's line about a compilation


class Look(NamedTuple):
  """A run as it is seen from outside."""

  rollout_step: int
  memory: int  # resident bytes
  files: int  # open ones


def torture(draw: random.Random, count: int, folder: Path) -> list[Score]:
  """Make `count` optimizer steps, at least 400."""
  del draw  # nothing is harmed
  last = count // _UPDATES_PER_ROLLOUT
  output = folder / "output.txt"
  process = processes.start(
    folder / "run",
    "--config.mesh=(1, 1, 1)",
    f"--config.training.updates_per_rollout={_UPDATES_PER_ROLLOUT}",
    f"--config.num_rollout_steps={last}",
    f"--config.evaluation.every={_EVERY}",
    f"--config.checkpoint.every={_EVERY}",
    f"--config.log.every={_EVERY}",
    output=output,
    environment={"JAX_LOG_COMPILES": "1", "TERM": "dumb"},
  )
  try:
    looks = _watch(process, folder / "run" / "metrics.jsonl")
    status = process.wait(timeout=processes.SECONDS)
  finally:
    processes.stop([process])
  warm_up = max(last // 5, _EVERY)
  compiled = _compiled_after(output.read_text(), warm_up)
  failures, notes = judge(looks, warm_up, last)
  if compiled:
    failures.append(f"after the warm-up {compiled} graphs were compiled")
  if status:
    failures.append(f"status {status}: {output.read_text()[-300:]}")
  what = "updates in a row: memory, open files and graphs do not grow"
  return [Score(f"{count} {what}", count, failures, notes)]


def judge(
  looks: list[Look], warm_up: int, last: int
) -> tuple[list[str], list[str]]:
  """Compare a run after its warm-up with its end.

  Args:
    looks: at a run, in order.
    warm_up: rollout steps of the warm-up.
    last: the number of rollout steps of the run.

  Returns:
    What is wrong, and what was measured.
  """
  length = max(1, (last - warm_up) // 5)
  parts = [
    [look for look in looks if start <= look.rollout_step < start + length]
    for start in (warm_up, last - length)
  ]
  if not all(parts):
    return ["the run was too short to be watched"], []
  before, after = (
    statistics.median(look.memory for look in part) for part in parts
  )
  # a checkpoint that is being written has files open for a moment
  files = [min(look.files for look in part) for part in parts]
  growth = after / before - 1
  failures = []
  if growth >= _GROWTH:
    failures.append(f"memory has grown by {growth:.1%}")
  if files[0] != files[1]:
    failures.append(f"{files[0]} files were open, and {files[1]} at the end")
  notes = [
    f"memory {before / 1e6:.0f} -> {after / 1e6:.0f} MB ({growth:+.2%}), "
    f"open files {files[0]} -> {files[1]}, {len(looks)} looks"
  ]
  return failures, notes


def _watch(process: subprocess.Popen, metrics: Path) -> list[Look]:
  """Look at a run until it ends."""
  looks = []
  while process.poll() is None:
    time.sleep(_PERIOD)
    rows = metrics.read_text().splitlines() if metrics.exists() else []
    numbers = [row.partition('"rollout_step": ')[2] for row in rows[-1:]]
    try:
      pages = Path(f"/proc/{process.pid}/statm").read_text().split()[1]
      files = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
      step = int(numbers[0].partition(",")[0])
    except (OSError, ValueError, IndexError):
      continue  # it has just ended, or has no row yet
    looks.append(Look(step, 4096 * int(pages), files))
  return looks


def _compiled_after(output: str, rollout_step: int) -> int:
  """Count the graphs that were compiled after the line of a rollout step."""
  lines = output.splitlines()
  marks = [
    i
    for i, line in enumerate(lines)
    if line.startswith(f"rollout {rollout_step}/")
  ]
  if not marks:
    raise ValueError(f"there is no line of rollout step {rollout_step}")
  return sum(_COMPILING in line for line in lines[marks[-1] :])
