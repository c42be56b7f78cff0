"""Format numbers and tables as text, for terminals and HTML pages.

A number that is NaN or infinite counts as absent and becomes a dash.
"""

from collections.abc import Sequence
import math

import numpy as np

_ABSENT = "–"


def number(value: float) -> str:
  """Format a number for a table."""
  if not math.isfinite(value):
    return _ABSENT
  if value == int(value):
    return f"{int(value):,}"
  return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"


def with_error(value: float, error: float = math.nan) -> str:
  """Format a number of order one, with its standard error if there is one."""
  if not math.isfinite(value):
    return _ABSENT
  return f"{value:.3f}±{error:.3f}" if error >= 0 else f"{value:.3f}"


def with_spread(mean: float, deviation: float) -> str:
  """Format a mean over seeds with its standard deviation, both as precise."""
  if not math.isfinite(mean):
    return _ABSENT
  if not deviation > 1e-12 * abs(mean):  # none, but for rounding
    return number(float(f"{mean:.12g}"))
  size = max(abs(mean), deviation)
  digits = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 10 else 3
  return f"{mean:,.{digits}f}±{deviation:,.{digits}f}"


def with_interval(value: float, interval: tuple[float, float]) -> str:
  """Format a number of order one, with its 95 % interval if it is finite."""
  low, high = interval
  finite = math.isfinite(low) and math.isfinite(high)
  return with_error(value) + (f" [{low:.3f}, {high:.3f}]" if finite else "")


def over_seeds(numbers: Sequence[tuple[float, str]]) -> str:
  """Format a number of each seed: its own text if there is one seed.

  Args:
    numbers: the number of each seed, and its text.
  """
  if len(numbers) == 1:
    return numbers[0][1]
  finite = [value for value, _ in numbers if math.isfinite(value)]
  deviation = float(np.std(finite, ddof=1)) if len(finite) > 1 else math.nan
  return with_spread(float(np.mean(finite)) if finite else math.nan, deviation)


def percent(share: float) -> str:
  """Format a share between 0 and 1 as whole percent."""
  return f"{100 * share:.0f} %" if math.isfinite(share) else _ABSENT


def listing(names: Sequence[str], most: int = 6) -> str:
  """Join names by commas; after `most` names, count the rest."""
  rest = len(names) - most
  text = ", ".join(names[:most])
  return f"{text} and {rest} more" if rest > 0 else text


def printable(name: str, length: int = 40) -> str:
  """Shorten a name to one line without control characters, for a legend."""
  name = "".join(char if char.isprintable() else "?" for char in name)
  return name if len(name) <= length else name[: length - 1] + "…"


def align(
  names: Sequence[str], cells: Sequence[Sequence[str]], width: int = 100
) -> str:
  """Align a table; columns that do not fit into the width follow below it.

  Args:
    names: the headings of the columns; the column of labels has none.
    cells: the lines of the table, each with its label first.
    width: the width of the terminal, characters.
  """
  columns = list(zip(["", *names], *cells, strict=True))
  sizes = [max(map(len, column)) for column in columns]
  labels = [printable(c).ljust(sizes[0]) for c in columns[0]]
  blocks = [[labels]]
  for column, size in zip(columns[1:], sizes[1:], strict=True):
    used = sum(len(other[0]) + 2 for other in blocks[-1])
    if len(blocks[-1]) > 1 and used + size > width:
      blocks.append([labels])
    blocks[-1].append([cell.rjust(size) for cell in column])
  return "\n\n".join(
    "\n".join("  ".join(line).rstrip() for line in zip(*block, strict=True))
    for block in blocks
  )
