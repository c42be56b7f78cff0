"""Keep what was measured at each point, one JSON line each."""

from collections.abc import Iterable, Mapping
import json
from pathlib import Path
from typing import Any

COUNTS, TIMES, PROCESSES = "counts", "times", "processes"

Lines = list[dict[str, Any]]


def read(path: Path) -> Lines:
  """Return the kept lines; none if there is no file."""
  if not path.exists():
    return []
  return [json.loads(line) for line in path.read_text().splitlines()]


def has(lines: Lines, kind: str, axis: str, value: int) -> bool:
  """Return whether a point has been measured."""
  return any(_key(line) == (kind, axis, value) for line in lines)


def append(
  path: Path, kind: str, axis: str, value: int, costs: Mapping
) -> None:
  """Keep the costs at a point."""
  line = {"kind": kind, "axis": axis, "value": value, **costs}
  with path.open("a") as file:
    print(json.dumps(line), file=file)


def column(
  lines: Iterable[Mapping[str, Any]], kind: str, axis: str, name: str
) -> dict[int, float]:
  """Return a cost along an axis, value -> cost, in the order of the values."""
  costs = {
    line["value"]: line[name]
    for line in lines
    if (line["kind"], line["axis"]) == (kind, axis)
  }
  return dict(sorted(costs.items()))


def _key(line: Mapping[str, Any]) -> tuple[str, str, int]:
  return line["kind"], line["axis"], line["value"]
