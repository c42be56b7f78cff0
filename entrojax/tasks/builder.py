"""Data sets of tasks on disk: one TFDS builder for every family and level.

Written as array_record and read as a data source, so tensorflow is never
imported. A row is a prompt and its answer in JSON. The splits are a pure
function of the problems: their order by the SHA-256 of the prompt is cut into
test, validation and train, so that no prompt is in two splits and no random
number generator's version matters.
"""

from collections.abc import Callable, Iterable, Iterator
import contextlib
import functools
import hashlib
import io
import json
import os
from pathlib import Path
import tempfile

os.environ.setdefault("NO_GCE_CHECK", "true")  # no look-ups on the network

import tensorflow_datasets as tfds

from entrojax.types import Family, Problem, Task

DATA_DIR_VARIABLE = "ENTROJAX_DATA_DIR"
DEFAULT_DATA_DIR = "~/.cache/entrojax/data"

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
    problems: Callable[[], Iterable[Problem]],
    data_dir: str | os.PathLike,
  ):
    """Makes a builder of the data set `name`, which `problems` enumerates."""
    self.name = name
    self._problems = problems
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
    )

  def _split_generators(self, dl_manager):
    del dl_manager  # nothing is downloaded
    splits = split_problems(self._problems())
    return {
      name: self._generate_examples(problems)
      for name, problems in splits.items()
    }

  def _generate_examples(self, problems) -> Iterator[tuple[str, dict]]:
    for problem in problems:
      row = {"prompt": problem.prompt, "answer": json.dumps(problem.answer)}
      yield problem.prompt, row


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
    functools.partial(family.problems, **family.levels[difficulty - 1]),
  )
  builder = _prepared(make, _data_dir(data_dir))
  try:
    size = builder.info.splits[split].num_examples
  except (ValueError, KeyError) as error:
    raise ValueError(
      f"split={split!r} is not a split of {family.name}, nor a part of one: "
      f"{error}"
    ) from error
  if size == 0:
    raise ValueError(f"split={split!r} of {family.name} holds no problem")
  rows = builder.as_data_source(split=split).__getitems__(range(size))
  return tuple(
    Problem(row["prompt"].decode(), json.loads(row["answer"])) for row in rows
  )


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
