"""Look up the functions that a config names: objectives, rules, judges, ...

There is no registry. A name without a colon is any public function of a room
whose return annotation is the type that is looked for. A name such as
`package.module:name` or `path/to/file.py:name` is a function of the user's own
code (system/outside.py). The part after the colon stands for it everywhere
else: in metrics, in reports, and as the section of the config that holds its
keyword arguments.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
import difflib
import inspect
from types import ModuleType
import typing
from typing import Any

from ml_collections import ConfigDict as Config
from ml_collections import FrozenConfigDict

from entrojax.judges.segmentation import Segmenter
from entrojax.system import outside
from entrojax.system.outside import describe, is_outside, last_name
from entrojax.traits import public_functions
from entrojax.types import (
  AdvantageRule,
  Aggregation,
  Controller,
  Objective,
  StepJudge,
  Task,
)

# what the functions of the user's own code may be annotated to return
_TYPES = {
  "AdvantageRule": AdvantageRule,
  "Aggregation": Aggregation,
  "Controller": Controller,
  "Objective": Objective,
  "Segmenter": Segmenter,
  "StepJudge": StepJudge,
  "Task": Task,
  "str": str,
}


def function(
  module: ModuleType, name: str, key: str, returns: str
) -> Callable[..., Any]:
  """Return the function that a config names.

  Args:
    module: where names without a colon are, such as entrojax.objectives.
    name: the function's name.
    key: the setting that names it, for messages.
    returns: the type that its return annotation must name, a key of _TYPES.

  Raises:
    ValueError: there is no such function, the message suggests the nearest
      name; or its return annotation is another one.
  """
  if is_outside(name):
    return outside_function(name, key, returns)
  choices = functions(module, returns)
  if name in choices:
    return choices[name]
  if "." in str(name):
    hint = f"a function of your own is written {name}:FUNCTION"
    raise ValueError(
      f"{key}: there is no {name!r} in {module.__name__}; {hint}"
    )
  raise ValueError(f"{key}: {unknown(name, choices, module.__name__)}")


def unknown(name: str, choices: Iterable[str], place: str) -> str:
  """Return the message that a name is unknown, with the nearest choice."""
  near = difflib.get_close_matches(str(name), choices, n=1)
  hint = f"; did you mean {near[0]!r}?" if near else ""
  return f"there is no {name!r} in {place}{hint}"


def functions(
  module: ModuleType, returns: str
) -> Mapping[str, Callable[..., Any]]:
  """Return the functions of a room that a config may choose, by name.

  All but the templates are factories, whose arguments are keywords. Helpers
  that take other functions, such as `chain`, have the same return annotation
  and are left out.

  Args:
    module: a room such as entrojax.objectives.
    returns: the type that their return annotation names, a key of _TYPES.
  """
  num_positional = 1 if returns == "str" else 0  # the text of a template
  return {
    name: value
    for name, value in public_functions(module).items()
    if return_annotation(value) in (_TYPES[returns], returns)
    and num_positional
    == sum(p.kind is not p.KEYWORD_ONLY for p in _parameters(value))
  }


def outside_function(name: str, key: str, returns: str) -> Callable[..., Any]:
  """Import a function of the user's own code; see `function`."""
  value = import_function(name, key)
  annotation = return_annotation(value)
  if annotation == _TYPES[returns] or annotation == returns:
    return value
  form = f"def {last_name(name)}(...) -> {returns}"
  if annotation is inspect.Signature.empty:
    raise ValueError(
      f"{key}: {name} has no return annotation; expected a function such as "
      f"{form}"
    )
  names = [n for n, known_type in _TYPES.items() if annotation == known_type]
  shown = (names or [getattr(annotation, "__name__", annotation)])[0]
  raise ValueError(
    f"{key}: {name} has the return annotation {shown}; expected a function "
    f"such as {form}"
  )


def import_function(name: str, key: str) -> Callable[..., Any]:
  """Import a function of the user's own code, whatever it returns."""
  try:
    return outside.load(name)
  except ValueError as error:
    raise ValueError(f"{key}: {error}") from error


def return_annotation(value: Callable) -> Any:
  """Return the annotation of what a function returns.

  An annotation that is a string is evaluated. If that fails, because its names
  are not imported, it is the last part of the string, as in "types.Objective".
  """
  try:
    annotation = inspect.signature(value).return_annotation
  except (TypeError, ValueError):
    return inspect.Signature.empty
  if not isinstance(annotation, str):
    return annotation
  try:
    return typing.get_type_hints(value)["return"]
  except Exception:  # an annotation may hold any expression
    return annotation.rpartition(".")[2]


def settings(config: Config, name: str) -> dict[str, Any]:
  """Return the section of a config that holds a function's arguments.

  Raises:
    ValueError: a setting that is no section has the function's name.
  """
  section = config.get(last_name(name), {})
  if not isinstance(section, Mapping | Config | FrozenConfigDict):
    raise ValueError(
      f"{name}: {last_name(name)!r} is a setting and cannot be the section of "
      "a function's arguments: rename the function"
    )
  return dict(section)


def call(
  make: Callable[..., Any],
  name: str,
  arguments: Mapping[str, Any],
) -> Any:
  """Call a factory that a config names with its settings.

  Args:
    make: the factory.
    name: its name in the config.
    arguments: its keyword arguments.

  Raises:
    ValueError: a setting is outside its range; or the function, of the user's
      own code, does not take a setting, lacks one, or raises.
  """
  if is_outside(name):
    _check_arguments(make, name, arguments)
  try:
    return make(**arguments)
  except ValueError:
    raise
  except Exception as error:
    if not is_outside(name):
      raise
    raise ValueError(
      f"{last_name(name)}: {name} raised {describe(error)}; its arguments were "
      f"{dict(arguments)}"
    ) from error


def _parameters(value: Callable) -> Collection[inspect.Parameter]:
  """Return the parameters of a function."""
  return inspect.signature(value).parameters.values()


def _check_arguments(
  make: Callable[..., Any], name: str, arguments: Mapping[str, Any]
) -> None:
  """Raise ValueError for a setting that a factory does not take, or lacks."""
  signature = inspect.signature(make)
  section, parameters = last_name(name), signature.parameters.values()
  shown = signature.replace(return_annotation=signature.empty)
  keywords = {p.name for p in parameters if p.kind in _KEYWORD}
  takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
  for leaf in arguments:
    if leaf not in keywords and not takes_all:
      raise ValueError(
        f"{section}.{leaf}: {name} does not take {leaf!r}, it is "
        f"{section}{shown}; if the section {section!r} is not meant for it, "
        "rename the function"
      )
  for p in parameters:
    needed = p.default is p.empty and p.kind not in _VARIADIC
    if needed and p.name not in arguments:
      raise ValueError(
        f"{section}.{p.name} is not set: {name} is {section}{shown}, and its "
        f"arguments come from the section {section!r} of the config"
      )


_KEYWORD = (
  inspect.Parameter.POSITIONAL_OR_KEYWORD,
  inspect.Parameter.KEYWORD_ONLY,
)
_VARIADIC = (
  inspect.Parameter.VAR_POSITIONAL,
  inspect.Parameter.VAR_KEYWORD,
)
