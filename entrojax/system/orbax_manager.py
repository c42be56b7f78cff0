"""Open orbax's managers of checkpoints, and report their errors in one line.

When orbax fails, it logs tracebacks, and then its threads fail in other places.
`silence_orbax` drops these reports, because `one_line` has the cause.
"""

from collections.abc import Callable
import logging
from pathlib import Path
import sys
import traceback
import types
from typing import Any

import jax
import orbax.checkpoint as ocp

_LONGEST = 300  # characters of a foreign error message that are shown


def open_manager(
  folder: Path, *, create: bool, alone: bool, preservation_policy: Any = None
) -> ocp.CheckpointManager:
  """Open orbax's manager of a folder."""
  return ocp.CheckpointManager(
    folder,
    options=ocp.CheckpointManagerOptions(
      preservation_policy=preservation_policy,
      enable_async_checkpointing=True,
      create=create,
      multiprocessing_options=_processes(alone=alone),
    ),
    item_names=("state", "host"),
  )


def _processes(*, alone: bool) -> ocp.options.MultiprocessingOptions:
  """Choose the processes that orbax synchronises: all, or only this one."""
  if not alone:
    return ocp.options.MultiprocessingOptions()
  here = jax.process_index()
  return ocp.options.MultiprocessingOptions(
    primary_host=here,
    active_processes={here},
    barrier_sync_key_prefix="alone",
  )


class KeepStep:
  """The orbax policy that keeps the checkpoint of one step."""

  def __init__(self, step: Callable[[], int | None]):
    """Keep a step.

    Args:
      step: returns the step whose checkpoint is kept; None: no step.
    """
    self._step = step

  def should_preserve(self, checkpoints, *, context):
    del context
    step = self._step()
    return [x.step == step for x in checkpoints]


class KeepOlder:
  """The orbax policy that keeps a checkpoint of at least some age.

  It keeps the newest checkpoint of that age. It also keeps the oldest of the
  younger ones, so that one of them reaches that age.
  """

  def __init__(self, age: int):
    """Keep a checkpoint of at least `age` steps before the newest one."""
    self._age = age

  def should_preserve(self, checkpoints, *, context):
    del context
    steps = sorted(x.step for x in checkpoints)
    number = sum(step <= steps[-1] - self._age for step in steps)
    kept = steps[max(number - 1, 0) : number + 1]
    return [x.step in kept for x in checkpoints]


def one_line(error: Exception) -> str:
  """Return the first line of an error's message, shortened."""
  if "No space left" in str(error):
    return "no space is left on the disk"
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  text = lines[0] if lines else type(error).__name__
  return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def silence_orbax() -> None:
  """Drop the tracebacks that orbax logs; errors are reported in one line.

  When orbax fails, threads of tensorstore also report to an event loop that
  orbax has closed already, and Python prints errors of the coroutines that
  orbax has abandoned. These errors mean nothing.
  """
  logger = logging.getLogger("absl")
  if _is_not_of_orbax in logger.filters:
    return
  logger.addFilter(_is_not_of_orbax)
  inner = sys.unraisablehook

  def hook(unraisable: Any) -> None:
    is_closed = str(unraisable.exc_value) == "Event loop is closed"
    if not is_closed and not _is_in_orbax(unraisable.exc_traceback):
      inner(unraisable)

  sys.unraisablehook = hook


def _is_in_orbax(trace: types.TracebackType | None) -> bool:
  """Return whether an error passed through a function of orbax."""
  return any(
    "/orbax/" in frame.f_code.co_filename
    for frame, _ in traceback.walk_tb(trace)
  )


def _is_not_of_orbax(record: logging.LogRecord) -> bool:
  """Return whether a record of absl's log is shown."""
  return "/orbax/" not in record.pathname
