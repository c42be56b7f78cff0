"""Write and read the data sets of tasks on disk, with one TFDS builder.

A row is a prompt and its answer in JSON. Files are written as array_record and
read as a data source, so tensorflow is never imported.

The data set of a family's level is written when it is first loaded. Its
problems are sorted by the SHA-256 of their prompts and divided into test,
validation and train. So the splits are a pure function of the problems, and no
prompt is in two of them. Test and validation get 512 problems each, or an
eighth of all if that is less. The problems of local files are written by
`store` (entrojax.prepare_data), which keeps the splits and the order that it is
given.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import contextlib
import functools
import hashlib
import io
import json
import os
from pathlib import Path
import re
import tempfile
from typing import Any

os.environ.setdefault("NO_GCE_CHECK", "true")  # tfds: use no network

import tensorflow_datasets as tfds

from entrojax.types import Family, Problem, Task

DATA_DIR_VARIABLE = "ENTROJAX_DATA_DIR"
DEFAULT_DATA_DIR = "~/.cache/entrojax/data"

_TASK_KEY = "of_task"  # key of a data set's metadata that names its task

# prompts in test, and in validation; each gets at most an eighth of all
NUM_HELD_OUT = 512


def split_problems(problems: Iterable[Problem]) -> dict[str, list[Problem]]:
  """Divide problems into test, validation and train by their prompts' hash.

  All problems of the same prompt are in the same split.
  """
  ordered = sorted(
    problems, key=lambda p: hashlib.sha256(p.prompt.encode()).digest()
  )
  size = min(NUM_HELD_OUT, len(ordered) // 8)
  first = _before_next_prompt(ordered, size)
  second = _before_next_prompt(ordered, first + size)
  return {
    "test": ordered[:first],
    "validation": ordered[first:second],
    "train": ordered[second:],
  }


def _before_next_prompt(ordered: Sequence[Problem], end: int) -> int:
  """Move the end of a split behind the copies of its last prompt."""
  while 0 < end < len(ordered) and (
    ordered[end].prompt == ordered[end - 1].prompt
  ):
    end += 1
  return min(end, len(ordered))


class Builder(tfds.core.GeneratorBasedBuilder):
  """Prompts, and in JSON the answers that their verifier needs."""

  # increase it when the problems of any task change
  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES = {"1.0.0": "Initial."}  # noqa: RUF012 (tfds reads it so)

  def __init__(
    self,
    name: str,
    splits: Callable[[], Mapping[str, Iterable[Problem]]],
    data_dir: str | os.PathLike,
    *,
    task_name: str | None = None,
  ):
    """Build a builder.

    Args:
      name: the name of the data set.
      splits: returns its problems, by split.
      data_dir: the folder in which data sets are kept.
      task_name: if the problems come from local files, the task that verifies
        them; they keep their order. None: the problems are a family's, and are
        stored in the order of their prompts' hashes.
    """
    self.name = name
    self._splits = splits
    self._task_name = task_name
    super().__init__(data_dir=data_dir, file_format="array_record")

  def _info(self) -> tfds.core.DatasetInfo:
    features = {
      "prompt": tfds.features.Text(),
      "answer": tfds.features.Text(),
    }
    return tfds.core.DatasetInfo(
      builder=self,
      description=self.__doc__,
      features=tfds.features.FeaturesDict(features),
      disable_shuffling=self._task_name is not None,
      metadata=tfds.core.MetadataDict({_TASK_KEY: self._task_name})
      if self._task_name
      else None,
    )

  def _split_generators(self, dl_manager):
    del dl_manager  # nothing is downloaded
    return {
      name: self._generate_examples(problems)
      for name, problems in self._splits().items()
    }

  def _generate_examples(self, problems) -> Iterator[tuple[str | int, dict]]:
    for number, problem in enumerate(problems):
      row = {"prompt": problem.prompt, "answer": json.dumps(problem.answer)}
      yield problem.prompt if self._task_name is None else number, row


def load(
  family: Family,
  split: str,
  data_dir: str | os.PathLike | None = None,
  difficulty: int = 1,
) -> tuple[Problem, ...]:
  """Load a split of a family's level; write the data set on first use.

  Args:
    family: the family of problems.
    split: 'train', 'validation', 'test' or a part such as 'validation[:256]'.
    data_dir: the folder in which data sets are kept; None: the folder named by
      $ENTROJAX_DATA_DIR, or ~/.cache/entrojax/data if that is not set.
    difficulty: the level, from 1 to len(family.levels).

  Raises:
    ValueError: the level or the split is unknown, or the split is empty.
  """
  _check_difficulty(family, difficulty)
  make = functools.partial(
    Builder,
    _level_name(family, difficulty),
    lambda: split_problems(family.problems(**family.levels[difficulty - 1])),
  )
  builder = _open_or_prepare(make, _data_dir(data_dir))
  source = _open_source(builder, split, family.name)
  return tuple(map(_parse_row, source.__getitems__(range(len(source)))))


def _level_name(family: Family, difficulty: int) -> str:
  """Name the data set of a level; another definition has another name."""
  level = json.dumps(family.levels[difficulty - 1], sort_keys=True)
  digest = hashlib.sha256(level.encode()).hexdigest()[:8]
  return f"{family.name}_{difficulty}_{digest}"


def _one_line(error: Exception) -> str:
  """Return the first line of TFDS's message; its hints take several."""
  return str(error.args[0] if error.args else error).partition("\n")[0]


