"""Build the parts of a run whose settings may be schedules, and check them.

A setting may be a schedule over optimizer steps if the factory's argument is
annotated as float: see schedules.py for how it is written. A part with such a
setting is a Scheduled, which builds itself anew at each step. All other parts
are what their factories return.
"""

from collections.abc import Callable, Iterator, Mapping
import inspect
import types
import typing
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import config_dict
import optax

from entrojax.arguments import require_in
from entrojax.assembly import lookup
from entrojax.schedules import (
  Argument,
  Schedule,
  Scheduled,
  check_over_run,
  is_schedule,
  parse_schedule,
)
from entrojax.system.outside import last_name
from entrojax.update.optimizer import learning_rate_schedule


def build(
  make: Callable[..., Any],
  name: str,
  settings: Mapping[str, Any],
  keys: Mapping[str, str] = types.MappingProxyType({}),
) -> Any:
  """Call a factory that a config names with settings that may be schedules.

  Args:
    make: the factory.
    name: its name in the config.
    settings: its keyword arguments, as the config has them.
    keys: the settings of arguments that are not in the factory's section.

  Returns:
    What the factory returns, or a Scheduled of it.

  Raises:
    ValueError: a setting is outside its range, or a schedule is malformed; the
      message names the setting.
  """
  parameters = inspect.signature(make).parameters
  fixed: dict[str, Any] = {}
  changing = []
  for leaf, value in settings.items():
    key = keys.get(leaf, f"{last_name(name)}.{leaf}")
    kinds = _kinds(parameters.get(leaf))
    if float not in kinds or value is None:
      fixed[leaf] = value
    elif isinstance(value, int | float) and not isinstance(value, bool):
      fixed[leaf] = float(value)
    elif tuple in kinds and not is_schedule(value):
      fixed[leaf] = value
    else:
      changing.append(Argument(leaf, key, parse_schedule(value, key)))
  if not changing:
    return lookup.call(make, name, fixed)
  return Scheduled(
    lambda **values: lookup.call(make, name, {**fixed, **values}),
    tuple(changing),
    make,
  )


def accepts_schedule(parameter: inspect.Parameter) -> bool:
  """Return whether the argument of a factory may be a schedule."""
  return float in _kinds(parameter)


def setting(value: Any) -> config_dict.FieldReference:
  """Return a setting of a config whose value may change its type.

  A setting with a number as its value would refuse the text of a schedule, and
  one with a truth value would refuse the text "auto".
  """
  return config_dict.FieldReference(value, field_type=object)


def _kinds(parameter: inspect.Parameter | None) -> set[Any]:
  """Return the types that an argument may have, as its annotation says."""
  if parameter is None:
    return set()
  annotation = parameter.annotation
  if isinstance(annotation, str):
    annotation = {"float": float, "float | None": float}.get(annotation)
  is_union = typing.get_origin(annotation) in (types.UnionType, typing.Union)
  options = typing.get_args(annotation) if is_union else (annotation,)
  return {typing.get_origin(option) or option for option in options}


def read_learning_rate(
  value: Any, *, warmup_steps: int, decay_steps: int, end_fraction: float
) -> optax.Schedule:
  """Build the schedule of the learning rate.

  Args:
    value: a schedule; or the peak, with the other arguments as in
      learning_rate_schedule.

  Raises:
    ValueError: a setting is outside its range, or there are two schedules.
  """
  key = "optimizer.learning_rate"
  if isinstance(value, int | float) and not isinstance(value, bool):
    return learning_rate_schedule(
      peak=float(value),
      warmup_steps=warmup_steps,
      decay_steps=decay_steps,
      end_fraction=end_fraction,
    )
  schedule = parse_schedule(value, key)
  if warmup_steps or decay_steps:
    raise ValueError(
      f"{key} = {value!r} is a schedule: set optimizer.warmup_steps and "
      f"optimizer.decay_steps to 0, got {warmup_steps} and {decay_steps}"
    )
  return schedule


def check_learning_rate(schedule: optax.Schedule, num_steps: int) -> None:
  """Raise ValueError if the learning rate does not fit a run.

  Args:
    schedule: the schedule of the learning rate.
    num_steps: the number of optimizer steps of the run.
  """
  if not isinstance(schedule, Schedule):
    return  # it never ends, and its numbers have been checked

  def check(learning_rate: float) -> None:
    require_in("optimizer.learning_rate", learning_rate, "[0, inf)")

  argument = Argument("learning_rate", "optimizer.learning_rate", schedule)
  check_over_run(Scheduled(check, (argument,), check), num_steps)


def check_schedules(
  parts: Mapping[str, Any],
  num_steps: int,
  trace: Callable[[str, Scheduled, Any], Any],
) -> None:
  """Check that the schedules of parts work in every optimizer step of a run.

  Args:
    parts: members, rules, or the like, by name; some of them are Scheduled.
    num_steps: the number of optimizer steps of the run.
    trace: (name, part, step) -> uses the part with that name as a run does, as
      it is at a step i32[] that has no value.

  Raises:
    ValueError: a schedule ends before the run, has a value outside the range of
      its setting, or stands for a number that the factory needs as a constant.
      The message names the setting.
  """
  for name, part in parts.items():
    check_over_run(part, num_steps)
    for single in _singles(part):
      (argument,) = single.arguments
      try:
        jax.eval_shape(
          lambda step, name=name, single=single: trace(name, single, step),
          jnp.int32(0),
        )
      except (TypeError, ValueError) as error:
        # it has worked with numbers, so it fails because it has none now
        raise ValueError(
          f"{argument.key}: {name} needs a constant here, not a schedule"
        ) from error


def _singles(part: Any) -> Iterator[Scheduled]:
  """Yield the part with each of its schedules alone."""
  if isinstance(part, Scheduled):
    for argument in part.arguments:
      yield part.only(argument.key)
