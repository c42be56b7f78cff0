"""A file of JSON lines that a stopped command goes on with.

    {"settings": {"seed": 0, "model": {...}, ...}, "num_rows": 17811}
    {...}
    ...

The first line says what the others depend on and how many there will be; they
are appended batch by batch.
"""

from collections.abc import Mapping, Sequence
import json
from pathlib import Path
from typing import Any, NamedTuple

from entrojax.system.workdir import differences


class Lines(NamedTuple):
  """A finished file."""

  settings: dict[str, Any]
  rows: list[bytes]  # a line each, from the file's second on


def begin(
  path: Path,
  settings: Mapping[str, Any],
  *,
  num_rows: int,
  batch_size: int,
  kind: str,
) -> int:
  """Starts a file, or prepares an unfinished one to be continued.

  Args:
    path: the file; its folder is made if absent.
    settings: what the rows depend on; what JSON can hold.
    num_rows: lines of the finished file, but for the first.
    batch_size: rows of one `append`; what a kill left of one is dropped.
    kind: what such a file is called.

  Returns:
    How many rows the file holds.

  Raises:
    ValueError: the file is of another kind, or of other settings or data.
  """
  head = {"settings": dict(settings), "num_rows": num_rows}
  if not path.exists() or not path.stat().st_size:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(head) + "\n")
    return 0
  before, lines = _read_lines(path, kind)
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


def append(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
  """Writes rows at the end of a file."""
  lines = [json.dumps(row, allow_nan=False) + "\n" for row in rows]
  with path.open("a") as file:
    file.write("".join(lines))


def read(path: Path, *, kind: str, unit: str) -> Lines:
  """Reads a finished file.

  Args:
    path: the file.
    kind: what such a file is called.
    unit: what its rows are called.

  Raises:
    ValueError: it is missing, of another kind or unfinished.
  """
  if not path.is_file():
    raise ValueError(f"{path}: there is no such {kind}")
  head, lines = _read_lines(path, kind)
  if len(lines) - 1 != head["num_rows"]:
    raise ValueError(
      f"{path} holds {len(lines) - 1} of {head['num_rows']} {unit}: the "
      "command that began it goes on with it"
    )
  return Lines(head["settings"], lines[1:])


def _read_lines(path: Path, kind: str) -> tuple[dict[str, Any], list[bytes]]:
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
    raise ValueError(f"{path} is not a {kind}") from error
