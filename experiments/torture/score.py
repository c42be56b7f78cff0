"""The result of one part of the torture: what was tried, what went wrong."""

from collections.abc import Callable, Sequence
from pathlib import Path
import random
from typing import NamedTuple


class Score(NamedTuple):
  """A line of the scoreboard."""

  what: str  # the kind of harm and what must hold after it
  tried: int
  failures: Sequence[str]  # one line each
  notes: Sequence[str] = ()  # what was measured beside it


# (draws of this part, number of attempts, an empty folder) -> lines
Part = Callable[[random.Random, int, Path], list[Score]]


def one_line(error: BaseException) -> str:
  """Return what is wrong with an error as a message to a user; "" if nothing.

  Only a ValueError or OSError with a single line of fewer than 2,000 characters
  reaches a user as a message.
  """
  text = str(error)
  if not isinstance(error, ValueError | OSError):
    return f"a traceback: {type(error).__name__}: {text[:200]}"
  if "\n" in text or len(text) >= 2000:
    return f"no single line: {text[:200]!r}"
  return ""


def table(scores: Sequence[Score]) -> str:
  """Format the scoreboard."""
  lines = [f"{'tried':>6} {'wrong':>6}  what"]
  for score in scores:
    wrong = len(score.failures)
    lines.append(f"{score.tried:>6} {wrong:>6}  {score.what}")
    lines += [f"{'':>15}{note}" for note in score.notes]
    lines += [f"{'':>15}WRONG: {text}" for text in score.failures[:5]]
  return "\n".join(lines)
