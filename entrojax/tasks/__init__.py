"""Tasks: problems with a verifier. A task's name is its module's."""

import difflib
import os

from entrojax.tasks import (
  arithmetic_chain,
  countdown,
  dyck,
  futoshiki,
  game_of_24,
  knights_and_knaves,
  math_path,
  n_queens,
  number_path,
  propositional_logic,
  sudoku,
  word_sorting,
)
from entrojax.types import Family, Task

FAMILIES: dict[str, Family] = {
  module.FAMILY.name: module.FAMILY
  for module in (
    arithmetic_chain,
    countdown,
    dyck,
    futoshiki,
    game_of_24,
    knights_and_knaves,
    math_path,
    n_queens,
    number_path,
    propositional_logic,
    sudoku,
    word_sorting,
  )
}
NAMES = tuple(FAMILIES)


def make_task(
  name: str, data_dir: str | os.PathLike | None = None, difficulty: int = 1
) -> Task:
  """Makes a task.

  Args:
    name: one of NAMES, or 'reasoning_gym/' and a family of that package, or
      'synlogic', or 'math', with the grader's name as in 'math/dapo' if it is
      not 'boxed'.
    data_dir: where data sets are kept; see builder.load for the default. Of
      'synlogic' and 'math' the folder of their files, of 'math' a file too.
    difficulty: the level, 1 = the easiest; see `levels` of the family.

  Raises:
    ValueError: no such task, or level; the message names the nearest task.
  """
  if name.startswith("reasoning_gym/"):
    from entrojax.tasks import reasoning_gym

    family = name.removeprefix("reasoning_gym/")
    return reasoning_gym.task(family, data_dir, difficulty)
  if name == "synlogic":
    from entrojax.tasks import synlogic

    return synlogic.task(data_dir, difficulty)
  if name == "math" or name.startswith("math/"):
    from entrojax.tasks import math_data

    grader = name.partition("/")[2] or "boxed"
    return math_data.task(data_dir, difficulty, grader=grader)
  if name not in NAMES:
    near = difflib.get_close_matches(name, NAMES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown task {name!r}, one of {NAMES}{hint}")
  # tensorflow-datasets takes a second to import: only where it is needed
  from entrojax.tasks import builder

  return builder.task(FAMILIES[name], data_dir, difficulty)
