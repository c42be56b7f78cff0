"""Import functions of a user's own code: `package.module:name`, `file.py:name`.

The path of a file is relative to the current directory. Nothing is imported
unless a name asks for it.

Processes of answers/process_pool.py run this file too, to call a reward with a
time limit. For this reason it must not import anything from entrojax.
"""

from collections.abc import Callable, Mapping
import difflib
import functools
import importlib
import importlib.util
import json
import os
from pathlib import Path
import sys
from types import ModuleType
from typing import Any

_MAX_FLOAT32 = (2 - 2**-23) * 2.0**127


def is_outside(name: str) -> bool:
  """Return whether a name has the form PLACE:NAME."""
  return ":" in str(name)


def last_name(name: str) -> str:
  """Return the part of a name after its last colon: "f" for "file.py:f"."""
  return str(name).rpartition(":")[2]


def load(name: str) -> Callable:
  """Import the function that a name of the form PLACE:NAME stands for.

  While a file does not change, every call returns the same function.

  Raises:
    ValueError: there is no such file, module or function, or importing it
      raised. The message names the place, and the nearest function.
  """
  place, _, attribute = name.rpartition(":")
  module = _load_file(place) if place.endswith(".py") else _load_module(place)
  value = getattr(module, attribute, None)
  if callable(value):
    return value
  choices = [
    key
    for key, other in vars(module).items()
    if callable(other) and not key.startswith("_")
  ]
  near = difflib.get_close_matches(attribute, choices, n=1)
  hint = f"; did you mean {near[0]!r}?" if near else ""
  raise ValueError(f"{place} has no function {attribute!r}{hint}")


def describe(error: BaseException) -> str:
  """Describe an exception in one line: its type and its first line."""
  first = (str(error).strip().splitlines() or [""])[0][:200]
  return f"{type(error).__name__}: {first}"


def _load_module(place: str) -> ModuleType:
  """Import a module by its dotted name."""
  try:
    return importlib.import_module(place)
  except ModuleNotFoundError as error:
    if error.name and f"{place}.".startswith(f"{error.name}."):
      raise ValueError(f"there is no module {place!r}") from error
    raise ValueError(f"importing {place} raised {describe(error)}") from error
  except Exception as error:  # any code may run at its import
    raise ValueError(f"importing {place} raised {describe(error)}") from error


def _load_file(place: str) -> ModuleType:
  """Import a Python file."""
  path = Path(place).expanduser().resolve()
  if not path.is_file():
    raise ValueError(f"there is no file {place} (looked for {path})")
  return _run_file(path, path.read_bytes())


@functools.lru_cache(maxsize=64)
def _run_file(path: Path, content: bytes) -> ModuleType:
  """Run a file as a module; `content` tells its versions apart."""
  del content
  # the path is the module's name: no other module can have it
  spec = importlib.util.spec_from_file_location(str(path), path)
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  sys.modules[str(path)] = module  # dataclasses look their module up there
  try:
    spec.loader.exec_module(module)
  except Exception as error:  # any code may stand in it
    del sys.modules[str(path)]
    raise ValueError(f"importing {path} raised {describe(error)}") from error
  return module


# -- in a process of a pool ---------------------------------------------------


def call_reward(
  name: str,
  text: Any = "",
  columns: Mapping[str, Any] | None = None,
  response: Any = "",
  takes_problem: bool = False,
) -> list | None:
  """Call a user's reward; JSON can represent the result.

  Args:
    name: PLACE:NAME.
    text: the prompt, a str; a reward for batches gets lists here and below.
    columns: the problem's other columns; None: only import the function.
    response: the response.
    takes_problem: whether the function takes (problem, response) rather than
      (prompt, response, **columns).

  Returns:
    ["value", what it returned], or ["raised", the exception in one line].
  """
  if columns is None:
    os.environ["JAX_PLATFORMS"] = "cpu"  # the accelerator belongs to the run
    _functions[name] = load(name)
    return None
  function = _functions[name]
  try:
    if takes_problem:
      from entrojax.types import Problem

      return ["value", _plain(function(Problem(text, columns), response))]
    return ["value", _plain(function(text, response, **columns))]
  except Exception as error:  # a user's reward may raise anything
    return ["raised", describe(error)]


# loaded once per process: a file that is edited during a run changes nothing
_functions: dict[str, Callable] = {}


def _plain(value: Any) -> Any:
  """Convert a value for JSON: arrays to numbers or lists, others to text."""
  if isinstance(value, list | tuple):
    return [_plain(item) for item in value]
  if isinstance(value, Mapping):
    return {str(key): _plain(item) for key, item in value.items()}
  try:
    json.dumps(value)
    return value
  except (TypeError, ValueError):
    pass
  to_lists = lambda array: _plain(array.tolist())
  # NumPy and torch would convert a list of one item to a number
  is_list = getattr(value, "ndim", 0)
  for convert in (to_lists, float) if is_list else (float, to_lists):
    try:
      return convert(value)
    except (TypeError, ValueError, AttributeError):
      continue
  return repr(value)


def finite_number(value: Any) -> float | None:
  """Convert a number, or an array of one number, that a user's code returned.

  Args:
    value: anything; arrays from other processes arrive as lists.

  Returns:
    The number; None if it is no number or not finite in float32, in which
    rewards are kept.
  """
  if value is None or isinstance(value, str | bytes):
    return None
  try:
    for _ in range(8):  # a list may hold itself
      if isinstance(value, list) or getattr(value, "ndim", 0) > 0:
        (value,) = value
    number = float(value)
  except (TypeError, ValueError, OverflowError):
    return None
  return number if abs(number) <= _MAX_FLOAT32 else None  # NaN is not
