"""Build the methods that a config names.

These are the advantage rules, the objective, the controller, the optimizer with
its learning-rate schedule and projection, and for offline runs the segmenter
and the judges of steps. `make_recipe` builds all but the last two. It also
tries the rules and the objective (trials.py).
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import inspect
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
from ml_collections import ConfigDict as Config
import optax

from entrojax import advantages, control, judges, objectives
from entrojax.assembly import lookup, scheduling
from entrojax.assembly.guards import (
  check_controller,
  guard_aggregation,
  guard_judge,
  guard_objective,
  guard_rule,
  guard_segmenter,
)
from entrojax.assembly.named_methods import controller_traits
from entrojax.assembly.own_methods import NO_METHODS, OwnMethods
from entrojax.assembly.trials import (
  needs_reference,
  trace_objective,
  try_members,
  try_rules,
  try_without_controller,
  warn_of_unread_coefficient,
)
from entrojax.judges import segmentation
from entrojax.judges.segmentation import Segmenter
from entrojax.masking import scalar_metric
from entrojax.objectives import aggregation
from entrojax.objectives.reading import check_reads
from entrojax.schedules import Scheduled, at, change, fed
from entrojax.system.outside import is_outside, last_name
from entrojax.traits import traits_of
from entrojax.types import (
  AdvantageRule,
  Aggregation,
  ApplyRules,
  Array,
  Controller,
  Objective,
  Responses,
  StepJudge,
  Task,
)
from entrojax.update.corrected_step import adam_preconditioner
from entrojax.update.optimizer import (
  Optimizer,
  Projection,
  make_optimizer,
)
from entrojax.update.projection import entropy_projection


class Recipe(NamedTuple):
  """The methods of a run."""

  # the members of the chain, in order
  members: Mapping[str, Objective | Scheduled[Objective]]
  objective: Objective  # the chain of these members, as it is at the start
  # the advantage rules, in order
  rules: Mapping[str, AdvantageRule | Scheduled[AdvantageRule]]
  reward_parts: tuple[str, ...]  # names of the parts of rewards they read
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
  at_start = {name: at(member, 0) for name, member in members.items()}
  check_reads(at_start, on_policy=not config.offline.enabled)
  try_members(at_start, _kinds(config, own))
  if own.controller is None and not _sets_coefficient(config):
    try_without_controller(at_start, config.control.name)
  objective = objectives.chain(*at_start.values())
  if own.controller is not None or _sets_coefficient(config):
    warn_of_unread_coefficient(objective, config.control.name)
  rules = _guard_rules(own) or make_advantage_rules(config)
  parts = try_rules(
    {n: at(r, 0) for n, r in rules.items()}, config.rollout.group_size
  )
  optimizer, schedule = make_scheduled_optimizer(
    config.optimizer,
    own.controller or make_controller(config),
    _make_projection(config),
  )
  return Recipe(members, objective, rules, parts, optimizer, schedule)


def _guard_members(
  own: OwnMethods,
) -> Mapping[str, Objective | Scheduled[Objective]]:
  """Return the members that a caller passed, with guards."""
  return {
    name: change(member, guard_objective, f"objective: {name}")
    for name, member in own.members
  }


def _guard_rules(
  own: OwnMethods,
) -> Mapping[str, AdvantageRule | Scheduled[AdvantageRule]]:
  """Return the rules that a caller passed, with guards."""
  return {
    name: change(rule, guard_rule, f"advantage: {name}")
    for name, rule in own.rules
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


def make_members(
  config: Config,
) -> Mapping[str, Objective | Scheduled[Objective]]:
  """Build the members of the chain that config.objective names, in order."""
  members = {}
  for name in config.objective:
    make = lookup.function(objectives, name, "objective", "Objective")
    member = scheduling.build(make, name, lookup.settings(config, name))
    if is_outside(name):
      member = change(member, guard_objective, f"objective: {name}")
    members[last_name(name)] = member
  return members


def make_advantage_rules(
  config: Config,
) -> Mapping[str, AdvantageRule | Scheduled[AdvantageRule]]:
  """Build the rules that config.advantage names, in order."""
  rules = {}
  for name in config.advantage:
    make = lookup.function(advantages, name, "advantage", "AdvantageRule")
    rule = scheduling.build(make, name, lookup.settings(config, name))
    if is_outside(name):
      rule = change(rule, guard_rule, f"advantage: {name}")
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


def _kinds(config: Config, own: OwnMethods) -> Mapping[str, str | None]:
  """Return the kind of each member; None if the member does not declare it."""
  if own.members:
    return {name: None for name, _ in own.members}
  kinds = {}
  for name in config.objective:
    make = lookup.function(objectives, name, "objective", "Objective")
    kinds[last_name(name)] = getattr(traits_of(make), "kind", None)
  return kinds


def _sets_coefficient(config: Config) -> bool:
  """Return whether the controller may set a coefficient other than 0."""
  traits = controller_traits(config)
  return traits is None or bool(traits.drives)


def make_controller(config: Config) -> Controller | Scheduled[Controller]:
  """Build the controller that config.control names."""
  name, target = config.control.name, config.control.target
  make = lookup.function(control, name, "control.name", "Controller")
  settings = lookup.settings(config, name)
  if "target" in inspect.signature(make).parameters:
    settings["target"] = target
  controller = scheduling.build(
    make, name, settings, keys={"target": "control.target"}
  )
  if is_outside(name):
    check_controller(at(controller, 0), f"control.name: {name}")
  return controller


def make_scheduled_optimizer(
  settings: Mapping[str, Any],
  controller: Controller | Scheduled[Controller],
  wrap: Projection | Scheduled[Projection] | None = None,
) -> tuple[Optimizer, optax.Schedule]:
  """Build the optimizer and its learning-rate schedule.

  Args:
    settings: config.optimizer.
    controller: the run's controller, whose state the optimizer holds.
    wrap: wraps AdamW, see make_optimizer.
  """
  settings = dict(settings)
  schedule = scheduling.read_learning_rate(
    settings.pop("learning_rate"),
    warmup_steps=settings.pop("warmup_steps"),
    decay_steps=settings.pop("decay_steps"),
    end_fraction=settings.pop("end_fraction"),
  )
  optimizer = make_optimizer(controller, schedule, projection=wrap, **settings)
  return optimizer, schedule


def make_apply_rules(
  rules: Mapping[str, AdvantageRule | Scheduled[AdvantageRule]],
) -> ApplyRules:
  """Build the function that applies advantage rules in order.

  Args:
    rules: by name, in order.
  """

  def apply(responses: Responses, step: Array | int) -> Responses:
    done = advantages.apply_rules(
      {name: at(rule, step) for name, rule in rules.items()}, responses
    )
    numbers = fed(rules.values(), step)
    metrics = {name: scalar_metric(value) for name, value in numbers.items()}
    return dataclasses.replace(done, metrics={**done.metrics, **metrics})

  return apply


def check_over_run(recipe: Recipe, config: Config) -> None:
  """Check that the schedules of a recipe fit each optimizer step of its run.

  Raises:
    ValueError: a schedule ends too early, has a value that its setting does not
      allow, or stands for a number that must be constant.
  """
  updates = config.training.updates_per_rollout
  num_steps = config.num_rollout_steps * updates

  def try_member(name: str, member: Scheduled, step: Array) -> None:
    members = {n: at(m, 0) for n, m in recipe.members.items()}
    members[name] = member.at(step)
    trace_objective(objectives.chain(*members.values()))

  def try_rule(name: str, rule: Scheduled, step: Array) -> None:
    rules = {n: at(r, 0) for n, r in recipe.rules.items()}
    try_rules({**rules, name: rule.at(step)}, config.rollout.group_size)

  def try_controller(name: str, controller: Scheduled, step: Array) -> None:
    check_controller(controller.at(step), name)

  def try_projection(name: str, projection: Scheduled, step: Array) -> None:
    number = jnp.float32(0.0)
    inner = projection.at(step)(optax.adam(0.0))
    inner.update(
      number,
      inner.init(number),
      number,
      entropy=number,
      entropy_grad=lambda: number,
    )

  scheduling.check_learning_rate(recipe.learning_rate, num_steps)
  check = functools.partial(scheduling.check_schedules, num_steps=num_steps)
  check(recipe.members, trace=try_member)
  check(recipe.rules, trace=try_rule)
  for part in recipe.optimizer.scheduled:
    if part is recipe.optimizer.controller:
      check({last_name(config.control.name): part}, trace=try_controller)
    else:
      check({"projection": part}, trace=try_projection)


def _make_projection(
  config: Config,
) -> Projection | Scheduled[Projection] | None:
  """Build the wrapper that projects AdamW's steps; None if it is off."""
  settings = dict(config.projection)
  if not settings.pop("enabled"):
    return None
  precondition = adam_preconditioner(
    b2=config.optimizer.b2, eps=config.optimizer.eps
  )

  @functools.wraps(entropy_projection)
  def make(**arguments: Any) -> Projection:
    wrap: Projection = functools.partial(
      entropy_projection, precondition=precondition, **arguments
    )
    wrap(optax.identity())  # checks the arguments
    return wrap

  return scheduling.build(make, "projection", settings)
