"""Build the methods that a config names.

These are the advantage rules, the objective, the controller, the optimizer with
its learning-rate schedule and projection, and for offline runs the segmenter
and the judges of steps. `make_recipe` builds all but the last two. It also
traces the rules and the objective once, so that their errors appear before the
run.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import inspect
from pathlib import Path
from typing import Any, NamedTuple
import warnings

import jax
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
from entrojax.judges import segmentation
from entrojax.judges.segmentation import Segmenter
from entrojax.masking import scalar_metric
from entrojax.objectives import aggregation
from entrojax.objectives.reading import check_reads, placeholder_statistics
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
  ScoredTokens,
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
  _try_members(at_start, _kinds(config, own))
  if own.controller is None and not _sets_coefficient(config):
    _try_without_controller(at_start, config.control.name)
  objective = objectives.chain(*at_start.values())
  if own.controller is not None or _sets_coefficient(config):
    _warn_of_unread_coefficient(objective, config.control.name)
  rules = _guard_rules(own) or make_advantage_rules(config)
  parts = _try_advantage_rules({n: at(r, 0) for n, r in rules.items()}, config)
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


@jax.tree_util.register_pytree_node_class
class _AnyParts(dict):
  """The parts of a reward, of which any name may be read; it notes the names.

  To a rule that reads all parts it shows a single one.
  """

  def __init__(self, part: Array):
    """Build the parts, each of which is `part`."""
    super().__init__({"any": part})
    self.names_read: list[str] = []

  def __missing__(self, name: str) -> Array:
    self.names_read.append(name)
    return self["any"]

  def __contains__(self, name: object) -> bool:
    return True

  def get(self, name: str, default: Any = None) -> Array:
    """Return a part; none is ever missing, so `default` is never used."""
    del default
    return self[name]

  def tree_flatten(self):
    """Return no leaves: no function changes the parts."""
    return (), self

  @classmethod
  def tree_unflatten(cls, parts, leaves):
    """Return the parts themselves."""
    del leaves
    return parts


def _try_advantage_rules(
  rules: Mapping[str, AdvantageRule], config: Config
) -> tuple[str, ...]:
  """Trace the rules on three groups, so that errors appear before the run.

  Returns:
    The names of the parts of rewards that the rules read.
  """
  names: list[str] = []

  def apply(array: Array) -> None:
    parts = _AnyParts(array)
    responses = Responses(
      rewards=array,
      correctness=array,
      log_probs=array,
      lengths=array,
      truncated=array,
      failed=array,
      clusters=array.astype(jnp.int32),
      entropy=jnp.float32(0.0),
      entropies=array,
      rollout_step=jnp.int32(0),
      parts=parts,
    )
    advantages.apply_rules(rules, responses)
    names.extend(parts.names_read)

  shape = (3, config.rollout.group_size)
  jax.eval_shape(apply, jax.ShapeDtypeStruct(shape, jnp.float32))
  return tuple(dict.fromkeys(names))


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


def _try_members(
  members: Mapping[str, Objective], kinds: Mapping[str, str | None]
) -> None:
  """Trace the chain, so that errors appear before the run.

  Args:
    members: the members by name, in order.
    kinds: the kind of each member. A member of unknown kind counts as a
      surrogate if it adds a term.

  Raises:
    ValueError: a member fails, or none of them is a surrogate.
  """
  surrogates = [name for name, kind in kinds.items() if kind == "surrogate"]

  def watched(name: str, member: Objective) -> Objective:
    @functools.wraps(member)
    def objective(tokens, token_loss, coefficient, key):
      result = member(tokens, token_loss, coefficient, key)
      if kinds[name] is None and len(result.terms) > len(token_loss.terms):
        surrogates.append(name)
      return result

    return objective

  _trace(objectives.chain(*(watched(n, m) for n, m in members.items())))
  if not surrogates:
    raise ValueError(
      "objective has no surrogate, so the policy would not learn from rewards: "
      "begin it with a surrogate, such as 'ppo_clip'"
    )


def _try_without_controller(
  members: Mapping[str, Objective], controller: str
) -> None:
  """Raise ValueError if a member needs a coefficient, which no one sets.

  Args:
    members: the members by name, in order. They have been traced with a
      coefficient.
    controller: the name of the controller, which drives nothing.
  """
  try:
    _trace(objectives.chain(*members.values()), coefficient=None)
  except ValueError as error:
    raise ValueError(
      "objective has a member that is driven by a controller, but control.name "
      f"is {controller!r}, which drives none ({error})"
    ) from error


def _warn_of_unread_coefficient(objective: Objective, controller: str) -> None:
  """Warn if the loss does not depend on the controller's coefficient.

  Args:
    objective: the chain.
    controller: the name of the controller.
  """
  traced = jax.make_jaxpr(
    lambda coefficient: _trial_loss(
      objective, _trial_tokens(objective), coefficient
    )
  )(0.0).jaxpr
  dependent = set(map(id, traced.invars))
  for equation in traced.eqns:
    if not dependent.isdisjoint(map(id, equation.invars)):
      dependent.update(map(id, equation.outvars))
  if dependent.isdisjoint(map(id, traced.outvars)):
    warnings.warn(
      f"control.name is {controller!r}, and no member of objective reads its "
      "coefficient: it would steer nothing",
      stacklevel=3,
    )


def needs_reference(objective: Objective) -> bool:
  """Return whether a member of the chain reads the reference's log-probs.

  Args:
    objective: the chain, which works with a reference. If it fails without one,
      it reads it, and a member of the user's own code may fail in any way.
  """
  try:
    _trace(objective, with_reference=False)
  except ValueError:
    return True
  return False


def _trace(
  objective: Objective,
  *,
  with_reference: bool = True,
  coefficient: float | None = 0.0,
) -> None:
  """Trace the loss of two rows of three tokens.

  Args:
    objective: the chain.
    with_reference: whether the tokens have a reference log-prob.
    coefficient: the controller's; None: there is no controller.
  """
  tokens = _trial_tokens(objective, with_reference=with_reference)
  jax.eval_shape(lambda t: _trial_loss(objective, t, coefficient), tokens)


def _trial_loss(
  objective: Objective, tokens: ScoredTokens, coefficient: Array | float | None
) -> Array:
  """Compute the loss of a trial."""
  loss, _ = objectives.policy_loss(
    objective, aggregation.token_mean, tokens, coefficient=coefficient
  )
  return loss


def _trial_tokens(
  objective: Objective, *, with_reference: bool = True
) -> ScoredTokens:
  """Build two rows of three tokens, with all that an objective may read."""
  token = jnp.zeros((2, 3), jnp.float32)
  return ScoredTokens(
    log_probs=token,
    old_log_probs=token,
    entropy=token,
    old_entropy=token,
    advantages=token,
    mask=token,
    ref_log_probs=token if with_reference else None,
    step_ok=token,
    rollout_entropy=token,
    statistics=placeholder_statistics(objective, token),
  )


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
    _trace(objectives.chain(*members.values()))

  def try_rule(name: str, rule: Scheduled, step: Array) -> None:
    rules = {n: at(r, 0) for n, r in recipe.rules.items()}
    _try_advantage_rules({**rules, name: rule.at(step)}, config)

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
