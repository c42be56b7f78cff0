"""Tasks: problems together with the verifier of their responses.

FAMILIES lists the tasks whose problems this package generates. Each of them is
a module of `families/`. `make_task` builds any of them, and also the tasks that
read local files (math, synlogic) or come from the package reasoning-gym.
README.md in this folder lists them all and explains how to add one.
"""

from collections.abc import Sequence
import difflib
import os

from entrojax.tasks.families import FAMILIES
from entrojax.types import Task

NAMES = tuple(FAMILIES)


def make_task(
  name: str,
  data_dir: str | os.PathLike | None = None,
  difficulty: int = 1,
  *,
  columns: Sequence[str] = (),
) -> Task:
  """Build a task from its name.

  Args:
    name: one of NAMES; 'reasoning_gym/' followed by a family of that package;
      'synlogic'; or 'math', optionally followed by a grader as in 'math/dapo'
      (default 'math/boxed').
    data_dir: for 'math' and 'synlogic' the folder with their files (for 'math'
      it may also be a single file); for all other tasks the folder in which
      generated data sets are kept, see builder.load for its default.
    difficulty: the level, from 1 (the easiest) to the number of levels of the
      family.
    columns: for 'math' the columns of the files, as 'question=COLUMN', where
      they are others than math_data.py knows.

  Returns:
    A Task, whose problems are loaded only when its `load` is called.

  Raises:
    ValueError: there is no such task or no such level; the message names the
      task with the most similar name.
  """
  is_math = name == "math" or name.startswith("math/")
  if columns and not is_math:
    raise ValueError(
      f"task.columns is set, but only math reads columns, and task.name is "
      f"{name!r}"
    )
  if name.startswith("reasoning_gym/"):
    from entrojax.tasks import reasoning_gym

    family = name.removeprefix("reasoning_gym/")
    return reasoning_gym.task(family, data_dir, difficulty)
  if name == "synlogic":
    from entrojax.tasks import synlogic

    return synlogic.task(data_dir, difficulty)
  if is_math:
    from entrojax.tasks import math_data

    grader = name.partition("/")[2] or "boxed"
    return math_data.task(data_dir, difficulty, grader=grader, columns=columns)
  if name not in NAMES:
    near = difflib.get_close_matches(name, NAMES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown task {name!r}, one of {NAMES}{hint}")
  # imported here because tensorflow-datasets takes a second to import
  from entrojax.tasks import builder

  return builder.task(FAMILIES[name], data_dir, difficulty)
