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

import functools
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from entrojax.system import resumable_jsonl

COLUMNS = ("semantic_entropy", "entropy", "accuracy")


class Table(NamedTuple):
  """A finished table."""

  settings: dict[str, Any]
  columns: dict[str, np.ndarray]  # name -> f64[rows], by row of the data set


_KIND = "table of prompts"
begin = functools.partial(resumable_jsonl.begin, kind=_KIND)
append = resumable_jsonl.append


def read(path: Path) -> Table:
  """Reads a finished table.

  Raises:
    ValueError: it is missing, no table, malformed or unfinished; the message
      names the file and the line.
  """
  table = resumable_jsonl.read(path, kind=_KIND, unit="prompts")
  values = []
  for number, line in enumerate(table.rows):
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
  return Table(table.settings, dict(zip(COLUMNS, columns, strict=True)))
