"""Verify responses with a user's own function, which may raise or hang.

The function has one of three forms, which the names of its first two
parameters tell apart:

    reward(prompt, response, **columns)     columns by name: those that it
                                            takes, or all with **columns
    reward(prompts, responses, **columns)   the same for a whole batch; every
                                            argument is a list
    verify(problem, response)               problem.answer holds the columns

For each response it returns a number, a types.Verdict, or a dict from names to
numbers. The numbers of a dict are the parts of a reward: the reward is their
sum, and each part is logged by its name. A weight is a factor in the function:

    return {"right": float(right), "format": 0.2 * has_format}

A call that raises or takes too long gives its responses the reward 0; the
reason of their verdict describes the failure, and `failed` is set.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
import functools
import inspect
import math
import queue
import threading
from typing import Any, NamedTuple

from entrojax.answers.process_pool import Pool, WorkerError, num_workers
from entrojax.system.outside import call_reward, describe, finite_number
from entrojax.system.rare_warnings import RareWarnings
from entrojax.types import Problem, Verdict

SECONDS = 5.0  # time limit of a call for one response
BATCH_SECONDS = 60.0  # time limit of a call for a batch

# ["value", what a reward returned], ["raised", text], or ["wrong", text] for a
# batch; TimeoutError after the time limit, WorkerError if a process died
_Outcome = Sequence | TimeoutError | WorkerError
# the arguments of each call, after the function -> their outcomes
_Calls = Callable[[Sequence[tuple]], list[_Outcome]]


class _All(Collection[str]):
  """The collection of all names."""

  def __contains__(self, name: object) -> bool:
    return True

  def __iter__(self):
    return iter(())

  def __len__(self) -> int:
    return 0


class Form(NamedTuple):
  """How a function is called."""

  batched: bool  # with lists: all responses of a batch at once
  takes_problem: bool  # (problem, response) rather than columns
  columns: Collection[str]  # the columns that it takes
  required: Collection[str]  # the columns without which it cannot be called


_FIRST: dict[tuple[str, ...], dict[str, bool]] = {
  ("prompt", "response"): {"batched": False, "takes_problem": False},
  ("prompts", "responses"): {"batched": True, "takes_problem": False},
  ("problem", "response"): {"batched": False, "takes_problem": True},
}


def form_of(function: Callable, name: str) -> Form:
  """Read the form of a function from its signature.

  Args:
    function: a reward or verifier; see this module's docstring.
    name: its name, for messages.

  Raises:
    ValueError: the function has none of the forms.
  """
  try:
    parameters = inspect.signature(function).parameters
  except (TypeError, ValueError) as error:
    raise ValueError(f"task.name: {name} has no signature: {error}") from error
  first = _FIRST.get(tuple(parameters)[:2])
  if first is None:
    raise ValueError(
      f"task.name: {name} takes ({', '.join(parameters)}); expected a reward "
      "(prompt, response, **columns) or (prompts, responses, **columns), a "
      "verifier (problem, response), or a factory with the annotation -> Task"
    )
  kinds = inspect.Parameter
  rest = list(parameters.values())[2:]
  variadic = (kinds.VAR_KEYWORD, kinds.VAR_POSITIONAL)
  needed = [p for p in rest if p.default is p.empty and p.kind not in variadic]
  _require_callable(name, list(parameters.values()))
  if first["takes_problem"]:
    if needed:
      raise ValueError(
        f"task.name: {name} is a verifier (problem, response), and "
        f"{needed[0].name!r} has no value: give it a default, or read it from "
        "problem.answer, which holds all columns"
      )
    return Form(**first, columns=(), required=())
  takes_all = any(p.kind is kinds.VAR_KEYWORD for p in rest)
  return Form(
    **first,
    columns=_All() if takes_all else tuple(p.name for p in rest),
    required=tuple(p.name for p in needed),
  )


def _require_callable(
  name: str, parameters: Sequence[inspect.Parameter]
) -> None:
  """Raise ValueError for the first parameter that we could not pass.

  The first two are passed by their position, and columns by their name.
  """
  kinds = inspect.Parameter
  for number, parameter in enumerate(parameters):
    by_position = parameter.kind in (
      kinds.POSITIONAL_ONLY,
      kinds.POSITIONAL_OR_KEYWORD,
    )
    if number < 2 and not by_position:
      raise ValueError(
        f"task.name: {name}: {parameter.name!r} must be a parameter that can "
        "be passed by its position: no * may stand before it"
      )
    if number >= 2 and parameter.kind is kinds.POSITIONAL_ONLY:
      raise ValueError(
        f"task.name: {name}: {parameter.name!r} must be a parameter that can "
        "be passed by its name: no / may stand after it"
      )


class OwnVerifier:
  """The verifier of a user's function; a types.BatchVerifier.

  It warns of the first call that fails, the tenth, the hundredth, and so on. If
  the function returns something else than the module's docstring says, the
  reward in a batch is NaN, and a single call raises ValueError.
  """

  def __init__(
    self,
    function: Callable,
    name: str,
    form: Form,
    *,
    importable: bool = False,
    seconds: float | None = None,
  ):
    """Build the verifier.

    Args:
      function: the function.
      name: its name, PLACE:NAME if it is importable.
      form: its form.
      importable: whether separate processes import and call it by its name; a
        process is killed after the time limit. Otherwise threads call it,
        which cannot be killed.
      seconds: the time limit of a call; None: SECONDS or BATCH_SECONDS.
    """
    self._name, self._form = name, form
    default = BATCH_SECONDS if form.batched else SECONDS
    self._seconds = default if seconds is None else seconds
    self._calls = (
      _process_calls(name, self._seconds, size=1 if form.batched else None)
      if importable
      else _thread_calls(function, self._seconds)
    )
    self._warn = RareWarnings(f"task.name: {name}: failed call")

  def __call__(self, problem: Problem, response: str) -> Verdict:
    """Verify one response."""
    verdict = self.batch([problem], [response])[0]
    if math.isnan(verdict.reward):
      text = verdict.reason.removeprefix("reward ")
      raise ValueError(f"task.name: {self._name} {text}")
    return verdict

  def batch(
    self, problems: Sequence[Problem], responses: Sequence[str]
  ) -> list[Verdict]:
    """Verify one response to each problem."""
    rows = [
      _arguments(problem, response, self._form)
      for problem, response in zip(problems, responses, strict=True)
    ]
    if self._form.batched:
      outcomes = self._call_batch(rows)
    else:
      outcomes = self._calls([(*row, self._form.takes_problem) for row in rows])
    return list(map(self._judge, problems, responses, outcomes))

  def _call_batch(self, rows: Sequence[tuple]) -> list[_Outcome]:
    """Call the function once for all rows; return an outcome for each."""
    if not rows:
      return []
    texts, columns, responses = map(list, zip(*rows, strict=True))
    names = dict.fromkeys(name for row in columns for name in row)
    lists = {name: [row.get(name) for row in columns] for name in names}
    (outcome,) = self._calls([(texts, lists, responses, False)])
    if isinstance(outcome, Exception) or outcome[0] == "raised":
      return [outcome] * len(rows)
    values = outcome[1]
    values = values.tolist() if hasattr(values, "tolist") else values
    if not isinstance(values, list | tuple):
      text = f"{values!r:.80}; expected a list with an item for each response"
      return [["wrong", text]] * len(rows)
    if len(values) != len(rows):
      text = f"a list of {len(values)} for {len(rows)} responses"
      return [["wrong", text]] * len(rows)
    return [["value", value] for value in values]

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
    if outcome == "wrong":
      return Verdict(math.nan, f"reward returned {value}", None)
    verdict = _verdict(value)
    if verdict is None:
      reason = (
        f"reward returned {value!r:.80} for the prompt {problem.prompt!r:.80} "
        f"and the response {response!r:.80}; expected a finite number, a dict "
        "from names to finite numbers, or a Verdict"
      )
      return Verdict(math.nan, reason, None)
    return verdict

  def _failed(self, reason: str) -> Verdict:
    self._warn(f"{reason}; it counts as 0")
    return Verdict(0.0, reason, None, failed=True)


def _arguments(problem: Problem, response: str, form: Form) -> tuple:
  """Return (text, columns, response) with which to call a function.

  A reward reads the prompt as the data has it. A verifier reads the prompt of
  the model, to which a template may have been applied.
  """
  if form.takes_problem:
    return problem.prompt, dict(problem.answer), response
  taken = {
    key: value
    for key, value in problem.answer.items()
    if key in form.columns and key != "prompt"
  }
  return problem.answer["prompt"], taken, response


def _process_calls(name: str, seconds: float, size: int | None) -> _Calls:
  """Build the calls of a function in separate processes."""
  pool = Pool(
    call_reward,
    size=num_workers() if size is None else size,
    seconds=seconds,
    warm_up=[(name,)],
  )

  @functools.cache
  def start() -> None:
    try:
      pool.call(name)
    except (TimeoutError, WorkerError) as error:
      raise ValueError(
        f"task.name: {name} cannot be called in a process of its own: {error}"
      ) from error

  def calls(arguments: Sequence[tuple]) -> list:
    start()
    return pool.map([(name, *each) for each in arguments])

  return calls


def _thread_calls(function: Callable, seconds: float) -> _Calls:
  """Build the calls of a function in threads, one after another."""

  def run(arguments: tuple, outcome: queue.SimpleQueue) -> None:
    text, columns, response, takes_problem = arguments
    try:
      if takes_problem:
        value = function(Problem(text, columns), response)
      else:
        value = function(text, response, **columns)
      outcome.put(["value", value])
    except BaseException as error:  # SystemExit too, or nobody would answer
      outcome.put(["raised", describe(error)])

  def call(arguments: tuple) -> _Outcome:
    outcome: queue.SimpleQueue = queue.SimpleQueue()
    threading.Thread(target=run, args=(arguments, outcome), daemon=True).start()
    try:
      return outcome.get(timeout=seconds)
    except queue.Empty:
      return TimeoutError()

  return lambda arguments: list(map(call, arguments))


def _verdict(value: Any) -> Verdict | None:
  """Convert what a function returned to a verdict; None if that fails.

  JSON writes a Verdict as a list, in which parts and failed may be left out.
  """
  if isinstance(value, list | tuple) and 3 <= len(value) <= 5:
    reward, reason, answer, *rest = value
    number, parts = finite_number(reward), _parts(rest[0] if rest else {})
    if number is None or parts is None:
      return None
    text = None if answer is None else str(answer)
    return Verdict(number, str(reason), text, parts, any(rest[1:]))
  if isinstance(value, Mapping):
    parts = _parts(value) or None
    number = None if parts is None else finite_number(math.fsum(parts.values()))
  else:
    parts, number = {}, finite_number(value)
  if number is None or parts is None:
    return None
  return Verdict(number, f"{number:g}", None, parts)


def _parts(value: Any) -> dict[str, float] | None:
  """Convert the parts of a reward; None if they are no finite numbers."""
  if not isinstance(value, Mapping):
    return None
  parts = {str(name): finite_number(number) for name, number in value.items()}
  return None if None in parts.values() else parts  # type: ignore[return-value]
