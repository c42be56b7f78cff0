"""Read the rows of local files, and find the files of splits in a folder.

`rows` reads a file of parquet, JSON lines or a JSON list. math_data.py,
synlogic.py and supervised fine-tuning use it. For tasks, a split is a file
`NAME.ENDING` in a folder, or its shards (`find`, `split_files`). `parse_split`
also reads the name of a part of a split, such as `train[100:200]`. A folder may
instead hold a data set that `entrojax.prepare_data` wrote; see `stored_loader`.

The shards of a split are named as on the Hugging Face Hub:
`train-00000-of-00002.parquet`. The folder `data`, which data sets have there,
is read if the folder itself holds no files. The splits validation, train and
test are also found by other names of theirs there, such as `valid` or `dev`.
"""

from collections.abc import Callable, Iterator, Sequence
import functools
import json
from pathlib import Path
import re
from typing import Any
import warnings

from entrojax.types import Problem

ENDINGS = ("parquet", "jsonl", "json")
HUB_FOLDER = "data"
# what published data sets call a split, besides its name here
HUB_NAMES = {
  "train": ("training",),
  "validation": ("valid", "val", "dev"),
  "test": ("testing",),
}
# descriptions of a data set, which hold none of its rows
_DESCRIPTIONS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json")
MAX_UNREADABLE = 0.05  # share of a split's rows; above it, the split is refused
_ENCODING = "utf-8-sig"  # a byte order mark at the start is left out
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})(?:-[0-9a-f]+)?", re.ASCII)


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
    raise ValueError(
      f"{path} is not text in UTF-8: {error}{_other_ending(path)}"
    ) from error


def _parquet(path: Path, columns: Sequence[str] | None) -> Iterator[dict]:
  from pyarrow import ArrowException, parquet  # slow to import

  try:
    with parquet.ParquetFile(path) as file:
      missing = set(columns or ()) - set(file.schema_arrow.names)
      if not missing:
        for batch in file.iter_batches(columns=columns):
          yield from _as_python_holds_it(batch).to_pylist()
        return
  except ArrowException as error:
    raise ValueError(f"{path} is not parquet: {error}") from error
  except (ValueError, OverflowError) as error:
    raise ValueError(f"{path}: a value cannot be read: {error}") from error
  raise ValueError(f"{path} has no column {sorted(missing)}")


def _as_python_holds_it(batch: Any) -> Any:
  """Convert the columns of a batch that Python would read otherwise.

  A float32 becomes the float that is written with the same digits: 0.1, and not
  0.10000000149011612. A time loses its nanoseconds, for which Python has no
  type.
  """
  import pyarrow

  types, arrays = pyarrow.types, []
  for array in batch.columns:
    if types.is_floating(array.type) and array.type.bit_width < 64:
      array = array.cast(pyarrow.float32()).cast(pyarrow.string())
      array = array.cast(pyarrow.float64())
    elif types.is_timestamp(array.type):
      array = array.cast(pyarrow.timestamp("us", array.type.tz), safe=False)
    arrays.append(array)
  return pyarrow.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def broken_character(text: str) -> str:
  """Describe the first character of a text that UTF-8 cannot hold.

  JSON can write it as an escape: the first half of an emoji, for example.

  Returns:
    The description; '' if there is no such character.
  """
  match = re.search("[\ud800-\udfff]", text)
  return f"{match[0]!r}, half of a surrogate pair" if match else ""


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
  with path.open(encoding=_ENCODING) as lines:
    for number, line in enumerate(lines):
      if not line.strip():
        continue
      try:
        yield number, json.loads(line)
      except UnicodeDecodeError:
        raise
      except (ValueError, RecursionError) as error:
        raise ValueError(
          f"{path}: row {number} is not JSON: {error}{_other_ending(path)}"
        ) from error


def _other_ending(path: Path) -> str:
  """Say how a file of another ending is read; '' for a known ending."""
  if path.suffix.removeprefix(".") in ENDINGS:
    return ""
  return (
    ". A file is parquet, a JSON list or JSON lines, by its ending .parquet, "
    f".json or .jsonl; {path.name} was read as JSON lines"
  )


def _json_list(path: Path) -> Iterator[tuple[int, Any]]:
  text = path.read_text(encoding=_ENCODING)
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


def require_problems(count: int, split: str, where: object) -> None:
  """Raise ValueError if a split of some source holds no problem."""
  if count < 1:
    raise ValueError(
      f"split={split!r} of {where} holds no problem; see task.train_split and "
      "evaluation.split"
    )


def find(
  folder: Path, name: str, endings: Sequence[str] = ENDINGS
) -> tuple[Path, ...]:
  """Find the files of a split in a folder: one, or all of its shards in order.

  Args:
    folder: the folder.
    name: the split, which is the file's name without its ending.
    endings: the allowed endings; the first that exists is taken.

  Raises:
    ValueError: the folder holds no such file, or a shard is missing.
  """
  place = _place(folder, endings)
  for choice in (name, *HUB_NAMES.get(name, ())):
    for ending in endings:
      files = [
        path
        for path in _data_files(place, (ending,))
        if split_name(path) == choice
      ]
      if files:
        return _complete(choice, files)
  paths = [folder / f"{name}.{ending}" for ending in endings]
  tried = " nor ".join(map(str, paths))
  raise ValueError(
    f"split={name!r}: there is no {tried}, nor shards such as "
    f"{name}-00000-of-00002.{endings[0]}. The splits of a run are named by "
    "task.train_split and evaluation.split; if task.data_dir is a single file, "
    "it is divided into train, validation and test"
  )


