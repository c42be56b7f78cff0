"""Build a task from a user's own reward function and problems.

tasks/own_reward.py describes the forms of the function.

The problems are rows with a column `prompt`, a text: a folder with one file for
each split (train.jsonl, validation.jsonl, test.jsonl; parquet and JSON lists
work too), a single file, a sequence of dicts, or a dict from the names of
splits to sequences of dicts. A single file or sequence is the split 'all', and
a hash of the prompt divides it into 'train', 'validation' and 'test'.

A function that is named by its file or module is called in separate processes,
one for each core, which share the responses of a batch. A process is killed
after the time limit. A function that is passed as an object is called in a
thread. A thread cannot be killed: after the time limit it is left behind, and
it slows the run down for as long as its call lasts. A call that never releases
Python's lock stops the run.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import itertools
import json
import os
from pathlib import Path
from typing import Any

from entrojax.arguments import require_in
from entrojax.tasks import files
from entrojax.tasks.own_reward import Form, OwnVerifier, form_of
from entrojax.types import Problem, Task, Verifier

Row = Mapping[str, Any]  # column -> value
Source = str | os.PathLike | Iterable[Row] | Mapping[str, Iterable[Row]]


def own_task(
  function: Callable,
  problems: Source,
  *,
  name: str,
  importable: bool = False,
  seconds: float | None = None,
) -> Task:
  """Build the task of a reward function and its problems.

  Args:
    function: the reward or verifier; see tasks/own_reward.py.
    problems: the problems; see this module's docstring.
    name: the name of the function: PLACE:NAME if it is importable. The part
      after the colon names the task in metrics.
    importable: whether to call the function in a separate process, which
      imports it by its name.
    seconds: the time limit of one call; None: the default of its form.

  Raises:
    ValueError: the function has another form, or there is no such file.
  """
  if seconds is not None:
    require_in("own_task.seconds", seconds, "(0, inf)")
  form = form_of(function, name)
  verify = OwnVerifier(
    function, name, form, importable=importable, seconds=seconds
  )
  return Task(
    name=name.rpartition(":")[2],
    load=_Splits(problems, name, form, verify),
    verify=verify,
  )


class _Splits:
  """A callable that loads splits; the module's docstring describes them."""

  def __init__(self, source: Source, name: str, form: Form, verify: Verifier):
    """Build the loader.

    Args:
      source: the problems.
      name: the reward's name, for messages.
      form: how the reward is called, and so which columns it needs.
      verify: tried on the first problem, so that errors appear before the run.
    """
    if isinstance(source, str | os.PathLike):
      source = Path(source).expanduser()
      if not source.exists():
        raise ValueError(f"task.data_dir={str(source)!r} does not exist")
    elif isinstance(source, Mapping):
      source = {key: list(rows) for key, rows in source.items()}
    else:
      source = list(source)
    self._source = source
    self._name, self._form, self._verify = name, form, verify
    self._was_tried = False

  def __call__(self, split: str) -> tuple[Problem, ...]:
    """Load a split, such as 'train', or a part of one, 'train[100:200]'.

    Raises:
      ValueError: there is no such split, a row is malformed, or the split holds
        no problem.
    """
    key, part = files.parse_split(split)
    problems = tuple(self._problems(key))[part]
    files.require_problems(len(problems), split, self._where)
    if not self._was_tried:
      self._was_tried = True
      self._verify(problems[0], "")
    return problems

  @property
  def _where(self) -> str:
    """Where the problems are, for messages."""
    return str(self._source) if isinstance(self._source, Path) else "problems"

  def _problems(self, key: str) -> Sequence[Problem]:
    """Return the problems of a whole split."""
    source = self._source
    if isinstance(source, Path) and source.is_dir():
      paths = files.find(source, key)
      shards = (self._read(files.rows(path), str(path)) for path in paths)
      return list(itertools.chain.from_iterable(shards))
    if isinstance(source, dict):
      if key not in source:
        raise ValueError(
          f"split={key!r}: problems has only the splits {tuple(source)}; see "
          "task.train_split and evaluation.split"
        )
      return self._read(enumerate(source[key]), f"problems[{key!r}]")
    is_file = isinstance(source, Path)
    rows = files.rows(source) if is_file else enumerate(source)  # type: ignore
    problems = self._read(rows, self._where)
    return problems if key == "all" else self._part(problems, key)

  def _part(self, problems: Sequence[Problem], key: str) -> Sequence[Problem]:
    """Return the problems that a hash of the prompt puts into a split."""
    from entrojax.tasks.builder import split_problems  # imports for a second

    splits = split_problems(problems)
    if key not in splits:
      raise ValueError(
        f"split={key!r} of {self._where} must be one of {('all', *splits)}"
      )
    if not splits[key]:
      # all problems of the same prompt are in the same split
      number = len({problem.prompt for problem in problems})
      raise ValueError(
        f"split={key!r} of {self._where} holds no problem: {len(problems)} "
        f"problems with {number} different prompts are too few to divide. Pass "
        "at least 8 different prompts, or one file or list for each split"
      )
    return splits[key]

  def _read(self, rows: Iterable[tuple[int, Row]], where: str):
    """Check rows and convert them to problems."""
    return [self._problem(row, f"{where}: row {i}") for i, row in rows]

  def _problem(self, row: Row, where: str) -> Problem:
    """Check a row and convert it to a problem."""
    if not isinstance(row, Mapping):
      raise ValueError(f"{where} is {row!r:.80}, not a dict of columns")
    columns = sorted(map(str, row))
    if not isinstance(row.get("prompt"), str):
      raise ValueError(
        f"{where}: the column prompt must be a text, got "
        f"{row.get('prompt')!r:.80}; the columns are {columns}"
      )
    if broken := files.broken_character(row["prompt"]):
      raise ValueError(f"{where}: the column prompt holds {broken}")
    for column in self._form.required:
      if column not in row:
        raise ValueError(
          f"{where} has no column {column!r}, which {self._name} takes; the "
          f"columns are {columns}"
        )
    if "response" in row:
      raise ValueError(
        f"{where} has a column response, which would hide the policy's "
        "response from the reward: rename it"
      )
    for column in ("prompts", "responses"):
      if self._form.batched and column in row and column in self._form.columns:
        raise ValueError(
          f"{where} has a column {column}, which is the name of a parameter of "
          f"{self._name} already: rename it"
        )
    try:
      json.dumps(row)
    except (TypeError, ValueError) as error:
      raise ValueError(
        f"{where} holds a value that JSON cannot represent: {error}"
      ) from error
    return Problem(row["prompt"], dict(row))
