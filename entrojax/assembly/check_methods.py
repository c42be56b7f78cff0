"""Check that the methods of a config fit together and have an effect.

`check_methods` raises ValueError if two settings contradict each other, and
warns of combinations that run but probably do not do what was intended.
`check_overrides` raises it for a setting on the command line that belongs to a
method which the config does not use, and for a control.target that no
controller reads.
"""

from collections.abc import Collection
import inspect
import warnings

from ml_collections import ConfigDict as Config

from entrojax import advantages, control, judges, objectives
from entrojax.assembly import lookup
from entrojax.assembly.own_methods import NO_METHODS, OwnMethods
from entrojax.judges import segmentation
from entrojax.system.outside import is_outside, last_name

# The chain's members that take a controller's coefficient, each with the
# controllers whose coefficient has the meaning that the member expects.
_DRIVEN = {
  "entropic": ("entropic_pi",),
  "adaptive_entropy": ("adaptive_coefficient",),
  "positive_reweighting": (
    "entropy_guided",
    "stage_schedule",
    "epoch_schedule",
  ),
  "adaptive_stare": ("stare_weights",),
}


def check_methods(config: Config, own: OwnMethods = NO_METHODS) -> None:
  """Check the methods that a config names.

  Warns of combinations that run but probably do not do what was intended.
  Functions of the user's own code may do anything, so that a rule about one of
  ours does not concern them.

  Args:
    config: the settings of the run.
    own: functions that take the place of those that the config names.

  Raises:
    ValueError: a setting contradicts another; the message names the first key.
  """
  if own.controller is None:
    _check_control(config)
  _check_advantage(config)
  _check_stare_target(config)
  _check_projection(config)
  _check_curriculum(config)
  _check_steps(config)
  _check_clip_range(config)
  sequence_members = {"gspo", "bcpg"} & set(config.objective)
  is_other = config.aggregation != "seq-mean-token-mean"
  if sequence_members and is_other and not is_outside(config.aggregation):
    raise ValueError(
      "aggregation must be 'seq-mean-token-mean' with "
      f"{min(sequence_members)} in objective, got {config.aggregation!r}"
    )
  _warn_of_settings(config)
  _warn_of_inert_members(config)


def check_overrides(config: Config, keys: Collection[str]) -> None:
  """Check that the settings of methods on the command line have an effect.

  Args:
    config: the config, with the command line's settings in it.
    keys: the 'section.leaf' of each setting on the command line.

  Raises:
    ValueError: a setting of a method that is not chosen, or a target without a
      controller that holds it, would do nothing. The message names the first.
  """
  chosen = (*config.objective, *config.advantage, config.control.name)
  enabled = set(map(last_name, chosen))
  if "seed_grpo" in enabled:
    enabled.add("clusters")
  if config.offline.enabled:
    enabled |= set(map(last_name, (*config.judges, config.segmentation.name)))
  switches = {
    "dynamic_sampling.enabled": config.dynamic_sampling.enabled,
    "projection.enabled": config.projection.enabled,
    "curriculum.table": config.curriculum.table,
    "offline.enabled": config.offline.enabled,
  }
  sections = {key: key.partition(".")[0] for key in switches}
  enabled |= {sections[key] for key, on in switches.items() if on}
  if "control.target" in keys and not _holds_entropy(config):
    raise ValueError(
      f"control.target is set and would do nothing: control.name = "
      f"{config.control.name!r} holds no entropy"
    )
  methods = {"clusters", *sections.values()}
  for module in (objectives, advantages, control, judges, segmentation):
    methods |= set(lookup.names(module))
  for key in keys:
    section, _, leaf = key.partition(".")
    if leaf and section in methods - enabled and key not in switches:
      raise ValueError(
        f"{key} is set and would do nothing: {section!r} is not part of "
        f"advantage = {tuple(config.advantage)}, objective = "
        f"{tuple(config.objective)} or control.name = {config.control.name!r}"
      )


def _holds_entropy(config: Config) -> bool:
  """Return whether the controller has a target."""
  make = lookup.function(
    control, config.control.name, "control.name", "Controller"
  )
  return "target" in inspect.signature(make).parameters


def _check_control(config: Config) -> None:
  """Raise ValueError if the controller lacks a setting or its member."""
  name, target = config.control.name, config.control.target
  holds_entropy = _holds_entropy(config)
  if target is not None and name == "no_control":
    raise ValueError(
      f"control.target is {target} but control.name is {name!r}: nothing would "
      "hold the entropy there"
    )
  if target is None and holds_entropy:
    raise ValueError("control.target is not set: the entropy to hold, in nats")
  for leaf, value in lookup.settings(config, name).items():
    if value is None:
      raise ValueError(f"{last_name(name)}.{leaf} is not set")
  if is_outside(name):
    return  # it may drive any member
  present = [m for m in config.objective if m in _DRIVEN]
  driven = [m for m, controllers in _DRIVEN.items() if name in controllers]
  may_drive_own = not present and any(map(is_outside, config.objective))
  if present == driven or may_drive_own:
    return
  if driven:
    raise ValueError(
      f"control.name is {name!r}, which drives {driven[0]!r}: objective must "
      f"have {driven[0]!r} once and no other driven member, got "
      f"{tuple(config.objective)}"
    )
  raise ValueError(
    f"objective has {present[0]!r} but control.name is {name!r}: it is driven "
    "by " + " or ".join(repr(c) for c in _DRIVEN[present[0]])
  )


