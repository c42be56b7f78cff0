"""A table of prompts: what the initial policy makes of each of them.

    {"settings": {"seed": 0, "model": {...}, ...}, "num_rows": 17811}
    {"row": 0, "semantic_entropy": 1.21, "entropy": 0.52, "accuracy": 0.25}
    ...

One JSON object a line. The first says how the table was made; then comes one a
problem, in the order of the data set:

row               number of the problem in its split, from 0
semantic_entropy  nats, over the meanings of the sampled answers
entropy           nats, mean over the answers' tokens
accuracy          share of right answers

Written by prompt_entropy.py, read by the curriculum.
"""

from collections.abc import Mapping, Sequence
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from entrojax.workdir import differences

COLUMNS = ("semantic_entropy", "entropy", "accuracy")


class Table(NamedTuple):
  """A finished table."""

  settings: dict[str, Any]
  columns: dict[str, np.ndarray]  # name -> f64[rows], by row of the data set


def begin(
  path: Path, settings: Mapping[str, Any], *, num_rows: int, batch_size: int
) -> int:
  """Starts a table, or prepares an unfinished one to be continued.

  Args:
    path: the file; its folder is made if absent.
    settings: what the numbers depend on; what JSON can hold.
    num_rows: problems of the data set.
    batch_size: rows of one `append`; what a kill left of one is dropped.

  Returns:
    How many rows the file holds.

  Raises:
    ValueError: the file is no table, or one of other settings or data.
  """
  head = {"settings": dict(settings), "num_rows": num_rows}
  if not path.exists() or not path.stat().st_size:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(head) + "\n")
    return 0
  before, lines = _read_lines(path)
  changed = differences(before, head)
  if changed:
    raise ValueError(
      f"{path} was made with other settings: {'; '.join(changed)}; choose "
      "another file"
    )
  done = len(lines) - 1
  if done < num_rows:
    done -= done % batch_size
  with path.open("r+b") as file:
    file.truncate(sum(len(line) for line in lines[: 1 + done]))
  return done


def append(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
  """Writes rows at the end of a table."""
  lines = [json.dumps(row, allow_nan=False) + "\n" for row in rows]
  with path.open("a") as file:
    file.write("".join(lines))


def read(path: Path) -> Table:
  """Reads a finished table.

  Raises:
    ValueError: it is missing, no table, malformed or unfinished; the message
      names the file and the line.
  """
  if not path.is_file():
    raise ValueError(f"{path}: there is no such table of prompts")
  head, lines = _read_lines(path)
  if len(lines) - 1 != head["num_rows"]:
    raise ValueError(
      f"{path} holds {len(lines) - 1} of {head['num_rows']} prompts: the "
      "command that began it goes on with it"
    )
  values = []
  for number, line in enumerate(lines[1:]):
    try:
      row = json.loads(line)
      found = [float(row[name]) for name in COLUMNS]
      good = row["row"] == number and all(map(math.isfinite, found))
    except (ValueError, KeyError, TypeError):
      good = False
    if not good:
      raise ValueError(
        f"{path}:{number + 2}: not the line of row {number}: "
        f"{line.decode(errors='replace').strip()[:80]!r}"
      )
    values.append(found)
  columns = np.array(values, np.float64).reshape(-1, len(COLUMNS)).T
  return Table(head["settings"], dict(zip(COLUMNS, columns, strict=True)))


def _read_lines(path: Path) -> tuple[dict[str, Any], list[bytes]]:
  """Returns the first line, parsed, and all lines that have an end."""
  lines = path.read_bytes().splitlines(keepends=True)
  lines = [line for line in lines if line.endswith(b"\n")]
  try:
    head = json.loads(lines[0])
    if not isinstance(head["settings"], dict):
      raise TypeError("settings")
    return {"settings": head["settings"], "num_rows": int(head["num_rows"])}, (
      lines
    )
  except (IndexError, KeyError, TypeError, ValueError) as error:
    raise ValueError(f"{path} is not a table of prompts") from error
