"""Numbers that change over the optimizer steps of a run.

A schedule maps the number of optimizer steps taken before an update, i32[], to
a number, as optax.Schedule does. The functions here that build one are named in
configs; any optax.Schedule works in the library:

    constant       one value                 constant(0.3)
    linear         a straight line           linear(0.5, 0.3, 600)
    cosine         half a cosine             cosine(0.5, 0.3, 600)
    piecewise      jumps at given steps      piecewise((0, 0.5), (300, 0.3))
    up_then_down   a line up, a line down    up_then_down(0.2, 0.4, 300, 600)
    points         lines between points      points((0, 0.5), (300, 0.3)), or
                                             ((0, 0.5), (300, 0.3))

`scheduled` builds a part of a run (an objective, an advantage rule, a
controller, a projection) whose arguments may be schedules. The update calls
`at`, which builds the part from the numbers of its step:

    member = scheduled(ppo_clip, clip_high=linear(0.2, 0.28, 600))
    objective = at(member, step)

The step is an array inside the jitted update, so the graph is compiled once.
The part's factory therefore sees arrays without values. Checks of arguments
pass them (arguments.py), and `check_over_run` has made these checks before, on
the numbers of all steps.
"""

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
import difflib
import inspect
import itertools
import math
from typing import Any, Generic, NamedTuple, TypeVar
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax

from entrojax.types import Array

T = TypeVar("T")

_FORM = (
  "a number, pairs (step, value) such as ((0, 0.5), (600, 0.3)), or a text "
  "such as 'linear(0.5, 0.3, 600)' with one of "
)
_MAX_CHECKED = 1000  # steps at which a part's arguments are checked


class Schedule(NamedTuple):
  """A schedule that knows where it ends."""

  value: optax.Schedule
  num_steps: float  # optimizer steps until the end; inf: it never ends

  def __call__(self, step: Any) -> Any:
    """Return the value before optimizer step `step`, counted from 0."""
    return self.value(step)


# -- the schedules that a config names ----------------------------------------


def constant(value: float) -> Schedule:
  """Build the schedule that always has the same value."""
  _require_numbers(value)
  return Schedule(lambda step: value + 0.0 * step, math.inf)


def linear(
  start: float, end: float, steps: int, *, hold: bool = False
) -> Schedule:
  """Build start + (end - start) t / steps.

  Args:
    start: the value before the first step.
    end: the value after `steps` steps.
    steps: optimizer steps, >= 1.
    hold: whether the last value holds for the rest of the run. Otherwise the
      schedule must not end before the run.
  """
  _require_numbers(start, end)
  return Schedule(
    lambda step: start + (end - start) * _progress(step, steps),
    _length(steps, hold),
  )


def cosine(
  start: float, end: float, steps: int, *, hold: bool = False
) -> Schedule:
  """Build end + (start - end) (1 + cos(pi t / steps)) / 2; see `linear`."""
  _require_numbers(start, end)

  def value(step: Any) -> Any:
    part = 0.5 * (1 + jnp.cos(jnp.pi * _progress(step, steps)))
    return end + (start - end) * part

  return Schedule(value, _length(steps, hold))


def piecewise(*pieces: tuple[int, float]) -> Schedule:
  """Build the schedule that jumps to a value at each given step.

  Args:
    *pieces: (step, value), by step, from step 0. The last value holds.
  """
  steps, values = _read_points(pieces)
  table = np.asarray(values, np.float32)

  def value(step: Any) -> Any:
    place = jnp.searchsorted(np.asarray(steps), step, side="right") - 1
    return jnp.asarray(table)[place]

  return Schedule(value, math.inf)


def up_then_down(
  low: float, high: float, peak: int, steps: int, *, hold: bool = False
) -> Schedule:
  """Build a line from low to high in `peak` steps, then back until `steps`.

  Args:
    low: the first and the last value.
    high: the value after `peak` steps.
    peak: optimizer steps, above 0 and below `steps`.
    steps: optimizer steps until the end.
    hold: see `linear`.
  """
  schedule = points((0, low), (peak, high), (steps, low))
  return schedule._replace(num_steps=_length(steps, hold))


def points(*pairs: tuple[int, float], hold: bool = False) -> Schedule:
  """Build straight lines between points.

  Args:
    *pairs: (step, value), by step, from step 0. The schedule ends at the last
      one.
    hold: see `linear`.
  """
  steps, values = _read_points(pairs)
  xs, ys = (np.asarray(x, np.float32) for x in (steps, values))
  length = math.inf if hold else steps[-1]
  return Schedule(lambda step: jnp.interp(step, xs, ys), length)


SCHEDULES: Mapping[str, Callable[..., Schedule]] = {
  f.__name__: f
  for f in (constant, linear, cosine, piecewise, up_then_down, points)
}


def _progress(step: Any, steps: int) -> Any:
  return jnp.clip(step / steps, 0.0, 1.0)


def _length(steps: int, hold: bool) -> float:
  if type(steps) is not int or steps < 1:
    raise ValueError(
      f"the number of steps must be a whole number of at least 1, got {steps!r}"
    )
  return math.inf if hold else steps