def _open_source(builder: tfds.core.DatasetBuilder, split: str, name: str):
  """Open the data source of a split; an empty one raises ValueError."""
  try:
    size = builder.info.splits[split].num_examples
  except (ValueError, KeyError) as error:
    raise ValueError(
      f"split={split!r} is not a split of {name} or a part of one (see "
      f"task.train_split and evaluation.split): {_one_line(error)}"
    ) from error
  if size < 1:  # train[5:2] has a size of -3
    raise ValueError(
      f"split={split!r} of {name} holds no problem; see task.train_split and "
      "evaluation.split"
    )
  return builder.as_data_source(split=split)


def _parse_row(row: Mapping[str, bytes]) -> Problem:
  return Problem(row["prompt"].decode(), json.loads(row["answer"]))


def task(
  family: Family,
  data_dir: str | os.PathLike | None = None,
  difficulty: int = 1,
) -> Task:
  """Build the task of a family's level; `load` describes the arguments."""
  _check_difficulty(family, difficulty)
  return Task(
    name=family.name,
    load=functools.partial(
      load, family, data_dir=data_dir, difficulty=difficulty
    ),
    verify=family.verify,
    equivalent=family.equivalent,
    judge_steps=family.judge_steps,
    solutions=family.solutions,
    traces=family.traces,
  )


class StoredSplit(Sequence[Problem]):
  """A split of a prepared data set; problems are read from disk when used."""

  def __init__(self, source: Any, folder: Path):
    """Wrap a TFDS data source.

    Args:
      source: the data source.
      folder: the folder of its files, for error messages.
    """
    self._source = source
    self._folder = folder

  def __len__(self) -> int:
    return len(self._source)

  def __iter__(self) -> Iterator[Problem]:
    return iter(self[:])  # reading all rows at once takes an eighth of the time

  def __getitem__(self, row):
    index = range(len(self))[row]
    if isinstance(row, slice):
      return self._read(index)
    return self._read([index])[0]

  def _read(self, rows: Sequence[int]) -> list[Problem]:
    try:
      return [_parse_row(row) for row in self._source.__getitems__(rows)]
    except RuntimeError as error:  # array_record's rarely name the file
      raise ValueError(f"{self._folder}: {error}") from error


def load_stored(split: str, folder: Path, task_name: str) -> StoredSplit:
  """Open a split, or a part of one, of a data set that `store` wrote.

  Args:
    split: 'train', 'train[:100]' or any other split that TFDS can read.
    folder: the folder of the data set's files; see files.prepared_folder.
    task_name: the task that the data set must belong to.

  Raises:
    ValueError: the split is unknown or empty, or the data set is incomplete or
      belongs to another task.
  """
  try:
    builder = tfds.builder_from_directory(folder)
    stored_name = (builder.info.metadata or {}).get(_TASK_KEY)
  except Exception as error:  # the parsers of its files raise many types
    raise ValueError(f"{folder} is no complete data set: {error}") from error
  if stored_name != task_name:
    raise ValueError(
      f"{folder} is a data set of {stored_name!r}, the task is {task_name!r}"
    )
  return StoredSplit(_open_source(builder, split, str(folder)), folder)


def store(
  splits: Mapping[str, Iterable[Problem]], output: Path, task_name: str
) -> Path:
  """Write the problems of local files as a data set.

  Args:
    splits: the problems of each split, in the order in which to store them.
    output: the data set's folder; the folder's name becomes the data set's.
    task_name: the task that verifies the problems.

  Returns:
    The folder below `output` that holds the files; its name is the version.

  Raises:
    ValueError: `output` exists, or its name cannot be a data set's name.
  """
  if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", output.name):
    raise ValueError(
      f"{output}: {output.name!r} is no name of a data set: it may hold only "
      "small letters, digits and single underscores, and begins with a letter"
    )
  if output.exists():
    raise ValueError(f"{output} exists already")
  make = functools.partial(
    Builder, output.name, lambda: splits, task_name=task_name
  )
  return Path(_open_or_prepare(make, output.parent).data_dir)


def _check_difficulty(family: Family, difficulty: int) -> None:
  if not 1 <= difficulty <= len(family.levels):
    raise ValueError(
      f"task.difficulty must lie in 1..{len(family.levels)} for {family.name}, "
      f"got {difficulty}"
    )


def _data_dir(data_dir: str | os.PathLike | None) -> Path:
  chosen = data_dir or os.environ.get(DATA_DIR_VARIABLE) or DEFAULT_DATA_DIR
  return Path(chosen).expanduser()


def _open_or_prepare(make: Callable[..., Builder], data_dir: Path) -> Builder:
  """Open a data set on disk; write it first if it does not exist.

  It is written to a temporary folder, which is then renamed. Renaming is
  atomic: if several processes prepare the same data set, the first to finish
  wins and the others use its data.
  """
  builder = make(data_dir)
  final = Path(builder.data_dir)
  if final.exists():
    return builder
  data_dir.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(prefix=".prepare-", dir=data_dir) as folder:
    prepared = _prepare(make, folder)
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
      prepared.rename(final)
    except OSError:
      if not final.exists():
        raise
  return make(data_dir)


def _prepare(make: Callable[..., Builder], folder: str) -> Path:
  """Write the data set below folder, silently; return its files' folder."""
  tfds.disable_progress_bar()
  builder = make(folder)
  with contextlib.redirect_stdout(io.StringIO()):
    builder.download_and_prepare()
  return Path(builder.data_dir)
