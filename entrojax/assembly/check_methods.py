"""Check that the methods of a config fit together and have an effect.

`check_methods` raises ValueError if two settings contradict each other, and
warns of combinations that run but probably do not do what was intended.
`check_overrides` raises it for a setting on the command line that belongs to a
method which the config does not use, and for a control.target that no
controller reads.

Nothing here decides by the name of a method. The functions that the config
names declare what they do (traits.py); one without traits may do anything, so
that most rules do not concern it.
"""

from collections.abc import Collection, Iterator, Sequence
import inspect
import math
from types import ModuleType
from typing import Any, NamedTuple
import warnings

from ml_collections import ConfigDict as Config

from entrojax import advantages, control, objectives
from entrojax.arguments import require
from entrojax.assembly import lookup, sections
from entrojax.assembly.check_length import warn_of_lengths
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


class _Function(NamedTuple):
  """A function that a config names."""

  name: str  # of its section
  traits: Any  # what it declares; None: nothing
  settings: dict[str, Any]


def check_methods(config: Config, own: OwnMethods = NO_METHODS) -> None:
  """Check the methods that a config names.

  Warns of combinations that run but probably do not do what was intended.

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
    each(_functions, config, "objective", bool(own.members))
    each(_functions, config, "advantage", bool(own.rules))
    if own.controller is None:
      each(_controller, config)
    each(_check_projection, config)
    each(_check_curriculum, config)
  members = _functions(config, "objective", bool(own.members))
  rules = _functions(config, "advantage", bool(own.rules))
  with gathered() as each:
    if own.controller is None:
      each(_check_control, config, members)
    each(_check_surrogate, members)
    each(_check_rules, rules)
    each(_check_settings, config, (*members, *rules))
    each(_check_steps, config, members)
    each(_check_aggregation, config, members)
  control_lengths = {} if own.controller else _control_lengths(config)
  _warn_of_settings(config)
  _warn_of_two_weights(members, rules)
  _warn_of_dropped_groups(config, rules)
  _warn_of_inert_members(config, members)
  _warn_of_frozen_gates(config, (*members, *rules))
  _warn_of_rounding(config, members)
  if own.controller is None:
    _warn_of_two_targets(config)
  warn_of_lengths(config, _rule_lengths(rules), control_lengths)


_ROOMS: dict[str, tuple[ModuleType, str]] = {
  "objective": (objectives, "Objective"),
  "advantage": (advantages, "AdvantageRule"),
}


def _functions(
  config: Config, key: str, are_passed: bool = False
) -> Sequence[_Function]:
  """Return the functions that a setting names, in order.

  Args:
    config: the settings of the run.
    key: "objective" or "advantage".
    are_passed: whether the caller passed the functions, so that their names
      cannot be looked up.
  """
  return [
    _Function(
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
    for function in _functions(config, key, are_passed):
      for leaf in getattr(function.traits, "entropies", ()):
        if leaf in function.settings:
          yield f"{function.name}.{leaf}", function.settings[leaf]


def _traits(name: str, key: str) -> Any:
  """Return what a function that a setting names declares."""
  room, returns = _ROOMS[key]
  return traits_of(lookup.function(room, name, key, returns))


def check_overrides(config: Config, keys: Collection[str]) -> None:
  """Check that settings on the command line have an effect.

  Args:
    config: the config, with the command line's settings in it.
    keys: the 'section.leaf' of each setting on the command line.

  Raises:
    ValueError: a setting of a method that is not chosen, a target without a
      controller that holds it, or the refilling of no slots would do nothing.
      The message names them all.
  """
  chosen = (*config.objective, *config.advantage, config.control.name)
  enabled = set(map(last_name, chosen))
  if clusters_are_read(config):
    enabled.add("clusters")
  if config.offline.enabled:
    enabled |= set(map(last_name, (*config.judges, config.segmentation.name)))
  switches = {
    "dynamic_sampling.enabled": config.dynamic_sampling.enabled,
    "projection.enabled": config.projection.enabled,
    "curriculum.table": config.curriculum.table,
    "offline.enabled": config.offline.enabled,
  }
  switched = {key: key.partition(".")[0] for key in switches}
  enabled |= {switched[key] for key, on in switches.items() if on}
  methods = {"clusters", *switched.values(), *sections.method_names()}
  with gathered() as each:
    each(
      require,
      "control.target" not in keys or not _drives_blindly(config),
      f"control.target is set and would do nothing: control.name = "
      f"{config.control.name!r} holds no entropy",
    )
    each(
      require,
      "rollout.refill_every" not in keys or config.rollout.num_slots > 0,
      "rollout.refill_every is set and would do nothing: rollout.num_slots is "
      "0, so that no slot is refilled",
    )
    for key in keys:
      section, _, leaf = key.partition(".")
      each(
        require,
        not leaf or section not in methods - enabled or key in switches,
        f"{key} is set and would do nothing: {section!r} is not part of "
        f"advantage = {tuple(config.advantage)}, objective = "
        f"{tuple(config.objective)} or control.name = {config.control.name!r}",
      )


def clusters_are_read(config: Config) -> bool:
  """Return whether an advantage rule may read clusters of answers."""
  for name in config.advantage:
    traits = None if is_outside(name) else _traits(name, "advantage")
    if traits is None or traits.reads_clusters:
      return True
  return False


def controller_traits(config: Config) -> ControllerTraits | None:
  """Return what the controller declares; None if it declares nothing."""
  return traits_of(_controller(config))


def _controller(config: Config) -> Any:
  """Return the factory of the controller."""
  return lookup.function(
    control, config.control.name, "control.name", "Controller"
  )


def _holds_entropy(config: Config) -> bool:
  """Return whether the controller has a target."""
  return "target" in inspect.signature(_controller(config)).parameters


def _drives_blindly(config: Config) -> bool:
  """Return whether the controller drives a member, and has no target.

  If it drives nothing, `check_methods` refuses a target.
  """
  traits = controller_traits(config)
  drives = traits is None or bool(traits.drives)
  return drives and not _holds_entropy(config)


def _check_control(config: Config, members: Sequence[_Function]) -> None:
  """Raise ValueError if the controller lacks a setting or its member."""
  name, target = config.control.name, config.control.target
  holds_entropy, traits = _holds_entropy(config), controller_traits(config)
  if target is not None and traits is not None and not traits.drives:
    raise ValueError(
      f"control.target is {target} but control.name is {name!r}: nothing would "
      "hold the entropy there"
    )
  if target is None and holds_entropy:
    raise ValueError("control.target is not set: the entropy to hold, in nats")
  for leaf, value in lookup.settings(config, name).items():
    if value is None:
      raise ValueError(f"{last_name(name)}.{leaf} is not set")
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


def _check_names(config: Config, key: str) -> None:
  """Raise ValueError if a setting names two functions with one last name."""
  names = tuple(map(last_name, config[key]))
  twice = sorted({name for name in names if names.count(name) > 1})
  if twice:
    raise ValueError(f"{key} names {twice[0]!r} twice: {names}")


def _check_surrogate(members: Sequence[_Function]) -> None:
  """Raise ValueError if the chain has two surrogates."""
  surrogates = [
    m.name for m in members if m.traits and m.traits.kind == "surrogate"
  ]
  if len(surrogates) > 1:
    raise ValueError(
      f"objective has the surrogates {' and '.join(surrogates)}: it takes one "
      "surrogate, which begins the chain"
    )


def _check_rules(rules: Sequence[_Function]) -> None:
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


def _check_settings(config: Config, functions: Sequence[_Function]) -> None:
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


def _check_steps(config: Config, members: Sequence[_Function]) -> None:
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


def _check_aggregation(config: Config, members: Sequence[_Function]) -> None:
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
  """Raise ValueError if stages have no length; warn of unreachable stages."""
  settings = config.curriculum
  if not settings.table:
    return
  if not settings.steps_per_stage or settings.steps_per_stage < 1:
    raise ValueError(
      "curriculum.steps_per_stage must be at least 1 rollout step, got "
      f"{settings.steps_per_stage}"
    )
  last = (settings.num_stages - 1) * settings.steps_per_stage
  if last >= config.num_rollout_steps:
    warnings.warn(
      f"stage {settings.num_stages} of curriculum begins after {last} rollout "
      f"steps, the run ends after num_rollout_steps = "
      f"{config.num_rollout_steps}",
      stacklevel=4,
    )


def _rule_lengths(rules: Sequence[_Function]) -> dict[str, int]:
  """Return the rollout steps in which rules change, by their settings."""
  leaves = {rule.name: getattr(rule.traits, "length", "") for rule in rules}
  return {
    f"{rule.name}.{leaves[rule.name]}": rule.settings[leaves[rule.name]]
    for rule in rules
    if leaves[rule.name]
  }


def _control_lengths(config: Config) -> dict[str, int]:
  """Return the optimizer steps in which the controller changes by itself."""
  leaves = getattr(controller_traits(config), "length", ())
  if not leaves:
    return {}
  name = last_name(config.control.name)
  settings = lookup.settings(config, config.control.name)
  key = " x ".join(f"{name}.{leaf}" for leaf in leaves)
  return {key: math.prod(settings[leaf] for leaf in leaves)}


def _warn_of_settings(config: Config) -> None:
  """Warn of settings that probably do not do what was intended."""
  if config.training.scope == "micro" and config.training.num_microbatches == 1:
    warnings.warn(
      "training.scope is 'micro' but training.num_microbatches is 1: the only "
      "micro-batch is the whole mini-batch",
      stacklevel=4,
    )
  for leaf, off in (("top_k", 0), ("top_p", 1.0)):
    if config.rollout[leaf] != off:
      warnings.warn(
        f"rollout.{leaf} is {config.rollout[leaf]}: samples do not come from "
        "the policy itself, but log-probs are those of its whole distribution",
        stacklevel=4,
      )


def _warn_of_two_weights(
  members: Sequence[_Function], rules: Sequence[_Function]
) -> None:
  """Warn of a rule and a member that both weigh right against wrong."""
  weights = [m.name for m in members if m.traits and m.traits.weighs_right]
  raw = [rule.name for rule in rules if rule.traits and rule.traits.raw_sides]
  if weights and raw:
    warnings.warn(
      f"{weights[0]} weights right responses, and so does {raw[0]} in "
      "advantage: both weights multiply",
      stacklevel=4,
    )


def _warn_of_dropped_groups(config: Config, rules: Sequence[_Function]) -> None:
  """Warn of rules that learn from the groups that dynamic sampling drops."""
  if not config.dynamic_sampling.enabled:
    return
  for rule in rules:
    if rule.traits and rule.traits.raw_sides:
      groups = " or ".join(f"all {side}" for side in rule.traits.raw_sides)
      warnings.warn(
        f"dynamic_sampling drops groups that are {groups}, and {rule.name} in "
        "advantage, which has no baseline, would learn from them",
        stacklevel=4,
      )


def _warn_of_inert_members(
  config: Config, members: Sequence[_Function]
) -> None:
  """Warn of members that have no effect with one update per rollout."""
  if config.training.updates_per_rollout > 1 or config.offline.enabled:
    return
  for member in members:
    if member.traits and member.traits.inert_on_policy:
      warnings.warn(
        f"training.updates_per_rollout is 1: {member.name} compares the policy "
        "with the one that sampled, and the two are always the same",
        stacklevel=4,
      )


def _warn_of_frozen_gates(
  config: Config, functions: Sequence[_Function]
) -> None:
  """Warn of gates that read the entropy of rollouts that are recorded."""
  if not config.offline.enabled:
    return
  for function in functions:
    if function.traits and function.traits.gated_by_rollout:
      bounds = " and ".join(
        f"{function.name}.{leaf}" for leaf in function.traits.entropies
      )
      warnings.warn(
        f"offline.enabled is True: {function.name} compares {bounds} with the "
        "entropy of the recorded rollouts, which does not follow the policy: "
        "it would not hold the entropy there",
        stacklevel=4,
      )


def _warn_of_rounding(config: Config, members: Sequence[_Function]) -> None:
  """Warn of members that take the rounding of bfloat16 for a change."""
  several = config.training.updates_per_rollout > 1
  if config.model.dtype == "float32" or config.offline.enabled or not several:
    return  # the trainer itself scores recorded rollouts
  for member in members:
    if member.traits and getattr(member.traits, "compares_entropies", False):
      warnings.warn(
        f"model.dtype is {config.model.dtype}: {member.name} compares the "
        "entropies of trainer and sampler, which round differently, so that "
        "it also acts on tokens whose entropy has not moved",
        stacklevel=4,
      )


def _warn_of_two_targets(config: Config) -> None:
  """Warn if the projection and a controller hold the entropy elsewhere."""
  projection, target = config.projection, config.control.target
  if not projection.enabled or target is None or projection.target == target:
    return
  key = "target" if projection.target is not None else "target_fraction"
  warnings.warn(
    f"projection.{key} is {projection[key]} and control.target is {target}: "
    "the projection and the controller would draw the entropy to different "
    "targets",
    stacklevel=4,
  )
