"""A subset of the training prompts, as a file that a run trains on.

    {"settings": {"by": "embedding", ...}, "num_rows": 17811, "size": 600}
    {"row": 12, "prompt": "3 5 7 9=24:"}
    ...

One JSON object a line: how it was chosen and of how many problems, then the
number of each chosen problem in its split, from 0, rising, beside its prompt.
Written by choose_prompts.py; `task.subset` is its path.
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
  """Writes the subset of these rows; the file's folder is made if absent."""
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
  """Returns the rows of a subset, i64[size].

  Args:
    path: of the file.
    problems: the training split, whose subset it has to be.

  Raises:
    ValueError: there is no such file, it is malformed or of other problems;
      the message names the file and the line.
  """
  if not path.is_file():
    raise ValueError(f"task.subset {path}: there is no such file")
  head, *lines = path.read_bytes().splitlines() or [b""]
  try:
    head = json.loads(head)
    num_rows, size = int(head["num_rows"]), int(head["size"])
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(f"task.subset {path} is no subset of prompts") from error
  if num_rows != len(problems):
    raise ValueError(
      f"task.subset {path} was chosen from {num_rows} problems, the training "
      f"split has {len(problems)}"
    )
  if not 0 < size == len(lines):
    raise ValueError(f"task.subset {path} holds {len(lines)} of {size} prompts")
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
  """Reads a line; its prompt has to be the problem's."""
  try:
    raw = json.loads(line)
    row, prompt = raw["row"], raw["prompt"]
    known = type(row) is int and 0 <= row < len(problems)
  except (KeyError, TypeError, ValueError):
    known = False
  if not known:
    raise ValueError(
      f"{where}: not the line of a prompt: "
      f"{line.decode(errors='replace')[:80]!r}"
    )
  if problems[row].prompt != prompt:
    raise ValueError(
      f"{where}: the prompt of row {row} is another one in the training split: "
      f"{problems[row].prompt[:80]!r}"
    )
  return row
