"""Write and read a JSONL file that an interrupted command can resume.

    {"settings": {"seed": 0, "model": {...}, ...}, "num_rows": 17811}
    {...}
    ...

The first line holds the settings that the rows depend on, and the number of
rows of the finished file. The rows follow, one per line. A command appends them
batch by batch. To resume, `begin` removes an incomplete last batch and returns
the number of rows that are left. It refuses a file that was begun with other
settings. `read` refuses a file that is not finished.
"""

from collections.abc import Mapping, Sequence
import json
from pathlib import Path
from typing import Any, NamedTuple

from entrojax.system.workdir import differences


class Lines(NamedTuple):
  """The contents of a finished file."""

  settings: dict[str, Any]
  rows: list[bytes]  # every line after the first, as it is in the file


def begin(
  path: Path,
  settings: Mapping[str, Any],
  *,
  num_rows: int,
  batch_size: int,
  kind: str,
) -> int:
  """Start a file, or prepare an unfinished one to be resumed.

  Args:
    path: the file. Its folder is created if missing.
    settings: the settings that the rows depend on, as JSON can hold them.
    num_rows: the number of rows of the finished file.
    batch_size: the number of rows in one `append`. An incomplete batch, as a
      killed command leaves it, is removed from the file.
    kind: the name of this kind of file in error messages, such as "table of
      prompts".

  Returns:
    The number of rows that the file holds.

  Raises:
    ValueError: the file is of another kind, it has too many rows, or its
      settings or number of rows differ.
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
  _check_not_too_many(path, done, num_rows)
  if done < num_rows:
    done -= done % batch_size
  with path.open("r+b") as file:
    file.truncate(sum(len(line) for line in lines[: 1 + done]))
  return done


def append(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
  """Append rows to a file, one JSON line each."""
  lines = [json.dumps(row, allow_nan=False) + "\n" for row in rows]
  with path.open("a") as file:
    file.write("".join(lines))


def read(path: Path, *, kind: str, unit: str) -> Lines:
  """Read a finished file.

  Args:
    path: the file.
    kind: the name of this kind of file in error messages.
    unit: the name of its rows in error messages, such as "prompts".

  Raises:
    ValueError: the file is missing, of another kind or unfinished, or it has
      too many rows.
  """
  if not path.is_file():
    raise ValueError(f"{path}: there is no such {kind}")
  head, lines = _read_lines(path, kind)
  _check_not_too_many(path, len(lines) - 1, head["num_rows"])
  if len(lines) - 1 != head["num_rows"]:
    raise ValueError(
      f"{path} holds only {len(lines) - 1} of {head['num_rows']} {unit}: run "
      "the command that started it again to finish it"
    )
  return Lines(head["settings"], lines[1:])


def _check_not_too_many(path: Path, number: int, num_rows: int) -> None:
  """Raise ValueError if a file holds more rows than its first line says."""
  if number > num_rows:
    raise ValueError(
      f"{path} holds {number} rows, and its first line says {num_rows}: two "
      "commands may have written it; delete it and make it again"
    )


def _read_lines(path: Path, kind: str) -> tuple[dict[str, Any], list[bytes]]:
  """Return the first line, parsed, and all lines that end in a newline."""
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
