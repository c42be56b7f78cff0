"""The Countdown data set on disk: a TFDS builder and the task that reads it.

Written as array_record and read as a data source, so tensorflow is never
imported. The splits are a pure function of the problems: their order by the
SHA-256 of the prompt is cut into test, validation and train, so that no prompt
is in two splits and no random number generator's version matters.
"""

from collections.abc import Iterator, Sequence
import contextlib
import functools
import hashlib
import io
import os
from pathlib import Path
import tempfile

os.environ.setdefault("NO_GCE_CHECK", "true")  # no look-ups on the network

import numpy as np
import tensorflow_datasets as tfds

from entrojax.tasks import countdown
from entrojax.types import Problem, Task

DATA_DIR_VARIABLE = "ENTROJAX_DATA_DIR"
DEFAULT_DATA_DIR = "~/.cache/entrojax/data"

NUM_TEST = 512  # prompts
NUM_VALIDATION = 512  # prompts


def split_problems(problems: Sequence[Problem]) -> dict[str, list[Problem]]:
  """Cuts problems into test, validation and train by the hash of the prompt."""
  ordered = sorted(
    problems, key=lambda p: hashlib.sha256(p.prompt.encode()).digest()
  )
  train_start = NUM_TEST + NUM_VALIDATION
  return {
    "test": ordered[:NUM_TEST],
    "validation": ordered[NUM_TEST:train_start],
    "train": ordered[train_start:],
  }


class Countdown(tfds.core.GeneratorBasedBuilder):
  """Every solvable problem of four numbers 1..9 and a target 10..99."""

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES = {"1.0.0": "Initial."}  # noqa: RUF012 (tfds reads it so)

  def _info(self) -> tfds.core.DatasetInfo:
    features = {
      "prompt": tfds.features.Text(),
      "numbers": tfds.features.Sequence(np.int32),
      "target": np.int32,
    }
    return tfds.core.DatasetInfo(
      builder=self,
      description=self.__doc__,
      features=tfds.features.FeaturesDict(features),
    )

  def _split_generators(self, dl_manager):
    del dl_manager  # nothing is downloaded
    splits = split_problems(countdown.all_problems())
    return {
      name: self._generate_examples(problems)
      for name, problems in splits.items()
    }

  def _generate_examples(self, problems) -> Iterator[tuple[str, dict]]:
    for problem in problems:
      yield problem.prompt, {"prompt": problem.prompt, **problem.answer}


def load(
  split: str, data_dir: str | os.PathLike | None = None
) -> tuple[Problem, ...]:
  """Reads a split, preparing the data set on first use.

  Args:
    split: 'train', 'validation', 'test' or a part such as 'validation[:256]'.
    data_dir: the folder of data sets; by default $ENTROJAX_DATA_DIR, or
      ~/.cache/entrojax/data where that is not set.

  Raises:
    ValueError: the split is unknown or holds no problem.
  """
  builder = _prepared_builder(_data_dir(data_dir))
  try:
    size = builder.info.splits[split].num_examples
  except (ValueError, KeyError) as error:
    raise ValueError(
      f"split={split!r} is not a split of countdown, nor a part of one: {error}"
    ) from error
  if size == 0:
    raise ValueError(f"split={split!r} of countdown holds no problem")
  rows = builder.as_data_source(split=split).__getitems__(range(size))
  return tuple(
    countdown.make_problem(row["numbers"], row["target"]) for row in rows
  )


def task(data_dir: str | os.PathLike | None = None) -> Task:
  """Makes the Countdown task, its data under `data_dir` (see `load`)."""
  return Task(
    name="countdown",
    load=functools.partial(load, data_dir=data_dir),
    verify=countdown.verify,
  )


def _data_dir(data_dir: str | os.PathLike | None) -> Path:
  chosen = data_dir or os.environ.get(DATA_DIR_VARIABLE) or DEFAULT_DATA_DIR
  return Path(chosen).expanduser()


def _prepared_builder(data_dir: Path) -> Countdown:
  """Returns a builder whose data are on disk, whoever wrote them.

  Prepared in a folder of its own and renamed, which is atomic: of processes
  that prepare at once the first to finish wins and the others use its data.
  """
  builder = Countdown(data_dir=data_dir, file_format="array_record")
  final = Path(builder.data_dir)
  if final.exists():
    return builder
  data_dir.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(prefix=".prepare-", dir=data_dir) as folder:
    prepared = _prepare(folder)
    final.parent.mkdir(exist_ok=True)
    try:
      prepared.rename(final)
    except OSError:
      if not final.exists():
        raise
  return Countdown(data_dir=data_dir, file_format="array_record")


def _prepare(folder: str) -> Path:
  """Writes the data set under folder, silently; returns where."""
  tfds.disable_progress_bar()
  builder = Countdown(data_dir=folder, file_format="array_record")
  with contextlib.redirect_stdout(io.StringIO()):
    builder.download_and_prepare()
  return Path(builder.data_dir)
