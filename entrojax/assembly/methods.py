"""Build the methods that a config names.

These are the advantage rules, the objective, the controller, the optimizer with
its learning-rate schedule and projection, and for offline runs the segmenter
and the judges of steps. `make_recipe` builds all but the last two. It also
traces the rules and the objective once, so that their errors appear before the
run.
"""

from collections.abc import Callable, Mapping
import functools
import inspect
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict as Config
import optax

from entrojax import advantages, control, judges, objectives
from entrojax.assembly import lookup
from entrojax.assembly.guards import (
  check_controller,
  guard_aggregation,
  guard_judge,
  guard_objective,
  guard_rule,
  guard_segmenter,
)
from entrojax.assembly.own_methods import NO_METHODS, OwnMethods
from entrojax.judges import segmentation
from entrojax.judges.segmentation import Segmenter
from entrojax.objectives import aggregation
from entrojax.objectives.reading import check_reads, placeholder_statistics
from entrojax.objectives.reference_kl import MissingReferenceError
from entrojax.system.outside import is_outside, last_name
from entrojax.types import (
  AdvantageRule,
  Aggregation,
  Controller,
  Objective,
  Responses,
  ScoredTokens,
  StepJudge,
  Task,
)
from entrojax.update.optimizer import (
  Optimizer,
  learning_rate_schedule,
  make_optimizer,
)
from entrojax.update.projection import adam_preconditioner, entropy_projection


class Recipe(NamedTuple):
  """The methods of a run."""

  members: Mapping[str, Objective]  # the members of the chain, in order
  objective: Objective  # the chain of these members
  rules: Mapping[str, AdvantageRule]  # the advantage rules, in order
  optimizer: Optimizer  # holds the controller
  learning_rate: optax.Schedule

  @property
  def needs_reference(self) -> bool:
    """Whether the objective reads the reference model's log-probs."""
    return needs_reference(self.objective)


def make_recipe(config: Config, own: OwnMethods = NO_METHODS) -> Recipe:
  """Build the methods that a config names.

  Args:
    config: a checked config.
    own: functions that take the place of those that the config names.

  Raises:
    ValueError: a name is unknown, or a setting cannot work.
  """
  members = _guard_members(own) or make_members(config)
  objective = objectives.chain(*members.values())
  check_reads(members, on_policy=not config.offline.enabled)
  has_own = any(map(is_outside, config.objective))
  _try_objective(objective, may_lack_surrogate=has_own)
  rules = _guard_rules(own) or make_advantage_rules(config)
  _try_advantage_rules(rules, config)
  optimizer, schedule = make_scheduled_optimizer(
    config.optimizer,
    own.controller or make_controller(config),
    _make_projection(config),
  )
  return Recipe(members, objective, rules, optimizer, schedule)


def _guard_members(own: OwnMethods) -> Mapping[str, Objective]:
  """Return the members that a caller passed, with guards."""
  return {
    name: guard_objective(member, f"objective: {name}")
    for name, member in own.members
  }


def _guard_rules(own: OwnMethods) -> Mapping[str, AdvantageRule]:
  """Return the rules that a caller passed, with guards."""
  return {
    name: guard_rule(rule, f"advantage: {name}") for name, rule in own.rules
  }


def outside_functions(config: Config, own: OwnMethods) -> tuple[Callable, ...]:
  """Import the functions of the user's own code that an update depends on.

  Those in `own` need no import. A file that has changed gives other functions.
  Runs of one process therefore share an update only while it has not.
  """
  controllers = () if own.controller else (config.control.name,)
  keys = {
    "objective": (() if own.members else config.objective, "Objective"),
    "advantage": (() if own.rules else config.advantage, "AdvantageRule"),
    "control.name": (controllers, "Controller"),
    "aggregation": ((config.aggregation,), "Aggregation"),
  }
  return tuple(
    lookup.outside_function(name, key, returns)
    for key, (names, returns) in keys.items()
    for name in names
    if is_outside(name)
  )


def make_members(config: Config) -> Mapping[str, Objective]:
  """Build the members of the chain that config.objective names, in order."""
  members = {}
  for name in config.objective:
    make = lookup.function(objectives, name, "objective", "Objective")
    member = lookup.call(make, name, lookup.settings(config, name))
    if is_outside(name):
      member = guard_objective(member, f"objective: {name}")
    members[last_name(name)] = member
  return members


def make_advantage_rules(config: Config) -> Mapping[str, AdvantageRule]:
  """Build the rules that config.advantage names, in order."""
  rules = {}
  for name in config.advantage:
    make = lookup.function(advantages, name, "advantage", "AdvantageRule")
    rule = lookup.call(make, name, lookup.settings(config, name))
    if is_outside(name):
      rule = guard_rule(rule, f"advantage: {name}")
    rules[last_name(name)] = rule
  return rules


def make_aggregation(config: Config) -> Aggregation:
  """Build the aggregation that config.aggregation names."""
  name = config.aggregation
  if not is_outside(name):
    return aggregation.by_name(name, length=config.rollout.response_length)
  make = lookup.outside_function(name, "aggregation", "Aggregation")
  aggregate = lookup.call(make, name, lookup.settings(config, name))
  return guard_aggregation(aggregate, f"aggregation: {name}")


