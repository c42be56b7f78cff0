"""Look up what the methods that a config names declare.

Nothing here decides by the name of a method. The functions that the config
names declare what they do (traits.py); one without traits may do anything.
"""

from collections.abc import Iterator, Sequence
import inspect
from types import ModuleType
from typing import Any, NamedTuple

from ml_collections import ConfigDict as Config

from entrojax import advantages, control, objectives
from entrojax.assembly import lookup
from entrojax.assembly.own_methods import NO_METHODS, OwnMethods
from entrojax.system.outside import is_outside, last_name
from entrojax.traits import ControllerTraits, traits_of


class NamedMethod(NamedTuple):
  """A function that a config names as a member or as a rule."""

  name: str  # of its section
  traits: Any  # what it declares; None: nothing
  settings: dict[str, Any]


_ROOMS: dict[str, tuple[ModuleType, str]] = {
  "objective": (objectives, "Objective"),
  "advantage": (advantages, "AdvantageRule"),
}


def named_methods(
  config: Config, key: str, are_passed: bool = False
) -> Sequence[NamedMethod]:
  """Return the functions that a setting names, in order.

  Args:
    config: the settings of the run.
    key: "objective" or "advantage".
    are_passed: whether the caller passed the functions, so that their names
      cannot be looked up.
  """
  return [
    NamedMethod(
      last_name(name),
      None if are_passed else _traits(name, key),
      lookup.settings(config, name),
    )
    for name in config[key]
  ]


def entropies(
  config: Config, own: OwnMethods = NO_METHODS
) -> Iterator[tuple[str, Any]]:
  """Yield the settings that are compared with the policy's entropy.

  Args:
    config: the settings of the run.
    own: functions that take the place of those that the config names.

  Yields:
    ('section.leaf', value): nats per token; a number, a pair of them, a
    schedule as the config has it, or None.
  """
  yield "control.target", config.control.target
  yield "projection.target", config.projection.target
  for key, are_passed in (
    ("objective", bool(own.members)),
    ("advantage", bool(own.rules)),
  ):
    for function in named_methods(config, key, are_passed):
      for leaf in getattr(function.traits, "entropies", ()):
        if leaf in function.settings:
          yield f"{function.name}.{leaf}", function.settings[leaf]


def clusters_are_read(config: Config) -> bool:
  """Return whether an advantage rule may read clusters of answers."""
  for name in config.advantage:
    traits = None if is_outside(name) else _traits(name, "advantage")
    if traits is None or traits.reads_clusters:
      return True
  return False


def controller_traits(config: Config) -> ControllerTraits | None:
  """Return what the controller declares; None if it declares nothing."""
  return traits_of(controller_factory(config))


def controller_factory(config: Config) -> Any:
  """Return the factory of the controller."""
  return lookup.function(
    control, config.control.name, "control.name", "Controller"
  )


def has_target(config: Config) -> bool:
  """Return whether the controller has a target."""
  return "target" in inspect.signature(controller_factory(config)).parameters


def _traits(name: str, key: str) -> Any:
  """Return what a function that a setting names declares."""
  room, returns = _ROOMS[key]
  return traits_of(lookup.function(room, name, key, returns))
