"""What a config chooses: rules, objective, controller, optimizer."""

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
from entrojax.assembly.lookup import member
from entrojax.judges import segmentation
from entrojax.judges.segmentation import Segmenter
from entrojax.objectives import aggregation
from entrojax.objectives.reference_kl import MissingReferenceError
from entrojax.types import (
  AdvantageRule,
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

  members: Mapping[str, Objective]  # of the chain, in order
  objective: Objective  # the chain
  rules: Mapping[str, AdvantageRule]  # in order
  optimizer: Optimizer  # holds the controller
  learning_rate: optax.Schedule

  @property
  def needs_reference(self) -> bool:
    return needs_reference(self.objective)


def make_recipe(config: Config) -> Recipe:
  """Makes the methods that the config names.

  Raises:
    ValueError: a name is unknown, or a setting cannot work.
  """
  members = make_members(config)
  objective = objectives.chain(*members.values())
  _try_objective(objective)
  rules = make_advantage_rules(config)
  _try_advantage_rules(rules, config)
  optimizer, schedule = make_scheduled_optimizer(
    config.optimizer, make_controller(config), _make_projection(config)
  )
  return Recipe(members, objective, rules, optimizer, schedule)


def make_members(config: Config) -> Mapping[str, Objective]:
  """Makes the members of the chain that config.objective names, in order."""
  return {
    name: member(objectives, name, "objective")(**config.get(name, {}))
    for name in config.objective
  }


def make_advantage_rules(config: Config) -> Mapping[str, AdvantageRule]:
  """Makes the rules that config.advantage names, in order."""
  return {
    name: member(advantages, name, "advantage")(**config.get(name, {}))
    for name in config.advantage
  }


def _try_advantage_rules(
  rules: Mapping[str, AdvantageRule], config: Config
) -> None:
  """Traces the rules on one group, so that errors come now."""
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
  """Makes what cuts responses into steps, as config.segmentation says."""
  name = config.segmentation.name
  make = member(segmentation, name, "segmentation.name")
  return make(**config.get(name, {}))


def make_judges(
  config: Config, task: Task, *, cache: Path
) -> Mapping[str, StepJudge]:
  """Makes the judges of steps that config.judges names.

  Args:
    config: of the run.
    task: has the oracle.
    cache: file of a chat_model's verdicts.
  """
  made = {}
  for name in config.judges:
    make = member(judges, name, "judges")
    settings = dict(config.get(name, {}))
    given = {"task": task, "cache": cache}
    wanted = inspect.signature(make).parameters.keys() & given.keys()
    made[name] = make(**settings, **{key: given[key] for key in wanted})
  return made


def needs_reference(objective: Objective) -> bool:
  """Returns whether a member of the chain reads the reference's log-probs."""
  try:
    _try_objective(objective, with_reference=False)
  except MissingReferenceError:
    return True
  return False


def _try_objective(
  objective: Objective, *, with_reference: bool = True
) -> None:
  """Traces the chain on a mini-batch of one token, so that errors come now."""
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
  )
  _, metrics = jax.eval_shape(
    lambda t: objectives.policy_loss(
      objective, aggregation.token_mean, t, coefficient=0.0
    ),
    tokens,
  )
  if "actor/pg_loss" not in metrics:
    raise ValueError(
      "objective has no surrogate, so no reward would be learned from: begin "
      "it with one, as 'ppo_clip'"
    )


def make_controller(config: Config) -> Controller:
  """Makes the controller that config.control names."""
  name, target = config.control.name, config.control.target
  make = member(control, name, "control.name")
  settings = dict(config.get(name, {}))
  if "target" in inspect.signature(make).parameters:
    settings["target"] = target
  return make(**settings)


def make_scheduled_optimizer(
  settings: Mapping[str, Any],
  controller: Controller,
  wrap: Callable[..., optax.GradientTransformationExtraArgs] | None = None,
) -> tuple[Optimizer, optax.Schedule]:
  """Makes the optimizer, and the learning rate that it follows.

  Args:
    settings: config.optimizer.
    controller: that the run has.
    wrap: of AdamW, see make_optimizer.
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
  """Returns what wraps AdamW; None if updates are not to be projected."""
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
