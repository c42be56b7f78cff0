"""Check that the methods of a config fit together.

`check_methods` raises ValueError if two settings contradict each other.
Combinations that run, but probably do not do what was intended, are only warned
of (method_warnings.py). Most rules do not concern a function without traits,
which may do anything.
"""

from collections.abc import Sequence

from ml_collections import ConfigDict as Config

from entrojax import control
from entrojax.assembly import lookup
from entrojax.assembly.method_warnings import warn_of_methods
from entrojax.assembly.named_methods import (
  NamedMethod,
  controller_factory,
  controller_traits,
  has_target,
  named_methods,
)
from entrojax.assembly.own_methods import NO_METHODS, OwnMethods
from entrojax.system.outside import is_outside, last_name
from entrojax.system.refusals import gathered
from entrojax.traits import (
  ControllerTraits,
  ObjectiveTraits,
  RuleTraits,
  Surroundings,
  traits_of,
)


def check_methods(config: Config, own: OwnMethods = NO_METHODS) -> None:
  """Check the methods that a config names, and warn of what is probably wrong.

  Args:
    config: the settings of the run.
    own: functions that take the place of those that the config names.

  Raises:
    ValueError: a name is unknown, or a setting contradicts another; the message
      names the keys.
  """
  with gathered() as each:
    for key in ("objective", "advantage"):
      each(_check_names, config, key)
    each(named_methods, config, "objective", bool(own.members))
    each(named_methods, config, "advantage", bool(own.rules))
    if own.controller is None:
      each(controller_factory, config)
    each(_check_projection, config)
    each(_check_curriculum, config)
  members = named_methods(config, "objective", bool(own.members))
  rules = named_methods(config, "advantage", bool(own.rules))
  with gathered() as each:
    if own.controller is None:
      each(_check_control, config)
      each(_check_driven, config, members)
    each(_check_surrogate, members)
    each(_check_rules, rules)
    each(_check_settings, config, (*members, *rules))
    each(_check_steps, config, members)
    each(_check_aggregation, config, members)
  warn_of_methods(config, members, rules, own.controller is not None)


def _check_names(config: Config, key: str) -> None:
  """Raise ValueError if a setting names two functions with one last name."""
  names = tuple(map(last_name, config[key]))
  twice = sorted({name for name in names if names.count(name) > 1})
  if twice:
    raise ValueError(f"{key} names {twice[0]!r} twice: {names}")


def _check_control(config: Config) -> None:
  """Raise ValueError if the controller lacks a setting, or has one too many."""
  name, target = config.control.name, config.control.target
  traits = controller_traits(config)
  if target is not None and traits is not None and not traits.drives:
    raise ValueError(
      f"control.target is {target} but control.name is {name!r}: nothing would "
      "hold the entropy there"
    )
  if target is None and has_target(config):
    raise ValueError("control.target is not set: the entropy to hold, in nats")
  for leaf, value in lookup.settings(config, name).items():
    if value is None:
      raise ValueError(f"{last_name(name)}.{leaf} is not set")


def _check_driven(config: Config, members: Sequence[NamedMethod]) -> None:
  """Raise ValueError if the controller's member is missing, or not alone."""
  name, traits = config.control.name, controller_traits(config)
  if traits is None:
    return  # it may drive any member
  present = [m.name for m in members if m.traits and m.traits.driven]
  may_drive_own = not present and any(m.traits is None for m in members)
  if may_drive_own or (not present and not traits.drives):
    return
  if not traits.drives:
    raise ValueError(
      f"objective has {present[0]!r} but control.name is {name!r}: it is "
      "driven by " + " or ".join(map(repr, _drivers(present[0])))
    )
  if len(present) != 1 or present[0] not in traits.drives:
    driven = " or ".join(map(repr, traits.drives))
    raise ValueError(
      f"control.name is {name!r}, which drives {driven}: objective must have "
      f"{driven} once and no other driven member, got {tuple(config.objective)}"
    )


def _drivers(member: str) -> list[str]:
  """Return the names of the controllers that drive a member."""
  controllers = lookup.functions(control, "Controller")
  return [
    name
    for name, make in controllers.items()
    if member in (traits_of(make) or ControllerTraits()).drives
  ] or ["a controller of your own"]


