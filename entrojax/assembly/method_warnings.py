"""Warn of methods that run but probably do not do what was intended.

Each function below `warn_of_methods` yields the texts of its warnings.
"""

from collections.abc import Iterator, Sequence
import math
import warnings

from ml_collections import ConfigDict as Config

from entrojax.assembly import lookup
from entrojax.assembly.check_length import warn_of_lengths
from entrojax.assembly.named_methods import NamedMethod, controller_traits
from entrojax.system.outside import last_name


def warn_of_methods(
  config: Config,
  members: Sequence[NamedMethod],
  rules: Sequence[NamedMethod],
  own_controller: bool,
) -> None:
  """Warn of each combination of methods and settings that is probably wrong.

  Args:
    config: the settings of the run.
    members: of the objective, in order.
    rules: of the advantage, in order.
    own_controller: whether a controller takes the place of the config's.
  """
  texts = [
    *_of_settings(config),
    *_of_stages(config),
    *_of_two_weights(members, rules),
    *_of_dropped_groups(config, rules),
    *_of_inert_members(config, members),
    *_of_frozen_gates(config, (*members, *rules)),
    *_of_rounding(config, members),
    *(() if own_controller else _of_two_targets(config)),
  ]
  for text in texts:
    warnings.warn(text, stacklevel=4)
  control_lengths = {} if own_controller else _control_lengths(config)
  warn_of_lengths(config, _rule_lengths(rules), control_lengths)


def _of_settings(config: Config) -> Iterator[str]:
  """Warn of settings that probably do not do what was intended."""
  if config.training.scope == "micro" and config.training.num_microbatches == 1:
    yield (
      "training.scope is 'micro' but training.num_microbatches is 1: the only "
      "micro-batch is the whole mini-batch"
    )
  for leaf, off in (("top_k", 0), ("top_p", 1.0)):
    if config.rollout[leaf] != off:
      yield (
        f"rollout.{leaf} is {config.rollout[leaf]}: samples do not come from "
        "the policy itself, but log-probs are those of its whole distribution"
      )


def _of_stages(config: Config) -> Iterator[str]:
  """Warn of stages of a curriculum that the run does not reach."""
  settings = config.curriculum
  if not settings.table:
    return
  last = (settings.num_stages - 1) * settings.steps_per_stage
  if last >= config.num_rollout_steps:
    yield (
      f"stage {settings.num_stages} of curriculum begins after {last} rollout "
      f"steps, the run ends after num_rollout_steps = "
      f"{config.num_rollout_steps}"
    )


def _of_two_weights(
  members: Sequence[NamedMethod], rules: Sequence[NamedMethod]
) -> Iterator[str]:
  """Warn of a rule and a member that both weigh right against wrong."""
  weights = [m.name for m in members if m.traits and m.traits.weighs_right]
  raw = [rule.name for rule in rules if rule.traits and rule.traits.raw_sides]
  if weights and raw:
    yield (
      f"{weights[0]} weights right responses, and so does {raw[0]} in "
      "advantage: both weights multiply"
    )


def _of_dropped_groups(
  config: Config, rules: Sequence[NamedMethod]
) -> Iterator[str]:
  """Warn of rules that learn from the groups that dynamic sampling drops."""
  if not config.dynamic_sampling.enabled:
    return
  for rule in rules:
    if rule.traits and rule.traits.raw_sides:
      groups = " or ".join(f"all {side}" for side in rule.traits.raw_sides)
      yield (
        f"dynamic_sampling drops groups that are {groups}, and {rule.name} in "
        "advantage, which has no baseline, would learn from them"
      )


def _of_inert_members(
  config: Config, members: Sequence[NamedMethod]
) -> Iterator[str]:
  """Warn of members that have no effect with one update per rollout."""
  if config.training.updates_per_rollout > 1 or config.offline.enabled:
    return
  for member in members:
    if member.traits and member.traits.inert_on_policy:
      yield (
        f"training.updates_per_rollout is 1: {member.name} compares the policy "
        "with the one that sampled, and the two are always the same"
      )


def _of_frozen_gates(
  config: Config, functions: Sequence[NamedMethod]
) -> Iterator[str]:
  """Warn of gates that read the entropy of rollouts that are recorded."""
  if not config.offline.enabled:
    return
  for function in functions:
    if function.traits and function.traits.gated_by_rollout:
      bounds = " and ".join(
        f"{function.name}.{leaf}" for leaf in function.traits.entropies
      )
      yield (
        f"offline.enabled is True: {function.name} compares {bounds} with the "
        "entropy of the recorded rollouts, which does not follow the policy: "
        "it would not hold the entropy there"
      )


def _of_rounding(
  config: Config, members: Sequence[NamedMethod]
) -> Iterator[str]:
  """Warn of members that take the rounding of bfloat16 for a change."""
  several = config.training.updates_per_rollout > 1
  if config.model.dtype == "float32" or config.offline.enabled or not several:
    return  # the trainer itself scores recorded rollouts
  for member in members:
    if member.traits and getattr(member.traits, "compares_entropies", False):
      yield (
        f"model.dtype is {config.model.dtype}: {member.name} compares the "
        "entropies of trainer and sampler, which round differently, so that "
        "it also acts on tokens whose entropy has not moved"
      )


def _of_two_targets(config: Config) -> Iterator[str]:
  """Warn if the projection and a controller hold the entropy elsewhere."""
  projection, target = config.projection, config.control.target
  if not projection.enabled or target is None or projection.target == target:
    return
  key = "target" if projection.target is not None else "target_fraction"
  yield (
    f"projection.{key} is {projection[key]} and control.target is {target}: "
    "the projection and the controller would draw the entropy to different "
    "targets"
  )


def _rule_lengths(rules: Sequence[NamedMethod]) -> dict[str, int]:
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
