"""Format numbers, intervals and rows of the page in Markdown."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from entrojax.reporting.differences import Interval
from experiments.tournament.judging import compare, over_seeds
from experiments.tournament.rule import SEEDS


def spread(own: np.ndarray, digits: int = 3) -> str:
  """Format mean ± standard deviation over seeds."""
  if own.size < 2:
    return f"{own.mean():.{digits}f}"
  return f"{own.mean():.{digits}f} ± {own.std(ddof=1):.{digits}f}"


def format_interval(interval: Interval | None) -> str:
  """Format a mean with its interval; a dash stands for none or NaN."""
  if interval is None or not np.isfinite(interval.mean):
    return "–"
  mean, low, high = interval
  return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"


def format_heights(own: np.ndarray) -> str:
  """Format heights over seeds; a single one has no interval."""
  finite = own[np.isfinite(own)]
  if finite.size == 1:
    text = f"{finite[0]:+.3f}"
  else:
    text = format_interval(over_seeds(own))
  if 0 < finite.size < own.size:
    text += f" ({finite.size} of {own.size} seeds)"
  return text


def side_word(own: np.ndarray) -> str:
  """Say "above" or "below" if all seeds have heights that decide it."""
  if own.size < len(SEEDS) or not np.isfinite(own).all():
    return ""
  return {1: " above", -1: " below"}.get(compare(over_seeds(own)), "")


def head(*titles: str) -> Iterator[str]:
  """Yield the head of a table."""
  yield row(*titles)
  yield f"|{' --- |' * len(titles)}"


def row(*cells: str) -> str:
  """Return a row of a table."""
  return f"| {' | '.join(cells)} |"


def quoted(names: Sequence[str]) -> str:
  """List the names of entries, "none" without any."""
  return listed(f"`{name}`" for name in names) or "none"


def listed(words: Iterable[str]) -> str:
  """Join words by commas."""
  return ", ".join(words)