def _check_surrogate(members: Sequence[NamedMethod]) -> None:
  """Raise ValueError if the chain has two surrogates."""
  surrogates = [
    m.name for m in members if m.traits and m.traits.kind == "surrogate"
  ]
  if len(surrogates) > 1:
    raise ValueError(
      f"objective has the surrogates {' and '.join(surrogates)}: it takes one "
      "surrogate, which begins the chain"
    )


def _check_rules(rules: Sequence[NamedMethod]) -> None:
  """Raise ValueError if advantage rules contradict each other."""
  declared = [rule for rule in rules if rule.traits]
  overlong = sorted(r.name for r in declared if r.traits.about_overlong)
  if len(overlong) > 1:
    raise ValueError(
      f"advantage has {' and '.join(overlong)}: a response that the filter "
      "leaves out cannot be punished; choose one"
    )
  shaping = [rule for rule in declared if rule.traits.kind == "shaping"]
  raw = [rule for rule in declared if rule.traits.raw_sides]
  deaf = [r for r in declared if r.traits.ignores_rewards] + raw
  if shaping and deaf:
    raise ValueError(
      f"advantage has {shaping[0].name}, which shapes rewards, and "
      f"{deaf[0].name}, which reads the raw verdicts: the shaping would do "
      "nothing"
    )
  for rule in declared if raw else ():
    traits: RuleTraits = rule.traits
    if traits.centres:
      raise ValueError(
        f"advantage has {rule.name}, which centres advantages, and "
        f"{raw[0].name}, whose signal the centring would remove: take grpo, "
        "dr_grpo or rloo"
      )
    if traits.keeps_one_sign and len(raw[0].traits.raw_sides) == 1:
      raise ValueError(
        f"advantage has {rule.name}, which keeps one sign, and {raw[0].name}, "
        "which has one sign only: outside the band nothing would be left"
      )


def _check_settings(config: Config, functions: Sequence[NamedMethod]) -> None:
  """Raise ValueError if settings of a method do not fit the run's."""
  surroundings = Surroundings(
    config.rollout.response_length,
    config.control.target,
    {
      f"{f.name}.{leaf}": f.settings.get(leaf)  # None: it has no such bound
      for f in functions
      if isinstance(f.traits, ObjectiveTraits) and f.traits.clips_tokens
      for leaf in ("clip_low", "clip_high", "dual_clip")
    },
    config.rollout.temperature,
  )
  for function in functions:
    if function.traits and function.traits.check:
      function.traits.check(function.settings, surroundings)


def _check_steps(config: Config, members: Sequence[NamedMethod]) -> None:
  """Raise ValueError if a member needs judged steps and there are none."""
  for member in members:
    if not (member.traits and member.traits.reads_steps):
      continue
    if not config.offline.enabled:
      raise ValueError(
        f"objective has {member.name}, but offline.enabled is False: only "
        "recorded rollouts have judged steps"
      )
    if not config.judges:
      raise ValueError(
        f"objective has {member.name}, but judges is empty: no step would be "
        "marked"
      )


def _check_aggregation(config: Config, members: Sequence[NamedMethod]) -> None:
  """Raise ValueError if a member needs another aggregation."""
  if is_outside(config.aggregation):
    return
  for member in members:
    needed = member.traits and member.traits.aggregation
    if needed and config.aggregation != needed:
      raise ValueError(
        f"aggregation must be {needed!r} with {member.name} in objective, got "
        f"{config.aggregation!r}"
      )


def _check_projection(config: Config) -> None:
  """Raise ValueError if the projection is off and has settings."""
  if config.projection.enabled:
    return  # entropy_projection checks its own arguments
  for leaf in (
    "target",
    "target_fraction",
    "upper",
    "max_relative_correction",
  ):
    value = config.projection[leaf]
    if value is not None:
      raise ValueError(
        f"projection.{leaf} is {value} but projection.enabled is False: no "
        "update would be projected"
      )


def _check_curriculum(config: Config) -> None:
  """Raise ValueError if stages have no length."""
  settings = config.curriculum
  if not settings.table:
    return
  if not settings.steps_per_stage or settings.steps_per_stage < 1:
    raise ValueError(
      "curriculum.steps_per_stage must be at least 1 rollout step, got "
      f"{settings.steps_per_stage}"
    )
