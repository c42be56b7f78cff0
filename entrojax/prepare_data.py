r"""Convert a task's local files to a TFDS data set.

    python -m entrojax.prepare_data math data/gsm8k --output=data/tfds/gsm8k
    python -m entrojax.main ... --config.task.name=math/gsm8k \
        --config.task.data_dir=data/tfds/gsm8k

The task is math or synlogic. Each file of the folder becomes a split, and a
split with another name of train, validation or test gets this name. For math
a single file can be given instead, which is divided into train, validation and
test. The files are read once, by the same readers that a run without TFDS uses
(tasks/math_data.py, tasks/synlogic.py). The command counts what they leave out:
repeated questions, rows without an answer, and games without a verifier. It
also removes problems from the split `train` that are in another split.

The result is in array_record format. It is read without tensorflow and in any
order: `tfds.data_source("gsm8k", data_dir="data/tfds")`, parts such as
`train[:100]`, `tfds.even_splits`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import itertools
from pathlib import Path

from absl import flags

from entrojax.arguments import require_one_of
from entrojax.system.command_line import command
from entrojax.tasks import builder, files, math_data, synlogic
from entrojax.types import Problem

Problems = Mapping[str, Sequence[Problem]]  # by split
Say = Callable[[str], None]  # prints a line for the user

FLAGS = flags.FlagValues()
_OUTPUT = flags.DEFINE_string(
  "output",
  "",
  "the folder of the data set, which must not exist; its last part is the "
  "name of the data set",
  flag_values=FLAGS,
)


def read_math(source: Path, say: Say) -> Problems:
  """Read every split of a folder, or of one file, and report what is left out.

  Args:
    source: a folder of files named by split, or a single file, which is cut
      into splits.
    say: called with one line per file.
  """
  rows: Mapping[str, Sequence[math_data.Row]]
  if source.is_dir():
    paths = files.split_files(source)
    rows = {name: _read_rows(parts, say) for name, parts in paths.items()}
  else:
    rows = math_data.split_rows(_read_rows([source], say))
  return {
    name: [math_data.problem(row) for row in part]
    for name, part in rows.items()
  }


def _read_rows(paths: Sequence[Path], say: Say) -> Sequence[math_data.Row]:
  """Read a split and report how many rows it has and what is left out."""
  loaded = math_data.read(*paths)
  dropped = loaded.duplicates + loaded.empty + len(loaded.unreadable)
  text = f"{_name(paths)}: {len(loaded.rows) + dropped} rows"
  if dropped:
    text += f", left out {math_data.describe_left_out(loaded)}"
  say(text)
  return loaded.rows


def _name(paths: Sequence[Path]) -> str:
  """Return the file of a split, or its first shard and their number."""
  return f"{paths[0]}{f' and {n} more' if (n := len(paths) - 1) else ''}"


def read_synlogic(source: Path, say: Say) -> Problems:
  """Read every split of a folder and report what is left out.

  Args:
    source: a folder of parquet or jsonl files named by split.
    say: called with one line per split.
  """
  splits = {}
  for name, paths in files.split_files(source, ("parquet", "jsonl")).items():
    loaded = synlogic.read(*paths)
    splits[name] = loaded.problems
    dropped = loaded.left_out.total() + len(loaded.unreadable)
    text = f"{_name(paths)}: {len(loaded.problems) + dropped} rows"
    if left_out := loaded.describe_left_out():
      text += f", left out {left_out}"
    say(text)
  return splits


_TRAIN = "train"
READERS = {"math": read_math, "synlogic": read_synlogic}


def without_leaks(splits: Problems, say: Say) -> Problems:
  """Remove from `train` each problem that is in another split too.

  Without a split of that name, nothing is removed: which split a run trains on
  is not known here. Problems that splits share are then reported.

  Args:
    splits: problems by split.
    say: called with one line per split that shares problems with `train`.
  """
  if _TRAIN not in splits:
    _report_shared(splits, say)
    return splits
  train = splits[_TRAIN]
  for name, problems in splits.items():
    if name == _TRAIN:
      continue
    held_out = _questions(problems)
    kept = [p for p in train if not held_out & _questions([p])]
    say(f"train: left out {len(train) - len(kept)} problems of {name}")
    train = kept
  return {n: train if n == _TRAIN else part for n, part in splits.items()}


def _report_shared(splits: Problems, say: Say) -> None:
  """Say which splits share problems, as there is no split to remove them of."""
  questions = {name: _questions(part) for name, part in splits.items()}
  for one, other in itertools.combinations(questions, 2):
    if shared := len(questions[one] & questions[other]):
      say(
        f"{one} and {other} share {shared} problems, which stay in both: no "
        "split is called train"
      )


def _questions(problems: Iterable[Problem]) -> set[str]:
  """Return the problems' questions, with white space as single blanks."""
  return {math_data.question_key(p.prompt) for p in problems}


def prepare(task: str, source: Path, output: Path, *, say: Say) -> Path:
  """Write the data set.

  Args:
    task: one of READERS.
    source: the task's folder of files; for 'math' it may be a single file.
    output: the data set's folder, which must not exist.
    say: called with each line about what was read and what was left out.

  Returns:
    The folder of the data set's files, `output`/version.

  Raises:
    ValueError: a file or a row is malformed, a split is empty, or `output`
      exists or is no valid name; the message names the file, the row and the
      column.
  """
  require_one_of("TASK", task, sorted(READERS))
  if not source.exists():
    raise ValueError(f"{source} does not exist")
  splits = without_leaks(READERS[task](source, say), say)
  for name, problems in splits.items():
    if not problems:
      raise ValueError(f"split {name!r} of {source} holds no problem")
    say(f"{name}: {len(problems)} problems")
  return builder.store(splits, output, task)


@command(
  FLAGS,
  arguments={
    "TASK": " or ".join(sorted(READERS)),
    "SOURCE": (
      "a folder of files named by split; for math also a single file, which is "
      "cut into splits"
    ),
  },
  required=("output",),
)
def main(task: str, source: str) -> None:
  """Write the data set and print the setting that selects it."""
  output = Path(_OUTPUT.value).expanduser()
  prepare(task, Path(source).expanduser(), output, say=print)
  print(f"done: --config.task.data_dir={output}")


if __name__ == "__main__":
  main()