def _check_advantage(config: Config) -> None:
  """Raise ValueError if rules or members contradict each other."""
  for key in ("advantage", "objective"):
    names = tuple(map(last_name, config[key]))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
      raise ValueError(f"{key} names {twice[0]!r} twice: {names}")
  rules = set(config.advantage)
  if {"overlong_penalty", "overlong_filter"} <= rules:
    raise ValueError(
      "advantage has overlong_filter and overlong_penalty: the filter removes "
      "the responses that the penalty is for; choose one"
    )
  signed = sorted({"psr", "nsr", "w_reinforce"} & rules)
  for rule in ("overlong_penalty", "unlikeliness"):
    if signed and rule in rules:
      raise ValueError(
        f"advantage has {rule}, which shapes rewards, and {signed[0]}, which "
        "reads the raw verdicts: the shaping would do nothing"
      )
  if signed and "grpo_dropout" in rules:
    raise ValueError(
      f"advantage has grpo_dropout, which centres advantages, and {signed[0]}, "
      "whose signal the centring would remove: take grpo, dr_grpo or rloo"
    )
  if {"psr", "nsr"} & rules and "entrocraft" in rules:
    raise ValueError(
      f"advantage has entrocraft, which keeps one sign, and {signed[0]}, which "
      "has one sign only: outside the band nothing would be left"
    )
  penalty, longest = config.overlong_penalty, config.rollout.response_length
  free = penalty.max_length - penalty.cache_length
  if "overlong_penalty" in rules and free >= longest:
    raise ValueError(
      f"overlong_penalty.max_length - cache_length = {free} tokens are free, "
      f"and no response has more than rollout.response_length = {longest}: the "
      "penalty never acts"
    )


def _check_steps(config: Config) -> None:
  """Raise ValueError if the objective needs judged steps and has none."""
  name = "negative_sample_augmentation"
  if name not in config.objective:
    return
  if not config.offline.enabled:
    raise ValueError(
      f"objective has {name}, but offline.enabled is False: only recorded "
      "rollouts have judged steps"
    )
  if not config.judges:
    raise ValueError(
      f"objective has {name}, but judges is empty: no step would be marked"
    )


def _check_clip_range(config: Config) -> None:
  """Raise ValueError if steer and its surrogate clip differently."""
  if "steer" not in config.objective or config.steer.form != "theorem":
    return
  for name in {"ppo_clip", "ce_gppo"} & set(config.objective):
    for leaf in ("clip_low", "clip_high"):
      if config.steer[leaf] != config[name][leaf]:
        raise ValueError(
          f"steer.{leaf} = {config.steer[leaf]} must be {name}.{leaf} = "
          f"{config[name][leaf]}"
        )


def _check_stare_target(config: Config) -> None:
  """Raise ValueError if adaptive_stare and its controller disagree."""
  if "adaptive_stare" not in config.objective:
    return
  if config.adaptive_stare.target != config.control.target:
    raise ValueError(
      f"adaptive_stare.target = {config.adaptive_stare.target} must be "
      f"control.target = {config.control.target}"
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
  _warn_of_dropped_groups(config)
  one_sided = {"psr", "nsr", "w_reinforce"} & set(config.advantage)
  if one_sided and "positive_reweighting" in config.objective:
    warnings.warn(
      f"positive_reweighting weights right responses, and so does "
      f"{min(one_sided)} in advantage: both weights multiply",
      stacklevel=4,
    )


def _warn_of_dropped_groups(config: Config) -> None:
  """Warn of rules that learn from the groups that dynamic sampling drops."""
  if not config.dynamic_sampling.enabled:
    return
  learns_from = {
    "nsr": "all wrong",
    "psr": "all right",
    "w_reinforce": "all right or all wrong",
  }
  for rule, groups in learns_from.items():
    if rule in config.advantage:
      warnings.warn(
        f"dynamic_sampling drops groups that are {groups}, and {rule} in "
        "advantage, which has no baseline, would learn from them",
        stacklevel=5,
      )


def _warn_of_inert_members(config: Config) -> None:
  """Warn of members that have no effect with one update per rollout."""
  if config.training.updates_per_rollout > 1 or config.offline.enabled:
    return
  for name in (
    "ppo_clip",
    "bcpg",
    "gspo",
    "cispo",
    "ce_gppo",
    "kl_cov",
    "erc",
    "sent_released",
  ):
    if name in config.objective:
      warnings.warn(
        f"training.updates_per_rollout is 1: {name} compares the policy with "
        "the one that sampled, and the two are always the same",
        stacklevel=4,
      )
