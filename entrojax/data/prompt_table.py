"""Read and write a table of training prompts: entropies and accuracy of each.

    {"settings": {"seed": 0, "model": {...}, ...}, "num_rows": 17811}
    {"row": 0, "semantic_entropy": 1.21, "entropy": 0.52, "accuracy": 0.25}
    ...

Each line is a JSON object. The first one holds the settings with which the
table was made and the number of problems in the training split. Then follows
one line for each problem, in the order of the split. Its numbers describe the
answers that the initial policy gave to the problem:

row               number of the problem in its split, from 0
semantic_entropy  nats, over the meanings of the sampled answers
entropy           nats, mean over the answers' tokens
accuracy          share of right answers

The three numbers of a problem whose prompt was too long, and was left out, are
null in the file and NaN in a Table.

prompt_entropy.py writes the table; curriculum.py and choose_prompts.py read it.
An unfinished table can be resumed, but not read.
"""

from collections.abc import Sequence
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

  settings: dict[str, Any]  # with which it was made
  columns: dict[str, np.ndarray]  # name -> f64[N], one number per problem


_KIND = "table of prompts"
begin = functools.partial(resumable_jsonl.begin, kind=_KIND)
append = resumable_jsonl.append


def read(path: Path) -> Table:
  """Read a finished table.

  Raises:
    ValueError: the file is missing, malformed, unfinished or not a table. The
      message names the file and the line.
  """
  table = resumable_jsonl.read(path, kind=_KIND, unit="prompts")
  values = []
  for number, line in enumerate(table.rows):
    try:
      row = json.loads(line)
      numbers = [row[name] for name in COLUMNS]
      valid = row["row"] == number and _are_valid(numbers)
    except (ValueError, KeyError, TypeError):
      valid = False
    if not valid:
      raise ValueError(
        f"{path}:{number + 2}: not the line of row {number}: "
        f"{line.decode(errors='replace').strip()[:80]!r}"
      )
    values.append(numbers)
  columns = np.array(values, np.float64).reshape(-1, len(COLUMNS)).T
  return Table(table.settings, dict(zip(COLUMNS, columns, strict=True)))


def _are_valid(numbers: Sequence[Any]) -> bool:
  """Return whether all numbers are finite, or all of them None."""
  if all(number is None for number in numbers):
    return True
  return all(map(math.isfinite, numbers))
