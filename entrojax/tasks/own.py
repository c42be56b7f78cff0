"""Build a task from a user's own reward function and problems.

The function has one of two forms. It returns a number or a types.Verdict.

    reward(prompt, response, **columns)   columns by name: those that it takes,
                                          or all of them with **columns
    verify(problem, response)             problem.answer holds the columns

The problems are rows with a column `prompt`, a text: a folder with one file for
each split (train.jsonl, validation.jsonl, test.jsonl; parquet and JSON lists
work too), a single file, a sequence of dicts, or a dict from the names of
splits to sequences of dicts. A single file or sequence is the split 'all', and
a hash of the prompt divides it into 'train', 'validation' and 'test'.

If a call raises or takes too long, the response has the reward 0, and the
verdict's reason describes the failure.
A function that is named by its file or module is called in separate processes,
one for each core, which share the responses of a batch. A process is killed
after the time limit. A function that is passed as an object is
called in a thread. A thread cannot be killed: after the time limit it is left
behind, and it slows the run down for as long as its call lasts. A call that
never releases Python's lock stops the run.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
import functools
import inspect
import itertools
import json
import math
import os
from pathlib import Path
import queue
import threading
from typing import Any
import warnings

from entrojax.answers.process_pool import Pool, WorkerError, num_workers
from entrojax.arguments import require_in
from entrojax.system.outside import call_reward, describe
from entrojax.tasks import files
from entrojax.types import Problem, Task, Verdict, Verifier

SECONDS = 5.0  # time limit of one call

Row = Mapping[str, Any]  # column -> value
Source = str | os.PathLike | Iterable[Row] | Mapping[str, Iterable[Row]]
# ["value", what a reward returned], or ["raised", text]; TimeoutError after the
# time limit, WorkerError if a process died
_Outcome = Sequence | TimeoutError | WorkerError
# (problems, one response to each) -> their outcomes
_Calls = Callable[[Sequence[Problem], Sequence[str]], list[_Outcome]]


def own_task(
  function: Callable,
  problems: Source,
  *,
  name: str,
  importable: bool = False,
  seconds: float = SECONDS,
) -> Task:
  """Build the task of a reward function and its problems.

  Args:
    function: the reward or verifier; see this module's docstring.
    problems: the problems; see this module's docstring.
    name: the name of the function: PLACE:NAME if it is importable. The part
      after the colon names the task in metrics.
    importable: whether to call the function in a separate process, which
      imports it by its name.
    seconds: the time limit of one call.

  Raises:
    ValueError: the function has another form, or there is no such file.
  """
  require_in("own_task.seconds", seconds, "(0, inf)")
  columns = _columns_taken(function, name)
  if importable:
    calls = _process_calls(name, columns, seconds)
  else:
    calls = _thread_calls(function, columns, seconds)
  verify = _OwnVerifier(calls, name, seconds)
  needs = () if columns is None else _required(function)
  return Task(
    name=name.rpartition(":")[2],
    load=_Splits(problems, name, needs, verify),
    verify=verify,
  )


# -- the function -------------------------------------------------------------


def _columns_taken(function: Callable, name: str) -> Collection[str] | None:
  """Return the columns that a reward takes; None for (problem, response).

  A reward with **columns takes `_All`, which contains every column.

  Raises:
    ValueError: the function has neither form.
  """
  try:
    parameters = inspect.signature(function).parameters
  except (TypeError, ValueError) as error:
    raise ValueError(f"task.name: {name} has no signature: {error}") from error
  first = tuple(parameters)[:2]
  if first == ("problem", "response"):
    return None
  if first != ("prompt", "response"):
    raise ValueError(
      f"task.name: {name} takes ({', '.join(parameters)}); expected a reward "
      "(prompt, response, **columns), a verifier (problem, response), or a "
      "factory with the annotation -> Task"
    )
  kinds = {parameter.kind for parameter in parameters.values()}
  if inspect.Parameter.VAR_KEYWORD in kinds:
    return _All()
  return tuple(parameters)[2:]


class _All(Collection[str]):
  """The collection of all names."""

  def __contains__(self, name: object) -> bool:
    return True

  def __iter__(self):
    return iter(())

  def __len__(self) -> int:
    return 0


def _required(function: Callable) -> list[str]:
  """Return the columns without which a reward cannot be called."""
  parameters = list(inspect.signature(function).parameters.values())[2:]
  variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
  return [
    parameter.name
    for parameter in parameters
    if parameter.default is parameter.empty and parameter.kind not in variadic
  ]


def _arguments(problem: Problem, columns: Collection[str] | None) -> tuple:
  """Return (text, columns) with which to call a function for a problem.

  A reward reads the prompt as the data has it. A verifier reads the prompt of
  the model, to which a template may have been applied.
  """
  if columns is None:
    return problem.prompt, dict(problem.answer)
  taken = {
    key: value
    for key, value in problem.answer.items()
    if key in columns and key != "prompt"
  }
  return problem.answer["prompt"], taken


def _process_calls(
  name: str, columns: Collection[str] | None, seconds: float
) -> _Calls:
  """Build the calls of a function in separate processes."""
  pool = Pool(
    call_reward, size=num_workers(), seconds=seconds, warm_up=[(name,)]
  )

  @functools.cache
  def start() -> None:
    try:
      pool.call(name)
    except (TimeoutError, WorkerError) as error:
      raise ValueError(
        f"task.name: {name} cannot be called in a process of its own: {error}"
      ) from error

  def calls(problems: Sequence[Problem], responses: Sequence[str]) -> list:
    start()
    arguments = []
    for problem, response in zip(problems, responses, strict=True):
      text, taken = _arguments(problem, columns)
      arguments.append((name, text, taken, response, columns is None))
    return pool.map(arguments)

  return calls


def _thread_calls(
  function: Callable, columns: Collection[str] | None, seconds: float
) -> _Calls:
  """Build the calls of a function in threads, one after another."""

  def run(problem: Problem, response: str, outcome: queue.SimpleQueue) -> None:
    try:
      if columns is None:
        value = function(problem, response)
      else:
        text, taken = _arguments(problem, columns)
        value = function(text, response, **taken)
      outcome.put(["value", value])
    except BaseException as error:  # SystemExit too, or nobody would answer
      outcome.put(["raised", describe(error)])

  def call(problem: Problem, response: str) -> _Outcome:
    outcome: queue.SimpleQueue = queue.SimpleQueue()
    arguments = (problem, response, outcome)
    threading.Thread(target=run, args=arguments, daemon=True).start()
    try:
      return outcome.get(timeout=seconds)
    except queue.Empty:
      return TimeoutError()

  return lambda problems, responses: list(map(call, problems, responses))


class _OwnVerifier:
  """The verifier of a function that may raise, hang or return anything.

  It warns of the first call that fails, the tenth, the hundredth, and so on.
  It raises ValueError if a call returns neither a finite number nor a Verdict.
  """

  def __init__(self, calls: _Calls, name: str, seconds: float):
    self._calls, self._name, self._seconds = calls, name, seconds
    self._num_failures = 0

  def __call__(self, problem: Problem, response: str) -> Verdict:
    """Verify one response."""
    return self.batch([problem], [response])[0]

  def batch(
    self, problems: Sequence[Problem], responses: Sequence[str]
  ) -> list[Verdict]:
    """Verify one response to each problem."""
    outcomes = self._calls(problems, responses)
    return list(map(self._judge, problems, responses, outcomes))

  def _judge(
    self, problem: Problem, response: str, result: _Outcome
  ) -> Verdict:
    if isinstance(result, TimeoutError):
      return self._failed(f"reward took longer than {self._seconds:g} s")
    if isinstance(result, WorkerError):
      return self._failed(f"reward failed: {result}")
    outcome, value = result
    if outcome == "raised":
      return self._failed(f"reward raised {value}")
    verdict = _verdict(value)
    if verdict is None:
      raise ValueError(
        f"task.name: {self._name} returned {value!r:.80} for the prompt "
        f"{problem.prompt!r:.80} and the response {response!r:.80}; expected a "
        "finite number or a Verdict"
      )
    return verdict

  def _failed(self, reason: str) -> Verdict:
    self._num_failures += 1
    if math.log10(self._num_failures).is_integer():
      warnings.warn(
        f"task.name: {self._name}: failed call number {self._num_failures}, "
        f"which counts as 0: {reason}",
        stacklevel=3,
      )
    return Verdict(0.0, reason, None)


def _verdict(value: Any) -> Verdict | None:
  """Convert what a function returned to a verdict; None if that fails."""
  if isinstance(value, list | tuple) and len(value) == 3:
    reward = _finite(value[0])  # a Verdict, which JSON writes as a list
    return None if reward is None else Verdict(reward, str(value[1]), value[2])
  reward = _finite(value)
  return None if reward is None else Verdict(reward, f"{reward:g}", None)


def _finite(value: Any) -> float | None:
  """Convert a number, or an array of one number; None for anything else."""
  if value is None or isinstance(value, str | bytes):
    return None
  try:
    number = float(value)
  except (TypeError, ValueError):
    return None
  return number if math.isfinite(number) else None


# -- the problems -------------------------------------------------------------


class _Splits:
  """A callable that loads splits; the module's docstring describes them."""

  def __init__(
    self, source: Source, name: str, needs: Collection[str], verify: Verifier
  ):
    """Build the loader.

    Args:
      source: the problems.
      name: the reward's name, for messages.
      needs: the columns that the reward cannot do without.
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
    self._name, self._needs, self._verify = name, needs, verify
    self._was_tried = False

  def __call__(self, split: str) -> tuple[Problem, ...]:
    """Load a split, such as 'train', or a part of one, 'train[100:200]'.

    Raises:
      ValueError: there is no such split, a row is malformed, or the split holds
        no problem.
    """
    key, part = files.parse_split(split)
    problems = tuple(self._problems(key))[part]
    if not problems:
      raise ValueError(f"split={split!r} of {self._where} holds no problem")
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
      raise ValueError(
        f"split={key!r} of {self._where} holds no problem: {len(problems)} "
        "problems are too few to divide. Pass at least 8, or one file or list "
        "for each split"
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
    for column in self._needs:
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
    try:
      json.dumps(row)
    except (TypeError, ValueError) as error:
      raise ValueError(
        f"{where} holds a value that JSON cannot represent: {error}"
      ) from error
    return Problem(row["prompt"], dict(row))
