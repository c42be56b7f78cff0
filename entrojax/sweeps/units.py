"""Turn a sweep's list of units into whole configs with names and commands.

A name becomes a directory, so it has letters, digits and `.,=+_-` only. It
holds the keys whose values vary in the sweep, as in `kl_cov,seed=0`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
import copy
import difflib
import functools
import hashlib
from pathlib import Path
import re
from typing import Any, NamedTuple

from ml_collections import ConfigDict as Config

from entrojax.sweeps.hyper import CONFIG, PREFIX
from entrojax.system.outside import describe, last_name, load
from entrojax.system.workdir import flatten

# These settings change no result, or only its rounding: the run of a unit may
# be resumed with others.
MAY_CHANGE = ("checkpoint", "log", "mesh")

_MAX_NAME = 80  # characters
_UNSAFE = re.compile(r"[^\w.,=+-]", re.ASCII)


class Source(NamedTuple):
  """The config that all units of a sweep begin with."""

  file: str  # as --config names it, with its preset
  base: Config  # with the overrides of the command line
  overrides: Mapping[str, Any]  # 'section.leaf' -> value, of the command line


class Unit(NamedTuple):
  """A run of a sweep."""

  values: Mapping[str, Any]  # key -> value, as get_hyper lists them
  config: Config  # with these values
  keys: Sequence[str]  # 'section.leaf' of all settings given by name


def resolve_unit(source: Source, values: Mapping[str, Any]) -> Unit:
  """Build the config of a unit.

  Args:
    source: the config of the sweep.
    values: key -> value.

  Raises:
    ValueError: a config cannot be loaded, a key is unknown or a value has the
      wrong type. The message names the key, and the nearest one.
  """
  if CONFIG in values:
    config = _load_config(values[CONFIG])
    for key, value in source.overrides.items():
      set_setting(config, key, value)
  else:
    config = copy.deepcopy(source.base)
  settings = {
    key.removeprefix(PREFIX): value
    for key, value in values.items()
    if key != CONFIG
  }
  for key, value in settings.items():
    set_setting(config, key, value)
  # other processes cannot read references from one setting to another
  config = config.copy_and_resolve_references()
  return Unit(values, config, [*source.overrides, *settings])


def set_setting(config: Config, key: str, value: Any) -> None:
  """Change a setting of a config.

  Args:
    config: changed in place.
    key: 'section.leaf'.
    value: the new value; None always means "not set".

  Raises:
    ValueError: the config has no such setting, or the value has another type.
  """
  *sections, leaf = key.split(".")
  section: Any = config
  for name in sections:
    section = section.get(name) if isinstance(section, Config) else None
  if not isinstance(section, Config) or leaf not in section:
    near = difflib.get_close_matches(key, flatten(config.to_dict()), n=1)
    hint = f"; did you mean {PREFIX + near[0]!r}?" if near else ""
    raise ValueError(f"unknown setting {PREFIX + key!r}{hint}")
  if isinstance(section[leaf], Config):
    raise ValueError(
      f"{PREFIX}{key} is a section: set one of {sorted(section[leaf])}"
    )
  expected = section.get_type(leaf)
  try:
    if isinstance(value, bool) and expected not in (bool, object):
      raise TypeError
    if value is None:
      with section.ignore_type():
        section[leaf] = None
    else:
      section[leaf] = value
  except TypeError as error:
    raise ValueError(
      f"{PREFIX}{key} is {value!r}; expected a value of type "
      f"{expected.__name__}"
    ) from error


def _load_config(spec: str | Callable[[], Config]) -> Config:
  """Load a whole config by FILE.py:PRESET, or call the function of one."""
  if callable(spec):
    name, get_config = describe_value(spec), spec
  else:
    name, (file, _, preset) = str(spec), str(spec).partition(":")
    if not file.endswith(".py"):
      raise ValueError(
        f"{CONFIG} is {spec!r}; expected a config file, such as "
        "configs/grpo.py:demo, or a function that returns a config"
      )
    get_config = load(f"{file}:get_config")
    if preset:
      get_config = functools.partial(get_config, preset)
  try:
    config = get_config()
  except Exception as error:  # any code may stand in it
    raise ValueError(f"{name} raised {describe(error)}") from error
  if not isinstance(config, Config):
    raise ValueError(f"{name} returned {config!r:.60}; expected a ConfigDict")
  return copy.deepcopy(config)


def name_units(units: Sequence[Mapping[str, Any]]) -> list[str]:
  """Name units by what varies among them.

  Args:
    units: key -> value for each unit.

  Returns:
    A name for each unit, safe as the name of a directory. Units that differ
    have one name only if they differ in functions of one name.
  """
  keys = list(dict.fromkeys(key for unit in units for key in unit))
  varying = [k for k in keys if len({_text(u, k) for u in units}) > 1] or keys
  varying.sort(key=lambda key: key != CONFIG)  # whole configs come first
  labels = _short_keys([key for key in varying if key != CONFIG])
  configs = _short_specs({u[CONFIG] for u in units if CONFIG in u})
  names = []
  for unit in units:
    parts = []
    for key in varying:
      if key == CONFIG and key in unit:
        parts.append(configs[unit[key]])
      elif key in unit:
        parts.append(f"{labels[key]}={describe_value(unit[key])}")
    name = _UNSAFE.sub("_", ",".join(parts)) or "base"
    names.append(f"_{name}" if name.startswith((".", "-")) else name)
  folded = [name.lower() for name in names]  # some disks ignore the case
  return [
    name
    if folded.count(name.lower()) == 1 and len(name) <= _MAX_NAME
    else _mark(name, "".join(_text(unit, key) for key in varying))
    for name, unit in zip(names, units, strict=True)
  ]


def _mark(name: str, text: str) -> str:
  """Shorten a name, and end it with a digest of the text that it is to tell."""
  digest = hashlib.sha256(text.encode()).hexdigest()[:6]
  return f"{name[: _MAX_NAME - 7]}-{digest}"


def describe_value(value: Any) -> str:
  """Return a value as text, for names and messages."""
  if isinstance(value, float):
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
  if isinstance(value, list | tuple):
    return "+".join(map(describe_value, value)) or "empty"
  if isinstance(value, functools.partial):
    arguments = [*value.args, *value.keywords.values()]
    return "_".join(map(describe_value, (value.func, *arguments)))
  if callable(value):
    return getattr(value, "__name__", type(value).__name__)
  text = str(value)
  return last_name(text) if ".py:" in text else text


def command_of(
  source: Source, values: Mapping[str, Any], workdir: Path
) -> list[str] | None:
  """Return the command that runs a unit by itself.

  Args:
    source: the config of the sweep.
    values: key -> value.
    workdir: the unit's run directory.

  Returns:
    The words of the command; None if no command line can set such a value.
  """
  settings = {PREFIX + key: value for key, value in source.overrides.items()}
  settings |= {key: value for key, value in values.items() if key != CONFIG}
  config = values.get(CONFIG, source.file)
  if callable(config) or None in settings.values():
    return None
  words = [f"--{key}={value}" for key, value in settings.items()]
  return [
    *("python", "-m", "entrojax.main", f"--config={config}"),
    *words,
    f"--workdir={workdir}",
  ]


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
  """Return a unit's values as JSON can hold them."""
  return {
    key: describe_value(value) if callable(value) else value
    for key, value in values.items()
  }


def _text(unit: Mapping[str, Any], key: str) -> str:
  """Return the value of a key as a text that tells values apart."""
  if key not in unit:
    return ""
  value = unit[key]
  return describe_value(value) if callable(value) else repr(value)


def _short_keys(keys: Sequence[str]) -> dict[str, str]:
  """Map each key to its last part, or to all of it if others end like it."""
  leaves = [key.rpartition(".")[2] for key in keys]
  return {
    key: leaf if leaves.count(leaf) == 1 else key.removeprefix(PREFIX)
    for key, leaf in zip(keys, leaves, strict=True)
  }


def _short_specs(specs: Collection[Any]) -> dict[Any, str]:
  """Map each whole config to a short name that no other one has.

  It is the name of the file, or the preset, or both.
  """

  def forms(spec: Any) -> tuple[str, str, str]:
    if callable(spec):
      return (describe_value(spec),) * 3
    file, _, preset = str(spec).partition(":")
    stem = Path(file).stem
    return stem, preset or stem, f"{stem}_{preset}" if preset else stem

  for place in range(3):
    names = {spec: forms(spec)[place] for spec in specs}
    if len(set(names.values())) == len(names):
      return names
  return {spec: describe_value(spec) for spec in specs}
