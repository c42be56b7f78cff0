"""The scoreboard of the torture: what was tried, what went wrong.

A scoreboard may be kept in a file, one JSON line for each finished part, so
that a stopped command need not repeat parts that have ended.
"""

from collections.abc import Callable, Mapping, Sequence
import json
from pathlib import Path
import random
from typing import Any, NamedTuple

from entrojax.system.refusals import messages_of

_MOST_FAILURES = 5  # lines of one score that the table shows


class Score(NamedTuple):
  """A line of the scoreboard."""

  what: str  # the kind of harm and what must hold after it
  tried: int
  failures: Sequence[str]  # one line each
  notes: Sequence[str] = ()  # what was measured beside it


class PartResult(NamedTuple):
  """The scores of one part, and what it cost."""

  part: str
  seed: int
  attempts: int
  seconds: float  # wall time
  cpu_seconds: float  # of this process and of those that it started
  scores: Sequence[Score]


# (draws of this part, number of attempts, an empty folder) -> lines
Part = Callable[[random.Random, int, Path], list[Score]]


def one_line(error: BaseException) -> str:
  """Return what is wrong with an error as a message to a user; "" if nothing.

  Only a ValueError or OSError with a single line of fewer than 2,000 characters
  for each refusal reaches a user as a message.
  """
  if not isinstance(error, ValueError | OSError):
    return f"a traceback: {type(error).__name__}: {str(error)[:200]}"
  for text in messages_of(error):
    if "\n" in text or len(text) >= 2000:
      return f"no single line: {text[:200]!r}"
  return ""


def table(results: Sequence[PartResult]) -> str:
  """Format the scoreboard."""
  lines = [f"{'tried':>6} {'wrong':>6}  what"]
  for result in results:
    for score in result.scores:
      wrong = len(score.failures)
      lines.append(f"{score.tried:>6} {wrong:>6}  {score.what}")
      lines += [f"{'':>15}{note}" for note in score.notes]
      lines += [
        f"{'':>15}WRONG: {text}" for text in score.failures[:_MOST_FAILURES]
      ]
    lines.append(
      f"{'':>15}{result.part}, seed {result.seed}: {result.seconds:.0f} s, "
      f"{result.cpu_seconds:.0f} CPU s"
    )
  return "\n".join(lines)


def keep(path: Path, result: PartResult) -> None:
  """Append the result of a part to the file of a scoreboard."""
  row = result._asdict()
  row["scores"] = [score._asdict() for score in result.scores]
  path.parent.mkdir(parents=True, exist_ok=True)
  with path.open("a") as file:
    file.write(json.dumps(row) + "\n")


def read_kept(path: Path) -> list[PartResult]:
  """Read the file of a scoreboard; a missing file has no results.

  Raises:
    ValueError: a line is no result.
  """
  lines = path.read_text().splitlines() if path.exists() else []
  try:
    return [_result(json.loads(line)) for line in lines]
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(f"{path} is not a scoreboard: move it away") from error


def _result(row: Mapping[str, Any]) -> PartResult:
  scores = [Score(**score) for score in row["scores"]]
  return PartResult(**{**row, "scores": scores})
