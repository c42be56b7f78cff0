"""Data sets of tasks on disk: one TFDS builder for all of them.

Written as array_record and read as a data source, so tensorflow is never
imported. A row is a prompt and its answer in JSON. A family's splits, at each
level, are a pure function of its problems: their order by the SHA-256 of the
prompt is cut into test, validation and train, so that no prompt is in two
splits and no random number generator's version matters. Those of local files
(prepare_data.py) are the files, in their order.
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

os.environ.setdefault("NO_GCE_CHECK", "true")  # no look-ups on the network

import tensorflow_datasets as tfds

from entrojax.types import Family, Problem, Task

DATA_DIR_VARIABLE = "ENTROJAX_DATA_DIR"
DEFAULT_DATA_DIR = "~/.cache/entrojax/data"

_OF_TASK = "of_task"  # in a data set's metadata

NUM_HELD_OUT = 512  # prompts of test, and of validation; at most an eighth each


def split_problems(problems: Iterable[Problem]) -> dict[str, list[Problem]]:
  """Cuts problems into test, validation and train by the hash of the prompt."""
  ordered = sorted(
    problems, key=lambda p: hashlib.sha256(p.prompt.encode()).digest()
  )
  size = min(NUM_HELD_OUT, len(ordered) // 8)
  return {
    "test": ordered[:size],
    "validation": ordered[size : 2 * size],
    "train": ordered[2 * size :],
  }


class Builder(tfds.core.GeneratorBasedBuilder):
  """Prompts and, in JSON, what their verifier needs."""

  VERSION = tfds.core.Version(
    "1.0.0"
  )  # raise it when any task's problems change
  RELEASE_NOTES = {"1.0.0": "Initial."}  # noqa: RUF012 (tfds reads it so)

  def __init__(
    self,
    name: str,
    splits: Callable[[], Mapping[str, Iterable[Problem]]],
    data_dir: str | os.PathLike,
    *,
    of_task: str | None = None,
  ):
    """Makes a builder.

    Args:
      name: of the data set.
      splits: makes its problems, by split.
      data_dir: the folder of data sets.
      of_task: the task whose local files these problems are, which keep their
        order; None: of a family, in the order of the prompts' hashes.
    """
    self.name = name
    self._splits = splits
    self._of_task = of_task
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
      disable_shuffling=self._of_task is not None,
      metadata=tfds.core.MetadataDict({_OF_TASK: self._of_task})
      if self._of_task
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
      yield problem.prompt if self._of_task is None else number, row


def load(
  family: Family,
  split: str,
  data_dir: str | os.PathLike | None = None,
  difficulty: int = 1,
) -> tuple[Problem, ...]:
  """Reads a split, preparing the data set on first use.

  Args:
    family: whose problems.
    split: 'train', 'validation', 'test' or a part such as 'validation[:256]'.
    data_dir: the folder of data sets; by default $ENTROJAX_DATA_DIR, or
      ~/.cache/entrojax/data where that is not set.
    difficulty: the level, from 1 to len(family.levels).

  Raises:
    ValueError: the level or the split is unknown, or holds no problem.
  """
  _check_difficulty(family, difficulty)
  make = functools.partial(
    Builder,
    f"{family.name}_{difficulty}",
    lambda: split_problems(family.problems(**family.levels[difficulty - 1])),
  )
  source = _source(_prepared(make, _data_dir(data_dir)), split, family.name)
  return tuple(map(_problem, source.__getitems__(range(len(source)))))


def _source(builder: tfds.core.DatasetBuilder, split: str, name: str):
  """Returns the data source of a split, which holds a problem."""
  try:
    size = builder.info.splits[split].num_examples
  except (ValueError, KeyError) as error:
    raise ValueError(
      f"split={split!r} is not a split of {name}, nor a part of one (see "
      f"task.train_split and evaluation.split): {error}"
    ) from error
  if size == 0:
    raise ValueError(f"split={split!r} of {name} holds no problem")
  return builder.as_data_source(split=split)


def _problem(row: Mapping[str, bytes]) -> Problem:
  return Problem(row["prompt"].decode(), json.loads(row["answer"]))


def task(
  family: Family,
  data_dir: str | os.PathLike | None = None,
  difficulty: int = 1,
) -> Task:
  """Makes a task of one level, its data under `data_dir` (see `load`)."""
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
  )


class Stored(Sequence[Problem]):
  """A split of a prepared data set; a problem is read when it is asked for."""

  def __init__(self, source: Any, folder: Path):
    """Makes it of a TFDS data source whose files lie in a folder."""
    self._source = source
    self._folder = folder

  def __len__(self) -> int:
    return len(self._source)

  def __iter__(self) -> Iterator[Problem]:
    return iter(self[:])  # at once: an eighth of the time

  def __getitem__(self, row):
    index = range(len(self))[row]
    if isinstance(row, slice):
      return self._read(index)
    return self._read([index])[0]

  def _read(self, rows: Sequence[int]) -> list[Problem]:
    try:
      return [_problem(row) for row in self._source.__getitems__(rows)]
    except RuntimeError as error:  # of array_record, mostly without a name
      raise ValueError(f"{self._folder}: {error}") from error


def load_stored(split: str, folder: Path, of_task: str) -> Stored:
  """Opens a split, or a part of one, of a data set that `store` wrote.

  Args:
    split: 'train', 'train[:100]' or whatever TFDS reads.
    folder: of the data set, files.prepared_folder.
    of_task: the task whose problems it has to hold.

  Raises:
    ValueError: the split is unknown or empty, the data set is broken or of
      another task.
  """
  try:
    builder = tfds.builder_from_directory(folder)
    found = (builder.info.metadata or {}).get(_OF_TASK)
  except Exception as error:  # whatever the parsers of its files raise
    raise ValueError(f"{folder} is no whole data set: {error}") from error
  if found != of_task:
    raise ValueError(
      f"{folder} is a data set of {found!r}, the task is {of_task!r}"
    )
  return Stored(_source(builder, split, str(folder)), folder)


def store(
  splits: Mapping[str, Iterable[Problem]], output: Path, of_task: str
) -> Path:
  """Writes the problems of local files as a data set.

  Args:
    splits: in their order.
    output: the data set's folder; its name is the data set's.
    of_task: the task that verifies them.

  Returns:
    The folder below `output` that holds the files, named by a version.

  Raises:
    ValueError: there is such a data set, or its name is none.
  """
  if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", output.name):
    raise ValueError(
      f"{output}: {output.name!r} is no name of a data set: small letters, "
      "digits and single underscores, beginning with a letter"
    )
  if output.exists():
    raise ValueError(f"{output} exists already")
  make = functools.partial(
    Builder, output.name, lambda: splits, of_task=of_task
  )
  return Path(_prepared(make, output.parent).data_dir)


def _check_difficulty(family: Family, difficulty: int) -> None:
  if not 1 <= difficulty <= len(family.levels):
    raise ValueError(
      f"task.difficulty must lie in 1..{len(family.levels)} for {family.name}, "
      f"got {difficulty}"
    )


def _data_dir(data_dir: str | os.PathLike | None) -> Path:
  chosen = data_dir or os.environ.get(DATA_DIR_VARIABLE) or DEFAULT_DATA_DIR
  return Path(chosen).expanduser()


def _prepared(make: Callable[..., Builder], data_dir: Path) -> Builder:
  """Returns a builder whose data are on disk, whoever wrote them.

  Prepared in a folder of its own and renamed, which is atomic: of processes
  that prepare at once the first to finish wins and the others use its data.
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
  """Writes the data set under folder, silently; returns where."""
  tfds.disable_progress_bar()
  builder = make(folder)
  with contextlib.redirect_stdout(io.StringIO()):
    builder.download_and_prepare()
  return Path(builder.data_dir)