def _require_numbers(*values: Any) -> None:
  for value in values:
    if not _is_number(value) or not math.isfinite(value):
      raise ValueError(f"{value!r} is not a finite number")


def _is_number(value: Any) -> bool:
  return isinstance(value, int | float) and not isinstance(value, bool)


def _read_points(pairs: Sequence[Any]) -> tuple[list[int], list[float]]:
  """Return the steps and the values of pairs (step, value).

  Raises:
    ValueError: an item is no such pair, or the steps do not ascend from 0.
  """
  for pair in pairs:
    is_pair = isinstance(pair, tuple | list) and len(pair) == 2
    if not is_pair or type(pair[0]) is not int:
      raise ValueError(
        f"{pair!r} is not a pair (step, value) whose step is a whole number"
      )
    _require_numbers(pair[1])
  steps, values = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
  ascends = all(a < b for a, b in itertools.pairwise(steps))
  if not steps or steps[0] != 0 or not ascends:
    raise ValueError(f"the steps {steps} must begin at 0 and ascend")
  return steps, values


# -- from a config to a schedule ----------------------------------------------


def is_schedule(value: Any) -> bool:
  """Return whether a setting is written as a schedule: a text or pairs."""
  if isinstance(value, str):
    return True
  is_sequence = isinstance(value, tuple | list) and len(value) > 0
  return is_sequence and all(isinstance(item, tuple | list) for item in value)


def parse_schedule(value: Any, key: str) -> Schedule:
  """Read a schedule as a config has it.

  Args:
    value: pairs (step, value), or a text NAME(ARGUMENTS).
    key: the setting, for messages.

  Raises:
    ValueError: it is malformed; the message names the setting.
  """
  try:
    if isinstance(value, str):
      return _by_name(value)
    if is_schedule(value):
      return points(*value)
  except ValueError as error:
    raise ValueError(f"{key} = {value!r}: {error}") from None
  raise ValueError(f"{key} = {value!r}: expected {_FORM}{', '.join(SCHEDULES)}")


