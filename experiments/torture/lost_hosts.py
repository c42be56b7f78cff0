"""Kill one of four processes; the others must end within a minute.

They must say in one line which process is gone. The same command must then
resume the run, and SIGTERM to one of the processes must end and save it.

If the first process is killed, the service of JAX through which processes find
each other is gone with it. JAX then ends the others at once, with lines of its
own, so only the time is checked.
"""

from pathlib import Path
import random
import signal
import socket
import subprocess
import time

from experiments.torture import processes
from experiments.torture.score import Score

_COUNT = 4
_END_SECONDS = 60


def torture(draw: random.Random, count: int, folder: Path) -> list[Score]:
  """Start four processes `count` times, and kill one of them.

  The last time it is the first process, the first time another one.
  """
  failures, notes = [], []
  for number in range(count):
    victim = draw.randrange(1, _COUNT)
    if number and number == count - 1:
      victim = 0
    workdir = folder / str(number)
    seconds, text = _lose_one(workdir, victim)
    notes.append(f"process {victim} was killed: {seconds:.0f} s to the end")
    if not text and number == 0:
      text = _resume(workdir)
      notes += (
        [] if text else ["resumed, and saved after SIGTERM to one of them"]
      )
    failures += [text] if text else []
  return [
    Score(
      "one of four processes is killed: the others end within 60 s",
      count,
      failures,
      notes,
    )
  ]


def _lose_one(workdir: Path, victim: int) -> tuple[float, str]:
  """Return the seconds until all have ended, and what is wrong."""
  started_processes, outputs = _start(workdir)
  others = [p for i, p in enumerate(started_processes) if i != victim]
  try:
    # a step's checkpoint is written while the next step runs
    if not _wait_for_step(workdir, 3, started_processes):
      return 0.0, f"the run did not start: {outputs[0].read_text()[-300:]}"
    started_processes[victim].send_signal(signal.SIGKILL)
    started = time.monotonic()
    while any(process.poll() is None for process in others):
      if time.monotonic() - started > _END_SECONDS:
        return _END_SECONDS, f"process {victim} was killed, others run on"
      time.sleep(0.2)
    seconds = time.monotonic() - started
  finally:
    processes.stop(started_processes)
  statuses = [process.returncode for process in others]
  if 0 in statuses:
    return seconds, f"the others ended with {statuses}"
  texts = [path.read_text() for i, path in enumerate(outputs) if i != victim]
  if victim and (wrong := [t for t in texts if not _is_one_line(t, victim)]):
    shown = "; ".join(text[-500:] for text in wrong)
    return seconds, f"no single line about process {victim}: {shown}"
  return seconds, ""


def _is_one_line(output: str, victim: int) -> bool:
  """Return whether an output ends with a line about the lost process.

  A line about a broken connection may come before it, but no dump.
  """
  last = output.rstrip().splitlines()[-1]
  line = f"error: process {victim} of {_COUNT} is gone: "
  dumps = ("Traceback", "Fatal", "stack trace")
  return last.startswith(line) and not any(x in output for x in dumps)


def _resume(workdir: Path) -> str:
  """Resume a run and end it by SIGTERM; return what is wrong."""
  names = [path.name for path in (workdir / "checkpoints").iterdir()]
  saved = max((int(name) for name in names if name.isdigit()), default=0)
  if not saved:
    return f"no checkpoint to resume from, only {names}"
  started_processes, outputs = _start(workdir)
  try:
    if not _wait_for_step(workdir, saved + 2, started_processes):
      return f"it did not resume: {outputs[0].read_text()[-300:]}"
    started_processes[-1].send_signal(signal.SIGTERM)
    statuses = [p.wait(timeout=processes.SECONDS) for p in started_processes]
  finally:
    processes.stop(started_processes)
  if statuses != [processes.SAVED] * _COUNT:
    return f"after SIGTERM to a resumed run: {statuses}"
  return ""


def _wait_for_step(
  workdir: Path, step: int, started: list[subprocess.Popen]
) -> bool:
  """Wait until a rollout step is logged; return False if a process ends."""
  text = f'"rollout_step": {step},'
  return processes.wait_for_text(workdir / "metrics.jsonl", text, started)


def _start(workdir: Path) -> tuple[list[subprocess.Popen], list[Path]]:
  """Start a run of four processes with one device each.

  Returns:
    The processes, and the files that they print to, which are emptied first.
  """
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  outputs = [
    workdir.with_name(f"{workdir.name}_{i}.txt") for i in range(_COUNT)
  ]
  for output in outputs:
    output.unlink(missing_ok=True)
  started = [
    processes.start(
      workdir,
      "--config.mesh=(4, 1, 1)",
      "--config.num_rollout_steps=100000",
      "--config.checkpoint.every=1",
      f"--coordinator=127.0.0.1:{port}",
      f"--num_processes={_COUNT}",
      f"--process_id={number}",
      output=output,
    )
    for number, output in enumerate(outputs)
  ]
  return started, outputs
