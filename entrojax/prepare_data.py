"""The command that makes a TFDS data set of a task's local files.

    python -m entrojax.prepare_data math data/gsm8k --output=data/tfds/gsm8k
    python -m entrojax.main ... --config.task.name=math/gsm8k \
        --config.task.data_dir=data/tfds/gsm8k

The files are read once, by the readers that read them directly too
(tasks/math_data.py, tasks/synlogic.py), and what is left out is counted:
repeated questions, rows without an answer, games without a verifier, and of
the split `train` the problems of the others. The result is array_record, read
without tensorflow and in any order: `tfds.data_source("gsm8k",
data_dir="data/tfds")`, parts such as `train[:100]`, `tfds.even_splits`.
"""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
import sys

from entrojax.tasks import builder, files, math_data, synlogic
from entrojax.types import Problem

Problems = Mapping[str, Sequence[Problem]]  # by split
Say = Callable[[str], None]


def read_math(source: Path, say: Say) -> Problems:
  """Reads every split of a folder, or of a file, and says what is left out."""
  rows: Mapping[str, Sequence[math_data.Row]]
  if source.is_dir():
    paths = files.split_files(source)
    rows = {name: _read_rows(path, say) for name, path in paths.items()}
  else:
    rows = math_data.split_rows(_read_rows(source, say))
  return {
    name: [math_data.problem(row) for row in part]
    for name, part in rows.items()
  }


def _read_rows(path: Path, say: Say) -> Sequence[math_data.Row]:
  loaded = math_data.read(path)
  dropped = loaded.duplicates + loaded.empty
  text = f"{path}: {len(loaded.rows) + dropped} rows"
  if dropped:
    text += f", left out {math_data.describe_left_out(loaded)}"
  say(text)
  return loaded.rows


def read_synlogic(source: Path, say: Say) -> Problems:
  """Reads every split of a folder and says what is left out."""
  splits = {}
  for name, path in files.split_files(source, ("parquet", "jsonl")).items():
    splits[name], left_out = synlogic.read(path)
    text = f"{path}: {len(splits[name]) + left_out.total()} rows"
    if left_out:
      counts = ", ".join(f"{n} {key}" for key, n in left_out.most_common())
      text += f", left out those of tasks without a verifier: {counts}"
    say(text)
  return splits


READERS = {"math": read_math, "synlogic": read_synlogic}


def without_leaks(splits: Problems, say: Say) -> Problems:
  """Takes the problems of all other splits out of `train`; says how many."""
  train = splits.get("train", ())
  for name, problems in splits.items():
    if name == "train":
      continue
    held_out = _questions(problems)
    kept = [p for p in train if not held_out & _questions([p])]
    if len(kept) < len(train):
      say(f"train: left out {len(train) - len(kept)} problems of {name}")
    train = kept
  return {n: train if n == "train" else part for n, part in splits.items()}


def _questions(problems: Iterable[Problem]) -> set[str]:
  return {math_data.question_key(p.prompt) for p in problems}


def prepare(task: str, source: Path, output: Path, *, say: Say) -> Path:
  """Writes the data set.

  Args:
    task: one of READERS.
    source: its folder of files; of 'math' a file too.
    output: the data set's folder, which may not exist.
    say: gets lines of text: what was read, and what was left out.

  Returns:
    The folder of the files, `output`/version.

  Raises:
    ValueError: a file or a row is malformed, a split is empty, or `output`
      is there or no name; the message names the file, the row and the column.
  """
  if not source.exists():
    raise ValueError(f"{source} does not exist")
  splits = without_leaks(READERS[task](source, say), say)
  for name, problems in splits.items():
    if not problems:
      raise ValueError(f"split {name!r} of {source} holds no problem")
    say(f"{name}: {len(problems)} problems")
  return builder.store(splits, output, task)


def main(arguments: Sequence[str] | None = None) -> None:
  """Runs the command line; what cannot be read ends it with status 2."""
  parser = argparse.ArgumentParser(
    prog="python -m entrojax.prepare_data",
    description="Makes a TFDS data set of a task's local files.",
  )
  parser.add_argument("task", choices=sorted(READERS))
  parser.add_argument(
    "source",
    help="folder, files named by split; of math also a file, which is cut",
  )
  parser.add_argument("--output", required=True, help="folder to write")
  options = parser.parse_args(arguments)
  output = Path(options.output).expanduser()
  try:
    prepare(options.task, Path(options.source).expanduser(), output, say=print)
  except (ValueError, OSError) as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
  print(f"done: --config.task.data_dir={output}")


if __name__ == "__main__":
  main()
