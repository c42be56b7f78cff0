"""Find out how far a unit's run is, and run it.

A unit is finished if the checkpoint of its last rollout step is complete and
metrics.jsonl has the evaluation after that step. The run usually writes the
evaluation before the checkpoint, but a signal can interrupt the evaluation.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import json
from pathlib import Path
import time
import traceback
from typing import Any, NamedTuple

from ml_collections import ConfigDict as Config

from entrojax.loop.reports import is_step
from entrojax.reporting.run_logs import METRICS_FILE, Row, read_rows
from entrojax.sweeps.units import MAY_CHANGE
from entrojax.system.interrupt import Interruption
from entrojax.system.outside import describe
from entrojax.system.provenance import default_settings
from entrojax.system.roll_backs import read_roll_backs
from entrojax.system.workdir import (
  CONFIG_FILE,
  HeldError,
  concerns,
  differences,
)
from entrojax.train import train

OUTPUT_FILE = "output.txt"

# the ends of a unit
FINISHED, FAILED = "finished", "failed"
INTERRUPTED = "interrupted"  # by a signal
STOPPED = "stopped"  # by an alarm of its own
ELSEWHERE = "elsewhere"  # another process runs the unit

_PARTS = ("state", "host")  # of a checkpoint
_MAX_REASON = 500  # characters
_TAIL = 1 << 16  # bytes of metrics.jsonl that the latest values are read from
_ERRORS = (ValueError, OSError, ImportError, RuntimeError)


class Task(NamedTuple):
  """A unit to run."""

  config: Config
  folder: Path  # the run directory
  command: Sequence[str]  # to be recorded in provenance.json


class Outcome(NamedTuple):
  """How a unit ended."""

  end: str  # FINISHED, FAILED, INTERRUPTED, STOPPED or ELSEWHERE
  reason: str = ""  # of a failure or a stop, one line
  seconds: float = 0.0

  @property
  def is_incomplete(self) -> bool:
    """Whether nobody has finished the unit or is running it."""
    return self.end not in (FINISHED, ELSEWHERE)


class Done(NamedTuple):
  """How far a unit's run is."""

  steps: int  # rollout steps of its newest checkpoint; 0 without one
  finished: bool  # these are all, and the evaluation after them is written


def read_done(folder: Path, config: Config) -> Done:
  """Read how far a unit's run is.

  Args:
    folder: the unit's run directory, which need not exist.
    config: the unit's config.

  Raises:
    ValueError: the directory is damaged, or holds a run with other settings.
      The message names the file and the remedy. A setting that a roll-back of
      the run has changed may differ, and so may its alarm.
  """
  if folder.exists() and not folder.is_dir():
    raise ValueError(f"{folder} is not a directory: move it away")
  done = _newest_checkpoint(folder / "checkpoints")
  if not done:
    return Done(0, finished=False)  # the run starts over
  remedy = f"delete {folder} to run the unit from its start"
  try:
    settings = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    changed = differences(
      settings,
      config.to_dict(),
      defaults=default_settings("configs.default"),
    )
  except (OSError, ValueError, AttributeError) as error:
    raise ValueError(
      f"{folder / CONFIG_FILE} is missing or damaged: {remedy}"
    ) from error
  roll_backs = read_roll_backs(folder)
  may_change = [
    *MAY_CHANGE,
    *(roll_back.setting for roll_back in roll_backs),
    *(f"alarms.{roll_back.alarm}" for roll_back in roll_backs),
    *(["alarms.roll_back"] if roll_backs else []),
  ]
  changed = [text for text in changed if not concerns(text, may_change)]
  if changed:
    raise ValueError(
      f"{folder} holds a run with other settings: {'; '.join(changed)}; "
      f"{remedy}"
    )
  try:
    rows = read_rows(folder / METRICS_FILE)
  except (OSError, ValueError) as error:
    raise ValueError(
      f"{folder / METRICS_FILE} is missing or damaged: {remedy}"
    ) from error
  last = max((row.get("rollout_step", 0) for row in rows), default=0)
  if last < done:
    raise ValueError(
      f"{folder / METRICS_FILE} ends at rollout step {last}, and the newest "
      f"checkpoint is of step {done}: {remedy}"
    )
  is_evaluated = any(
    row.get("rollout_step") == done and not is_step(row) for row in rows
  )
  return Done(done, done == config.num_rollout_steps and is_evaluated)


def run_unit(task: Task) -> Outcome:
  """Run a unit from where it stands. What it prints goes to its output.txt.

  Everything that the run raises becomes a failure. Only the KeyboardInterrupt
  of a second Ctrl-C passes, which ends the run without saving.
  """
  started = time.monotonic()
  try:
    end, reason = _run(task)
  except HeldError:
    end, reason = ELSEWHERE, ""
  except _ERRORS as error:
    text = " ".join(str(error).split())
    end, reason = FAILED, text[:_MAX_REASON] or describe(error)
  except Exception as error:  # a user's own code may raise anything
    end, reason = FAILED, describe(error)
  return Outcome(end, reason, time.monotonic() - started)


def _run(task: Task) -> tuple[str, str]:
  """Run a unit unless it is finished; return its end and the reason."""
  if read_done(task.folder, task.config).finished:
    return FINISHED, ""
  # a signal while the unit is built is noticed too
  with _output_to(task.folder), Interruption() as interruption:
    try:
      saved = train(task.config, task.folder, command=task.command)
    except HeldError:
      raise
    except Exception:
      traceback.print_exc()
      raise
  if saved is None:
    return FINISHED, ""
  if interruption.received is not None:
    return INTERRUPTED, ""
  return STOPPED, interruption.reason or "the run asked for its end"


@contextlib.contextmanager
def _output_to(folder: Path) -> Iterator[None]:
  """Append what Python prints to output.txt of a unit's run directory."""
  folder.mkdir(parents=True, exist_ok=True)
  with (
    (folder / OUTPUT_FILE).open("a", encoding="utf-8") as output,
    contextlib.redirect_stdout(output),
    contextlib.redirect_stderr(output),
  ):
    yield


def _newest_checkpoint(folder: Path) -> int:
  """Return the step of the newest complete checkpoint; 0 without one.

  A checkpoint that is being written, or whose writing was cut off, is in a
  directory of another name.
  """
  if not folder.is_dir():
    return 0
  steps = [int(path.name) for path in folder.iterdir() if path.name.isdigit()]
  newest = max(steps, default=0)
  path = folder / str(newest)
  if newest and not all((path / part).exists() for part in _PARTS):
    raise ValueError(
      f"{path} is damaged: delete it to resume the unit from "
      "the checkpoint before"
    )
  return newest


def last_row(folder: Path) -> Row:
  """Return the latest values of a unit's metrics, by name; empty without any.

  Only the end of the file is read, because a display calls this often.
  """
  path = folder / METRICS_FILE
  latest: dict[str, Any] = {}
  try:
    with path.open("rb") as file:
      file.seek(max(0, path.stat().st_size - _TAIL))
      lines = file.read().split(b"\n")[:-1]
  except OSError:
    return latest
  for line in lines:
    with contextlib.suppress(ValueError):  # the first line may be cut
      row = json.loads(line)
      if isinstance(row, Mapping):
        latest |= row
  return latest
