"""Make the sections of a config that hold the settings of methods.

Every function that a config may choose has a section of its own name: its
keyword arguments with their defaults. An argument without a default is a
placeholder, which means "not set". The defaults therefore stand only in the
functions' signatures, and the meaning of each setting in their docstrings.
`describe` formats both.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
import inspect
import re
import textwrap
import types
import typing
from typing import Any

from ml_collections import ConfigDict as Config
from ml_collections import config_dict

from entrojax import advantages, control, judges, objectives
from entrojax.assembly import lookup, scheduling
from entrojax.judges import segmentation
from entrojax.traits import traits_of
from entrojax.update.projection import entropy_projection

# (room, return annotation, arguments that are not settings of the section)
ROOMS = (
  (objectives, "Objective", ()),
  (advantages, "AdvantageRule", ()),
  (control, "Controller", ("target",)),  # it is config.control.target
  (judges, "StepJudge", ("task", "cache")),  # a run passes them
  (segmentation, "Segmenter", ()),
)


# sections that no setting names: each has a switch of its own
_SWITCHED = {"projection": (entropy_projection, ("inner", "precondition"))}


def method_sections() -> Config:
  """Return the section of every method and of the projection, by its name.

  Raises:
    ValueError: two functions have one name.
  """
  sections = Config()
  for name, (function, others) in {**_methods(), **_SWITCHED}.items():
    sections[name] = Config(_settings(function, others))
  return sections


def method_names() -> Sequence[str]:
  """Return the names of all functions that have a section."""
  return list(_methods())


def describe(name: str) -> str:
  """Describe a method: its kind, its purpose, its settings and their meaning.

  Args:
    name: the name of its section.

  Raises:
    ValueError: there is no such method.
  """
  methods = {**_methods(), **_SWITCHED}
  if name not in methods:
    raise ValueError(lookup.unknown(name, methods, "the methods"))
  function, others = methods[name]
  text = inspect.getdoc(function) or ""
  traits = traits_of(function)
  kind = getattr(traits, "kind", "")
  title = f"{name} ({kind})" if kind else name
  lines = [f"{title}: {text.partition(chr(10))[0]}"]
  meanings = _meanings(text)
  for leaf, value in _settings(function, others).items():
    is_reference = isinstance(value, config_dict.FieldReference)
    shown = value.get() if is_reference else value
    meaning = meanings.get(leaf, "")
    lines.append(
      textwrap.fill(
        f"{name}.{leaf} = {shown!r}: {meaning}",
        80,
        initial_indent="  ",
        subsequent_indent="      ",
      )
    )
  drives = getattr(traits, "drives", ())
  if drives:
    lines.append(f"  drives {' or '.join(drives)}")
  return "\n".join(lines)


@functools.cache
def _methods() -> Mapping[str, tuple[Callable, Sequence[str]]]:
  """Return each method by name, with its arguments that are no settings."""
  methods: dict[str, tuple[Callable, Sequence[str]]] = {}
  for room, returns, others in ROOMS:
    for name, function in lookup.functions(room, returns).items():
      if name in methods:
        first, second = methods[name][0].__module__, function.__module__
        raise ValueError(
          f"{first} and {second} both define {name!r}, which can name only one "
          "section of a config: rename one"
        )
      methods[name] = (function, others)
  return methods


def _settings(function: Callable, others: Sequence[str]) -> dict[str, Any]:
  """Return the defaults of a function's settings, by name.

  Args:
    function: the factory.
    others: names of arguments that are no settings. An argument whose default
      is a function is none, either.
  """
  return {
    p.name: _setting(p)
    for p in inspect.signature(function).parameters.values()
    if p.name not in others and not inspect.isroutine(p.default)
  }


def _setting(parameter: inspect.Parameter) -> Any:
  """Return an argument's default, or its placeholder if it has none."""
  is_missing = parameter.default is parameter.empty
  if scheduling.accepts_schedule(parameter):
    return scheduling.setting(None if is_missing else parameter.default)
  return _placeholder(parameter) if is_missing else parameter.default


def _placeholder(parameter: inspect.Parameter) -> config_dict.FieldReference:
  """Return the placeholder of an argument without a default."""
  kind = parameter.annotation
  if isinstance(kind, types.UnionType):  # such as str | None
    kind = typing.get_args(kind)[0]
  return config_dict.placeholder(kind)


def _meanings(docstring: str) -> Mapping[str, str]:
  """Return the meaning of each argument, from the part `Args:`."""
  part = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", docstring, re.M | re.DOTALL)
  entries = re.findall(
    r"^  (\w+): (.*?)(?=^  \w+: |\Z)", part[1] if part else "", re.M | re.DOTALL
  )
  return {name: " ".join(text.split()) for name, text in entries}
