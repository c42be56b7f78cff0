"""Rows of local files, and parts of splits: what file-based tasks share."""

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
  """Yields (number, row) of a file: parquet, a JSON list, or lines of JSON.

  Args:
    path: of the file; its ending tells the format.
    columns: those that are read of a parquet file; None: all.

  Raises:
    ValueError: there is no such file, or it is something else; the message
      names file and row.
  """
  if not path.is_file():
    raise ValueError(f"{path} is not a file")
  if path.suffix == ".parquet":
    yield from enumerate(_parquet(path, columns))
    return
  try:
    found = _json_list(path) if path.suffix == ".json" else _json_lines(path)
    for number, row in found:
      if not isinstance(row, dict):
        raise ValueError(f"{path}: row {number} is not a JSON object")
      yield number, row
  except UnicodeDecodeError as error:
    raise ValueError(f"{path} is not text in UTF-8: {error}") from error


def _parquet(path: Path, columns: Sequence[str] | None) -> Iterator[dict]:
  from pyarrow import ArrowException, parquet  # comes with the data sets

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
    found = json.loads(text)
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{path} is not JSON: {error}") from error
  if not isinstance(found, list):
    raise ValueError(f"{path} is not a JSON list")
  yield from enumerate(found)


def parse_split(split: str) -> tuple[str, slice]:
  """Reads 'train' or a part of a split, 'train[100:200]'.

  Raises:
    ValueError: it is neither.
  """
  match = re.fullmatch(r"([\w.-]+)(?:\[(-?\d*):(-?\d*)\])?", split, re.ASCII)
  try:
    name, start, stop = match.groups()  # type: ignore[union-attr]
    bounds = [int(bound) if bound else None for bound in (start, stop)]
  except (AttributeError, ValueError):
    raise ValueError(
      f"split={split!r} is not a split nor a part of one"
    ) from None
  return name, slice(*bounds)


def find(folder: Path, name: str, endings: Sequence[str] = ENDINGS) -> Path:
  """Returns the file of a split.

  Raises:
    ValueError: there is none in the folder.
  """
  paths = [folder / f"{name}.{ending}" for ending in endings]
  for path in paths:
    if path.is_file():
      return path
  tried = " nor ".join(map(str, paths))
  raise ValueError(
    f"split={name!r}: there is no {tried}. Splits are task.train_split and "
    "evaluation.split; a single file given as task.data_dir is cut in three"
  )


def split_files(
  folder: Path, endings: Sequence[str] = ENDINGS
) -> dict[str, Path]:
  """Returns the file of each split in a folder, by the split's name.

  Raises:
    ValueError: there is none, or there are two of one split.
  """
  found: dict[str, Path] = {}
  for path in sorted(folder.iterdir()):
    if path.suffix.removeprefix(".") not in endings:
      continue
    if path.stem in found:
      raise ValueError(f"{found[path.stem]} and {path} are one split")
    found[path.stem] = path
  if not found:
    raise ValueError(f"{folder} holds no file of {', '.join(endings)}")
  return found


def stored_loader(
  path: Path, of_task: str
) -> Callable[[str], Sequence[Problem]] | None:
  """Returns what loads a split of a prepared data set; None: it is none."""
  folder = prepared_folder(path)
  if folder is None:
    return None
  from entrojax.tasks import builder  # takes a second

  return functools.partial(builder.load_stored, folder=folder, of_task=of_task)


def prepared_folder(path: Path) -> Path | None:
  """Returns the folder of a TFDS data set: `path`, or its newest version.

  None: `path` is something else.
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
    # the first alone is in folders of other libraries too
    heads = ("dataset_info.json", "features.json")
    if all((folder / name).is_file() for name in heads):
      return folder
  return None