def _try_advantage_rules(
  rules: Mapping[str, AdvantageRule], config: Config
) -> None:
  """Trace the rules on one group, so that errors appear before the run."""
  group = jnp.zeros((1, config.rollout.group_size), jnp.float32)
  responses = Responses(
    rewards=group,
    correctness=group,
    log_probs=group,
    lengths=group,
    truncated=group,
    clusters=group.astype(jnp.int32),
    entropy=jnp.float32(0.0),
    rollout_step=jnp.int32(0),
  )
  jax.eval_shape(functools.partial(advantages.apply_rules, rules), responses)


def make_segmenter(config: Config) -> Segmenter:
  """Build the segmenter that config.segmentation names."""
  name = config.segmentation.name
  make = lookup.function(segmentation, name, "segmentation.name", "Segmenter")
  segment = lookup.call(make, name, lookup.settings(config, name))
  if is_outside(name):
    segment = guard_segmenter(segment, f"segmentation.name: {name}")
  return segment


def make_judges(
  config: Config, task: Task, *, cache: Path
) -> Mapping[str, StepJudge]:
  """Build the judges of steps that config.judges names.

  Args:
    config: a checked config.
    task: the task, whose judge_steps is the judge `oracle`.
    cache: the file in which the judge `chat_model` keeps the answers it gets.
  """
  by_name = {}
  for name in config.judges:
    make = lookup.function(judges, name, "judges", "StepJudge")
    resources = {"task": task, "cache": cache}
    needed = inspect.signature(make).parameters.keys() & resources.keys()
    arguments = lookup.settings(config, name)
    arguments |= {key: resources[key] for key in needed}
    judge = lookup.call(make, name, arguments)
    if is_outside(name):
      judge = guard_judge(judge, f"judges: {name}")
    by_name[last_name(name)] = judge
  return by_name


def needs_reference(objective: Objective) -> bool:
  """Return whether a member of the chain reads the reference's log-probs."""
  try:
    _try_objective(objective, with_reference=False, may_lack_surrogate=True)
  except MissingReferenceError:
    return True
  return False


def _try_objective(
  objective: Objective,
  *,
  with_reference: bool = True,
  may_lack_surrogate: bool = False,
) -> None:
  """Trace the chain on one token, so that errors appear before the run.

  Args:
    objective: the chain.
    with_reference: whether the token has a reference log-prob.
    may_lack_surrogate: whether the chain may report no actor/pg_loss, as a
      surrogate of the user's own code might.
  """
  token = jnp.zeros((1, 1), jnp.float32)
  tokens = ScoredTokens(
    log_probs=token,
    old_log_probs=token,
    entropy=token,
    old_entropy=token,
    advantages=token,
    mask=token,
    ref_log_probs=token if with_reference else None,
    step_ok=token,
    statistics=placeholder_statistics(objective, token),
  )
  _, metrics = jax.eval_shape(
    lambda t: objectives.policy_loss(
      objective, aggregation.token_mean, t, coefficient=0.0
    ),
    tokens,
  )
  if "actor/pg_loss" not in metrics and not may_lack_surrogate:
    raise ValueError(
      "objective has no surrogate, so the policy would not learn from rewards: "
      "begin it with a surrogate, such as 'ppo_clip'"
    )


def make_controller(config: Config) -> Controller:
  """Build the controller that config.control names."""
  name, target = config.control.name, config.control.target
  make = lookup.function(control, name, "control.name", "Controller")
  settings = lookup.settings(config, name)
  if "target" in inspect.signature(make).parameters:
    settings["target"] = target
  controller = lookup.call(make, name, settings)
  if is_outside(name):
    check_controller(controller, f"control.name: {name}")
  return controller


def make_scheduled_optimizer(
  settings: Mapping[str, Any],
  controller: Controller,
  wrap: Callable[..., optax.GradientTransformationExtraArgs] | None = None,
) -> tuple[Optimizer, optax.Schedule]:
  """Build the optimizer and its learning-rate schedule.

  Args:
    settings: config.optimizer.
    controller: the run's controller, whose state the optimizer holds.
    wrap: wraps AdamW, see make_optimizer.
  """
  settings = dict(settings)
  schedule = learning_rate_schedule(
    peak=settings.pop("learning_rate"),
    warmup_steps=settings.pop("warmup_steps"),
    decay_steps=settings.pop("decay_steps"),
    end_fraction=settings.pop("end_fraction"),
  )
  optimizer = make_optimizer(controller, schedule, projection=wrap, **settings)
  return optimizer, schedule


def _make_projection(config: Config):
  """Build the wrapper that projects AdamW's steps; None if it is off."""
  settings = dict(config.projection)
  if not settings.pop("enabled"):
    return None
  return functools.partial(
    entropy_projection,
    precondition=adam_preconditioner(
      b2=config.optimizer.b2, eps=config.optimizer.eps
    ),
    **settings,
  )
