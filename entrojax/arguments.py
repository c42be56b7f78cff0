"""Check a hyperparameter: a least value, an interval, a rule or choices.

Each check returns nothing if the value is right. Otherwise it raises ValueError
with the name of the setting, what would be right, and the value: "erc.low must
lie in [0, 1), got 2". Factories in the whole package use these checks. A rule
between two settings is checked where the two are used.

A number that follows a schedule is an array without a value while an update is
traced (schedules.py). The checks pass it: they have been made before, on its
values in all steps of the run.
"""

from collections.abc import Collection
import math
import numbers
from typing import Any

import jax
import numpy as np


def is_traced(*values: Any) -> bool:
  """Return whether any of these is an array without a value yet."""
  return any(isinstance(value, jax.core.Tracer) for value in values)


def require(condition: Any, message: str) -> None:
  """Raise ValueError with a message unless a condition holds.

  Args:
    condition: a bool; it may be traced, and then passes.
    message: names the setting, what would be right, and the value.
  """
  if not is_traced(condition) and not condition:
    raise ValueError(message)


def require_at_least(
  name: str, value: float, least: float, *, or_inf: bool = False
) -> None:
  """Raise ValueError if a number is below its least value, infinite or NaN.

  Args:
    name: how a user writes the setting, such as "gspo.clip_high".
    value: the number.
    least: the smallest number allowed.
    or_inf: whether it may be infinite, as a bound that bounds nothing.
  """
  _require_number(name, value)
  if is_traced(value):
    return
  if not value >= least:
    raise ValueError(f"{name} must be at least {least:g}, got {value}")
  if math.isinf(value) and not or_inf:
    raise ValueError(f"{name} must be finite, got {value}")


def require_in(name: str, value: float, interval: str) -> None:
  """Raise ValueError if a number lies outside an interval, or is NaN.

  Args:
    name: how a user writes the setting, such as "erc.low".
    value: the number.
    interval: two bounds, as in "[0, 1)". A bracket includes its bound, a
      parenthesis excludes it; "inf)" allows any finite number and "inf]" any
      number.
  """
  _require_number(name, value)
  if is_traced(value):
    return
  low, high = (float(bound) for bound in interval[1:-1].split(","))
  above = value >= low if interval[0] == "[" else value > low
  below = value <= high if interval[-1] == "]" else value < high
  if above and below:
    return
  if above:  # and not below
    too_large = "be finite" if math.isinf(high) else f"lie in {interval}"
    raise ValueError(f"{name} must {too_large}, got {value}")
  if interval[0] == "(" and math.isinf(high):
    raise ValueError(f"{name} must be above {low:g}, got {value}")
  raise ValueError(f"{name} must lie in {interval}, got {value}")


def require_one_of(name: str, value: Any, choices: Collection[Any]) -> None:
  """Raise ValueError if a setting is not one of its choices.

  Args:
    name: how a user writes the setting, such as "steer.form".
    value: the setting.
    choices: the allowed values, in the order in which the message lists them.
  """
  if value not in choices:
    listed = ", ".join(repr(choice) for choice in choices)
    raise ValueError(f"{name} must be one of {listed}; got {value!r}")


def _require_number(name: str, value: Any) -> None:
  """Raise ValueError for what is no number, such as a text or a schedule."""
  if value is None:
    raise ValueError(f"{name} must be set")
  if callable(value):
    raise ValueError(
      f"{name} is a function; a schedule is passed as in "
      "scheduled(ppo_clip, clip_high=schedule)"
    )
  if not isinstance(value, numbers.Real | np.ndarray | jax.Array):
    raise ValueError(f"{name} must be a number, got {value!r:.80}")