def split_name(path: Path) -> str:
  """Return the split that a file belongs to, which may be one of its shards."""
  match = _SHARD.fullmatch(path.stem)
  return match[1] if match else path.stem


def _place(folder: Path, endings: Sequence[str]) -> Path:
  """Return the folder of the files: the folder itself, or its folder `data`.

  Raises:
    ValueError: it is not a folder.
  """
  if not folder.is_dir():
    raise ValueError(f"{folder} is not a folder")
  inner = folder / HUB_FOLDER
  has_files = bool(_data_files(folder, endings))
  return inner if not has_files and inner.is_dir() else folder


def _data_files(folder: Path, endings: Sequence[str]) -> list[Path]:
  """List the files in a folder that may hold rows, sorted by their names."""
  return [
    path
    for path in sorted(folder.iterdir())
    if path.suffix.removeprefix(".") in endings
    and path.name not in _DESCRIPTIONS
    and path.is_file()
  ]


def _complete(name: str, files: Sequence[Path]) -> tuple[Path, ...]:
  """Return the files of a split; raise ValueError if they are not complete.

  A file that is no shard is the whole split. If there are shards too, or those
  of two sets of shards, it is not clear what belongs together.
  """
  matches = [_SHARD.fullmatch(path.stem) for path in files]
  if len(files) == 1 and matches[0] is None:
    return tuple(files)
  totals = {match and match[3] for match in matches}
  if len(totals) > 1:
    listed = " and ".join(path.name for path in (files[0], files[-1]))
    raise ValueError(
      f"{files[0].parent}: {listed} are one split: keep one of the files"
    )
  total = int(matches[0][3])  # type: ignore[index]
  numbers = [int(match[2]) for match in matches if match]
  if numbers != list(range(total)):
    missing = sorted(set(range(total)) - set(numbers))
    raise ValueError(
      f"{files[0].parent}: split {name!r} has {total} shards, but {missing} "
      f"are missing, or a shard is there twice: {len(files)} files"
    )
  return tuple(files)


def split_files(
  folder: Path, endings: Sequence[str] = ENDINGS
) -> dict[str, tuple[Path, ...]]:
  """Find the files of all splits in a folder.

  Returns:
    A dict from the name of each split to its file, or to its shards in order.
    Files of the splits validation, train and test may have other names of
    theirs (HUB_NAMES).

  Raises:
    ValueError: there is no such file, a split has two files, or a shard is
      missing.
  """
  paths: dict[str, list[Path]] = {}
  for path in _data_files(_place(folder, endings), endings):
    paths.setdefault(split_name(path), []).append(path)
  for name, aliases in HUB_NAMES.items():
    for alias in aliases:
      if name not in paths and alias in paths:
        paths[name] = paths.pop(alias)
  for files in paths.values():
    first, *others = files
    for other in others:
      are_shards = _SHARD.fullmatch(first.stem) and _SHARD.fullmatch(other.stem)
      if not are_shards or first.suffix != other.suffix:
        raise ValueError(
          f"{first} and {other} are one split: keep one of the files"
        )
  if not paths:
    raise ValueError(f"{folder} holds no file of {', '.join(endings)}")
  return {name: _complete(name, files) for name, files in paths.items()}


def refuse_many(unreadable: Sequence[str], count: int) -> None:
  """Raise ValueError if too many rows of a split cannot be read.

  Args:
    unreadable: why each such row cannot be read, with its file and number.
    count: the number of all rows.
  """
  if len(unreadable) > MAX_UNREADABLE * count:
    raise ValueError(
      f"{unreadable[0]}; {len(unreadable)} of {count} rows cannot be read, and "
      f"at most {MAX_UNREADABLE:.0%} may be left out"
    )


def describe_unreadable(unreadable: Sequence[str]) -> str:
  """Describe how many rows cannot be read, and why the first cannot."""
  first = "".join(unreadable[:1])
  return f"{len(unreadable)} that cannot be read (the first: {first})"


class LeakWarning:
  """A loader of splits that warns if two of them share problems.

  Whatever the splits are called: those that a run trains on and those that it
  is evaluated on are loaded by the same task.
  """

  def __init__(self, load: Callable[[str], Sequence[Problem]], path: Path):
    """Wrap a loader; `path` is named in warnings."""
    self._load, self._path = load, path
    self._questions: dict[str, set[str]] = {}  # split -> its questions

  def __call__(self, split: str) -> Sequence[Problem]:
    """Load a split, or a part of one."""
    problems = self._load(split)
    questions = {question_key(problem.prompt) for problem in problems}
    for other, others in self._questions.items():
      shared = len(questions & others)
      if shared and other != split:
        warnings.warn(
          f"{self._path}: {shared} of the {len(questions)} problems of "
          f"{split!r} are in {other!r} too",
          stacklevel=2,
        )
    self._questions[split] = questions
    return problems


def question_key(question: str) -> str:
  """Return a key that is equal for two spellings of the same question."""
  return " ".join(question.split())


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

  load = functools.partial(
    builder.load_stored, folder=folder, task_name=task_name
  )
  return LeakWarning(load, path)


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
