"""Tasks: problems with a verifier. A task's name is its module's."""

import difflib
import os

from entrojax.types import Task

NAMES = ("countdown",)


def make_task(name: str, data_dir: str | os.PathLike | None = None) -> Task:
  """Makes a task.

  Args:
    name: one of NAMES.
    data_dir: where data sets are kept; see the task's builder for the default.

  Raises:
    ValueError: no such task; the message names the nearest.
  """
  if name not in NAMES:
    near = difflib.get_close_matches(name, NAMES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown task {name!r}, one of {NAMES}{hint}")
  # tensorflow-datasets takes a second to import: only where it is needed
  from entrojax.tasks import countdown_builder

  return countdown_builder.task(data_dir)
