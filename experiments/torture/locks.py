"""Start two commands on one output; the second must be refused in one line."""

from collections.abc import Callable
import contextlib
from pathlib import Path
import random
from typing import Any

from entrojax.system.workdir import HeldError, hold_file, hold_workdir
from experiments.torture.score import Score


def torture(draw: random.Random, count: int, folder: Path) -> list[Score]:
  """Hold a run directory or a file `count` times, and then try again."""
  failures = []
  for number in range(count):
    hold: Callable[[Path], contextlib.AbstractContextManager[Any]]
    hold = draw.choice((hold_workdir, hold_file))
    text = _hold_twice(hold, folder / str(number))
    failures += [f"{hold.__name__}: {text}"] if text else []
  return [Score("two commands on one output: one is refused", count, failures)]


def _hold_twice(
  hold: Callable[[Path], contextlib.AbstractContextManager[Any]], path: Path
) -> str:
  """Hold a path twice at once, then once; return what is wrong."""
  with hold(path):
    try:
      with hold(path):
        return "both were let in"
    except HeldError as error:
      if "\n" in str(error):
        return f"no single line: {error}"
  try:
    with hold(path):
      return ""
  except HeldError:
    return "it is held after its end"
