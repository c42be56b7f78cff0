"""Read and write a file that selects some of the training prompts.

    {"settings": {"by": "embedding", ...}, "num_rows": 17811, "size": 600}
    {"row": 12, "prompt": "3 5 7 9=24:"}
    ...

Each line is a JSON object. The first one holds the settings of the choice, the
number of problems in the whole training split (num_rows), and the number of
chosen ones (size). The other lines hold the row of each chosen problem in its
split, counted from 0 and ascending, and its prompt as the task writes it.
choose_prompts.py writes the file. If `task.subset` is its path, a run trains on
these problems alone.
"""

from collections.abc import Mapping, Sequence
import json
from pathlib import Path
from typing import Any

import numpy as np

from entrojax.types import Problem


def write(
  path: Path,
  rows: np.ndarray,
  problems: Sequence[Problem],
  settings: Mapping[str, Any],
) -> None:
  """Write a subset.

  Args:
    path: the file; its folder is created if missing.
    rows: i64[size], the chosen rows of the training split, ascending.
    problems: the training split.
    settings: how the rows were chosen; values that JSON can hold.
  """
  head = {
    "settings": dict(settings),
    "num_rows": len(problems),
    "size": len(rows),
  }
  lines = [head]
  lines += [{"row": r, "prompt": problems[r].prompt} for r in rows.tolist()]
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def read(path: Path, problems: Sequence[Problem]) -> np.ndarray:
  """Read the rows of a subset.

  Args:
    path: the file.
    problems: the training split from which the subset was chosen.

  Returns:
    i64[size], the rows of the split, ascending.

  Raises:
    ValueError: the file is missing or malformed, or its prompts are not those
      problems. The message names the file and the line.
  """
  if not path.is_file():
    raise ValueError(f"task.subset {path}: there is no such file")
  head, *lines = path.read_bytes().splitlines() or [b""]
  try:
    head = json.loads(head)
    num_rows, size = int(head["num_rows"]), int(head["size"])
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(
      f"task.subset {path} is no subset of prompts: choose_prompts writes one"
    ) from error
  if num_rows != len(problems):
    raise ValueError(
      f"task.subset {path} was chosen from {num_rows} problems, the training "
      f"split has {len(problems)}"
    )
  if not 0 < size == len(lines):
    raise ValueError(
      f"task.subset {path} holds {len(lines)} of {size} prompts: run "
      "choose_prompts again"
    )
  rows: list[int] = []
  for number, line in enumerate(lines, start=2):
    row = _row(line, f"task.subset {path}:{number}", problems)
    if rows and row <= rows[-1]:
      raise ValueError(
        f"task.subset {path}:{number}: row {row} does not follow {rows[-1]}"
      )
    rows.append(row)
  return np.array(rows, np.int64)


def _row(line: bytes, where: str, problems: Sequence[Problem]) -> int:
  """Parse a line; raise ValueError if its prompt is not the problem's."""
  try:
    raw = json.loads(line)
    row, prompt = raw["row"], raw["prompt"]
    valid = type(row) is int and 0 <= row < len(problems)
  except (KeyError, TypeError, ValueError):
    valid = False
  if not valid:
    raise ValueError(
      f"{where}: not the line of a prompt: "
      f"{line.decode(errors='replace')[:80]!r}"
    )
  if problems[row].prompt != prompt:
    raise ValueError(
      f"{where}: the prompt of row {row} differs from the training split's: "
      f"{problems[row].prompt[:80]!r}"
    )
  return row