def _by_name(text: str) -> Schedule:
  """Build the schedule that a text NAME(ARGUMENTS) names."""
  try:
    node = ast.parse(text.strip(), mode="eval").body
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
      raise ValueError
    name = node.func.id
    args = [ast.literal_eval(argument) for argument in node.args]
    kwargs = {str(k.arg): ast.literal_eval(k.value) for k in node.keywords}
  except (SyntaxError, ValueError):
    expected = f"expected {_FORM}{', '.join(SCHEDULES)}"
    raise ValueError(expected) from None
  if name not in SCHEDULES:
    near = difflib.get_close_matches(name, SCHEDULES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(
      f"there is no schedule {name!r}, one of {', '.join(SCHEDULES)}{hint}"
    )
  make = SCHEDULES[name]
  signature = inspect.signature(make)
  try:
    signature.bind(*args, **kwargs)
  except TypeError as error:
    shown = signature.replace(return_annotation=signature.empty)
    raise ValueError(f"{error}; it is {name}{shown}") from None
  return make(*args, **kwargs)


# -- parts whose arguments are schedules --------------------------------------


class Argument(NamedTuple):
  """An argument of a part's factory that is a schedule."""

  name: str  # of the argument
  key: str  # of the setting, for messages and metrics
  schedule: optax.Schedule


@dataclasses.dataclass(frozen=True)
class Scheduled(Generic[T]):
  """A part of a run that is built anew from the numbers of each step."""

  build: Callable[..., T]  # values by argument -> the part
  arguments: tuple[Argument, ...]
  __wrapped__: Callable[..., Any]  # the factory

  def at(self, step: Any) -> T:
    """Build the part from the numbers at a step, an int or an array i32[]."""
    values = self.values(step)
    return self.build(**{a.name: values[a.key] for a in self.arguments})

  def values(self, step: Any) -> dict[str, Any]:
    """Return the numbers at a step by setting: f32[], or float for an int."""
    convert = _number_at if isinstance(step, int) else _array_at
    return {a.key: convert(a.schedule, step) for a in self.arguments}

  def only(self, key: str) -> "Scheduled[T]":
    """Return the part with one schedule; the others keep their first value."""
    build = self.build
    first = {a.name: _number_at(a.schedule, 0) for a in self.arguments}
    return dataclasses.replace(
      self,
      build=lambda **values: build(**{**first, **values}),
      arguments=tuple(a for a in self.arguments if a.key == key),
    )

  def __call__(self, *args: Any, **kwargs: Any) -> Any:
    """Raise ValueError: only the part at a step can be called."""
    keys = ", ".join(a.key for a in self.arguments)
    raise ValueError(
      f"{keys} changes over the run: call at(part, step) first, as an update "
      "does with the members that make_update gets"
    )


def scheduled(
  factory: Callable[..., T], *, section: str | None = None, **arguments: Any
) -> T | Scheduled[T]:
  """Build a part of a run; arguments that are functions are its schedules.

  Args:
    factory: such as objectives.ppo_clip. Its checks of arguments must be those
      of arguments.py, which pass arrays that have no value yet.
    section: the name of its settings in messages and metrics, by default the
      factory's name.
    **arguments: numbers, or schedules over the optimizer steps.
  """
  section = getattr(factory, "__name__", "") if section is None else section
  schedules = tuple(
    Argument(name, f"{section}.{name}", value)
    for name, value in arguments.items()
    if callable(value)
  )
  if not schedules:
    return factory(**arguments)
  names = [a.name for a in schedules]
  fixed = {k: v for k, v in arguments.items() if k not in names}
  build = lambda **values: factory(**fixed, **values)
  return Scheduled(build, schedules, factory)


def at(part: T | Scheduled[T], step: Any) -> T:
  """Return a part as it is at a step; it is the same if nothing changes."""
  return part.at(step) if isinstance(part, Scheduled) else part


def change(
  part: T | Scheduled[T], function: Callable[..., T], *arguments: Any
) -> T | Scheduled[T]:
  """Apply function(part, *arguments) to a part, at each step of a Scheduled."""
  if isinstance(part, Scheduled):
    build = part.build
    return dataclasses.replace(
      part, build=lambda **values: function(build(**values), *arguments)
    )
  return function(part, *arguments)


def fed(parts: Iterable[Any], step: Any) -> dict[str, Array]:
  """Return the numbers of scheduled parts at a step, by metric, f32[]."""
  return {
    f"schedule/{key}": value
    for part in parts
    if isinstance(part, Scheduled)
    for key, value in part.values(step).items()
  }


def check_over_run(part: Any, num_steps: int) -> None:
  """Check the schedules of a part on the steps of a run.

  The part is built from the numbers of every step, or of a thousand steps and
  the extremes in a long run. Warns of a schedule that is longer than the run.

  Args:
    part: a part of a run; nothing is checked if it is not Scheduled.
    num_steps: the number of optimizer steps of the run.

  Raises:
    ValueError: a schedule ends before the run, or has a value that the part
      does not allow. The message names the setting.
  """
  if not isinstance(part, Scheduled):
    return
  all_steps, columns = np.arange(num_steps), {}
  for argument in part.arguments:
    length = getattr(argument.schedule, "num_steps", math.inf)
    if length < num_steps:
      raise ValueError(
        f"{argument.key}: the schedule ends after {length} optimizer steps and "
        f"the run has {num_steps}: make it longer, or let its last value hold, "
        "as in 'linear(0.5, 0.3, 600, hold=True)'"
      )
    if math.isfinite(length):
      warn_if_longer(argument.key, length, num_steps)
    values = np.asarray(jax.vmap(argument.schedule)(all_steps), np.float32)
    if not np.isfinite(values).all():
      step = int(np.argmin(np.isfinite(values)))
      raise ValueError(
        f"{argument.key}: the schedule is {values[step]} at step {step}"
      )
    columns[argument.name] = values
  _check_steps(part, _steps_to_check(num_steps, columns.values()), columns)


def warn_if_longer(
  key: str, length: float, num_steps: int, unit: str = "optimizer"
) -> None:
  """Warn if a schedule never reaches its end.

  Args:
    key: its setting.
    length: its steps.
    num_steps: the steps of the run.
    unit: what a step is, "optimizer" or "rollout".
  """
  if length > num_steps:
    warnings.warn(
      f"{key}: the schedule takes {length:g} {unit} steps and the run has "
      f"{num_steps}, so it ends at {num_steps / length:.0%} of its way",
      stacklevel=3,
    )


def _steps_to_check(
  num_steps: int, columns: Iterable[np.ndarray]
) -> Sequence[int]:
  """Return all steps, or many of them and where values are extreme."""
  steps = set(np.linspace(0, num_steps - 1, _MAX_CHECKED, dtype=int).tolist())
  for values in columns:
    steps |= {int(values.argmin()), int(values.argmax())}
  return sorted(steps)


def _check_steps(
  part: Scheduled, steps: Sequence[int], columns: Mapping[str, np.ndarray]
) -> None:
  """Build a part from the numbers of some steps."""
  seen: set[tuple[float, ...]] = set()
  for step in steps:
    # the shortest decimal of a float32, for messages
    values = {k: float(str(column[step])) for k, column in columns.items()}
    if tuple(values.values()) in seen:
      continue
    with warnings.catch_warnings():
      if seen:  # the first step has said it
        warnings.simplefilter("ignore")
      try:
        part.build(**values)
      except ValueError as error:
        raise ValueError(f"{error} at optimizer step {step}") from error
    seen.add(tuple(values.values()))


def _number_at(schedule: optax.Schedule, step: int) -> float:
  """Return a schedule's value as a number, even while an update is traced."""
  # JAX computes the schedule with scalars that it places itself
  with jax.ensure_compile_time_eval(), jax.transfer_guard("allow"):
    return float(schedule(step))


def _array_at(schedule: optax.Schedule, step: Array) -> Array:
  return jnp.asarray(schedule(step), jnp.float32)
