"""List the units of a sweep: the argument of a config file's get_hyper.

    def get_hyper(hyper):
      return hyper.product(
        [
          hyper.sweep("config", ["configs/grpo.py", "configs/kl_cov.py"]),
          hyper.sweep("config.seed", range(3)),
        ]
      )

A unit is a dict from keys to values, and every function returns a list of
units. The key "config.seed" is the setting `seed`. The key "config" stands for
a whole config in place of the file's own: the name of a config file, with a
preset after a colon if it has one, or a function that returns a config.

The functions have the names and meanings of those in big_vision and scenic.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import itertools
import sys
from typing import Any

CONFIG = "config"  # the key of a whole config
PREFIX = f"{CONFIG}."  # begins the key of a setting

Unit = dict[str, Any]


def sweep(key: str, values: Iterable[Any]) -> list[Unit]:
  """Return one unit for each value of a key.

  Raises:
    ValueError: the key has another form, or there are no values.
  """
  _check_key(key)
  if isinstance(values, str):
    raise ValueError(
      f"hyper.sweep: the values of {key!r} are the text {values!r}: write a "
      f"list, such as [{values!r}]"
    )
  units = [{key: value} for value in values]
  if not units:
    raise ValueError(f"hyper.sweep: {key!r} has no values")
  return units


def fixed(key: str, value: Any, length: int = 1) -> list[Unit]:
  """Return `length` units in which a key has the same value.

  Raises:
    ValueError: the key has another form, or `length` is below 1.
  """
  _check_key(key)
  if length < 1:
    raise ValueError(
      f"hyper.fixed: the length of {key!r} must be at least 1, got {length}"
    )
  return [{key: value} for _ in range(length)]


def product(lists: Sequence[Sequence[Mapping[str, Any]]]) -> list[Unit]:
  """Return every combination of one unit from each list; the last varies first.

  Raises:
    ValueError: a list is empty, or two lists set the same key.
  """
  lists = _check_lists("product", lists)
  return [_merge("product", units) for units in itertools.product(*lists)]


def zipit(lists: Sequence[Sequence[Mapping[str, Any]]]) -> list[Unit]:
  """Return the first units of all lists together, then the second ones, ...

  Raises:
    ValueError: the lists differ in length, one is empty, or two lists set the
      same key.
  """
  lists = _check_lists("zipit", lists)
  lengths = list(map(len, lists))
  if len(set(lengths)) > 1:
    raise ValueError(f"hyper.zipit: the lists have {_join(lengths)} units")
  return [_merge("zipit", units) for units in zip(*lists, strict=True)]


def chainit(lists: Sequence[Sequence[Mapping[str, Any]]]) -> list[Unit]:
  """Return the units of all lists, one list after the other.

  Raises:
    ValueError: a list is empty.
  """
  lists = _check_lists("chainit", lists)
  return [dict(unit) for unit in itertools.chain.from_iterable(lists)]


def read_units(get_hyper: Callable[..., Any], place: str) -> list[Unit]:
  """Call a config file's get_hyper and check the form of its units.

  Args:
    get_hyper: called with this module.
    place: the file, for messages.

  Raises:
    ValueError: get_hyper raises, or returns anything but a list of units.
  """
  try:
    units = get_hyper(sys.modules[__name__])
  except Exception as error:  # any code may stand in it
    message = str(error)
    if not isinstance(error, ValueError) or not message.startswith("hyper."):
      message = f"get_hyper raised {type(error).__name__}: {message}"
    raise ValueError(f"{place}: {message}") from error
  is_list = isinstance(units, list | tuple)
  if not is_list or not all(isinstance(unit, Mapping) for unit in units):
    raise ValueError(
      f"{place}: get_hyper returned {units!r:.80}; expected a list of dicts, "
      "as hyper.sweep returns it"
    )
  if not units:
    raise ValueError(f"{place}: get_hyper returned no units")
  for unit in units:
    for key in unit:
      try:
        _check_key(key)
      except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
  return [{key: _plain(value) for key, value in unit.items()} for unit in units]


def _check_key(key: str) -> None:
  """Raise ValueError for a key that is neither a setting nor a config."""
  if key != CONFIG and not str(key).startswith(PREFIX):
    raise ValueError(
      f"hyper: a key is {CONFIG!r} or begins with {PREFIX!r}, got {key!r}; did "
      f"you mean {PREFIX + str(key)!r}?"
    )


def _check_lists(
  name: str, lists: Sequence[Sequence[Mapping[str, Any]]]
) -> list[Sequence[Mapping[str, Any]]]:
  """Raise ValueError if there are no lists, or if one is empty or no list."""
  lists = list(lists)
  if not lists:
    raise ValueError(f"hyper.{name}: there are no lists of units")
  for place, units in enumerate(lists):
    if not isinstance(units, list | tuple):
      raise ValueError(
        f"hyper.{name}: number {place} is {units!r:.60}; expected a list of "
        "units, as hyper.sweep returns it"
      )
    if not units:
      raise ValueError(f"hyper.{name}: list {place} is empty")
  return lists


def _merge(name: str, units: Iterable[Mapping[str, Any]]) -> Unit:
  """Merge units with different keys into one."""
  merged: Unit = {}
  for unit in units:
    for key in unit:
      if key in merged:
        raise ValueError(f"hyper.{name}: two lists set {key!r}")
    merged |= unit
  return merged


def _plain(value: Any) -> Any:
  """Convert numpy's scalars and arrays, lists and ranges to plain values."""
  if hasattr(value, "tolist"):
    value = value.tolist()
  if isinstance(value, list | tuple | range):
    return tuple(map(_plain, value))
  return value


def _join(numbers: Sequence[int]) -> str:
  """Format numbers as '2, 3 and 4'."""
  *first, last = map(str, numbers)
  return f"{', '.join(first)} and {last}" if first else last
