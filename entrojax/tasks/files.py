"""Read the rows of local files, and find the files of splits in a folder.

`rows` reads a file of parquet, JSON lines or a JSON list. math_data.py,
synlogic.py and supervised fine-tuning use it. For tasks, a split is a file
`NAME.ENDING` in a folder (`find`, `split_files`). `parse_split` also reads the
name of a part of a split, such as `train[100:200]`. A folder may instead hold a
data set that `entrojax.prepare_data` wrote; see `stored_loader`.
"""

from collections.abc import Callable, Iterator, Sequence
import functools
import json
from pathlib import Path
import re
from typing import Any

from entrojax.types import Problem

ENDINGS = ("parquet", "jsonl", "json")


def rows(
  path: Path, columns: Sequence[str] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
  """Read a file row by row: parquet, a JSON list, or JSON lines.

  Args:
    path: the file; its ending (.parquet, .json, otherwise JSON lines) selects
      the format.
    columns: the columns to read from a parquet file; None: all. Other formats
      always give all columns.

  Yields:
    (number of the row from 0, dict from column to value). Empty lines of JSON
    lines count in the numbers.

  Raises:
    ValueError: the file does not exist or is malformed; the message names file
      and row.
  """
  if not path.is_file():
    raise ValueError(f"{path} is not a file")
  if path.suffix == ".parquet":
    yield from enumerate(_parquet(path, columns))
    return
  try:
    read = _json_list if path.suffix == ".json" else _json_lines
    for number, row in read(path):
      if not isinstance(row, dict):
        raise ValueError(f"{path}: row {number} is not a JSON object")
      yield number, row
  except UnicodeDecodeError as error:
    raise ValueError(f"{path} is not text in UTF-8: {error}") from error


def _parquet(path: Path, columns: Sequence[str] | None) -> Iterator[dict]:
  from pyarrow import ArrowException, parquet  # slow to import

  try:
    with parquet.ParquetFile(path) as file:
      missing = set(columns or ()) - set(file.schema_arrow.names)
      if missing:
        raise ValueError(f"{path} has no column {sorted(missing)}")
      for batch in file.iter_batches(columns=columns):
        yield from batch.to_pylist()
  except ArrowException as error:
    raise ValueError(f"{path} is not parquet: {error}") from error


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
  with path.open(encoding="utf-8") as lines:
    for number, line in enumerate(lines):
      if not line.strip():
        continue
      try:
        yield number, json.loads(line)
      except UnicodeDecodeError:
        raise
      except (ValueError, RecursionError) as error:
        raise ValueError(
          f"{path}: row {number} is not JSON: {error}"
        ) from error


def _json_list(path: Path) -> Iterator[tuple[int, Any]]:
  text = path.read_text(encoding="utf-8")
  try:
    values = json.loads(text)
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{path} is not JSON: {error}") from error
  if not isinstance(values, list):
    raise ValueError(f"{path} is not a JSON list")
  yield from enumerate(values)


def parse_split(split: str) -> tuple[str, slice]:
  """Parse the name of a split or of a part of it, 'train' or 'train[100:200]'.

  Returns:
    (name, slice of the split's rows)

  Raises:
    ValueError: the text is neither.
  """
  match = re.fullmatch(r"([\w.-]+)(?:\[(-?\d*):(-?\d*)\])?", split, re.ASCII)
  try:
    name, start, stop = match.groups()  # type: ignore[union-attr]
    bounds = [int(bound) if bound else None for bound in (start, stop)]
  except (AttributeError, ValueError):
    raise ValueError(
      f"split={split!r} is not a split or a part of one, such as 'train' or "
      "'train[100:200]'"
    ) from None
  return name, slice(*bounds)


def find(folder: Path, name: str, endings: Sequence[str] = ENDINGS) -> Path:
  """Find the file of a split in a folder.

  Args:
    folder: the folder.
    name: the split, which is the file's name without its ending.
    endings: the allowed endings; the first that exists is taken.

  Raises:
    ValueError: the folder holds no such file.
  """
  paths = [folder / f"{name}.{ending}" for ending in endings]
  for path in paths:
    if path.is_file():
      return path
  tried = " nor ".join(map(str, paths))
  raise ValueError(
    f"split={name!r}: there is no {tried}. The splits of a run are named by "
    "task.train_split and evaluation.split; if task.data_dir is a single file, "
    "it is divided into train, validation and test"
  )


def split_files(
  folder: Path, endings: Sequence[str] = ENDINGS
) -> dict[str, Path]:
  """Find the files of all splits in a folder.

  Returns:
    A dict from the name of each split to its file.

  Raises:
    ValueError: there is no such file, or a split has two files.
  """
  paths: dict[str, Path] = {}
  for path in sorted(folder.iterdir()):
    if path.suffix.removeprefix(".") not in endings:
      continue
    if path.stem in paths:
      raise ValueError(
        f"{paths[path.stem]} and {path} are one split: keep one of the files"
      )
    paths[path.stem] = path
  if not paths:
    raise ValueError(f"{folder} holds no file of {', '.join(endings)}")
  return paths


def stored_loader(
  path: Path, task_name: str
) -> Callable[[str], Sequence[Problem]] | None:
  """Build the function that loads a split of a prepared data set.

  Args:
    path: a folder that may hold a data set of entrojax.prepare_data.
    task_name: the task that the data set must belong to.

  Returns:
    A function from the name of a split to its problems; None if the folder
    holds no prepared data set.
  """
  folder = prepared_folder(path)
  if folder is None:
    return None
  from entrojax.tasks import builder  # the import takes a second

  return functools.partial(
    builder.load_stored, folder=folder, task_name=task_name
  )


def prepared_folder(path: Path) -> Path | None:
  """Find the folder of a TFDS data set: `path` itself, or its newest version.

  Returns:
    The folder; None if `path` holds no data set.
  """
  if not path.is_dir():
    return None
  versions = [
    p for p in path.iterdir() if re.fullmatch(r"\d+(\.\d+){2}", p.name)
  ]
  newest_first = sorted(
    versions, key=lambda p: [int(n) for n in p.name.split(".")], reverse=True
  )
  for folder in (path, *newest_first):
    # both, because other libraries write a dataset_info.json too
    markers = ("dataset_info.json", "features.json")
    if all((folder / name).is_file() for name in markers):
      return folder
  return None
