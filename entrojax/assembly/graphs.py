"""Jit the functions of a run that do not depend on its data or length.

`share_graphs` builds the update, the advantage rules, the ledger and the first
state once for all runs of a process with the same settings, so that a sweep
compiles each graph once. Nothing is compiled before the first call.
"""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple
import warnings

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict as Config
from ml_collections import FrozenConfigDict
import optax

from entrojax.assembly.ledger import UnboundFunctions, jit_ledger
from entrojax.assembly.methods import (
  Recipe,
  make_aggregation,
  make_apply_rules,
  make_recipe,
)
from entrojax.assembly.model import NUM_SHARED, jit_unbound
from entrojax.assembly.own_methods import OwnMethods
from entrojax.models import lora
from entrojax.system.sharding import by_row, param_shardings, replicated
from entrojax.types import ApplyRules, Model, Params, TrainState
from entrojax.update.group_metrics import Measured
from entrojax.update.measured_step import make_measured_step
from entrojax.update.optimizer import Optimizer
from entrojax.update.replayed_step import make_replayed_step
from entrojax.update.setup import BatchSplit
from entrojax.update.token_scores import Marking, TokenScores, score_samples
from entrojax.update.train_step import init_state, make_update, restart


class SharedGraphs(NamedTuple):
  """The jitted functions that do not depend on a run's data or length."""

  place: Callable[[Params], TrainState]  # the first state; params move into it
  apply_rules: ApplyRules
  update: Callable[..., Any]  # an Update that takes a frozen base first, if any
  restart: Callable[[TrainState], TrainState]
  learning_rate: optax.Schedule
  ledger: UnboundFunctions
  # (n, samples whose tokens are kept, temperature) -> score_samples
  score_samples: Callable[[int, int, float], Callable[..., TokenScores]]


def graph_settings(config: Config) -> FrozenConfigDict:
  """Return the settings that `share_graphs` may depend on, hashable."""
  ignored = (
    *("seed", "num_rollout_steps", "evaluation", "checkpoint", "log"),
    *("alarms", "faults", "ledger", "task", "curriculum", "dynamic_sampling"),
  )
  settings = {key: config[key] for key in config if key not in ignored}
  log = config.log
  measured = dict(reference_kl=log.reference_kl, token_groups=log.token_groups)
  return FrozenConfigDict(settings | {"log": measured})


@functools.lru_cache(maxsize=NUM_SHARED)
def share_graphs(
  settings: FrozenConfigDict,
  own: OwnMethods,
  outside: tuple[Callable, ...],
  model: Model,
  mesh: Mesh,
  has_base: bool,
) -> SharedGraphs:
  """Jit an update once for all runs of this process with the same settings.

  Runs that differ in their seed or length, or that resume, then compile one
  update. Nothing is compiled before the first call.

  Args:
    settings: from `graph_settings`.
    own: functions that take the place of those that the settings name.
    outside: the functions of the user's code that the settings name, so that
      a file that has changed is compiled again.
    model: the policy.
    mesh: the devices.
    has_base: whether the model's parameters are an adapter of a frozen base.
  """
  del outside  # part of the key
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the caller has built the recipe, too
    recipe = make_recipe(settings, own)
  params = jax.eval_shape(model.init, jax.random.key(0))
  if has_base:
    _, params = lora.split(params)
  place, shardings = _jit_first_state(mesh, params, recipe.optimizer)
  return SharedGraphs(
    place=place,
    apply_rules=jax.jit(make_apply_rules(recipe.rules)),
    update=jit_unbound(
      make_update_of(settings, recipe, mesh),
      model,
      has_base=has_base,
      donate_first=True,
      out_shardings=(shardings, replicated(mesh)),
    ),
    restart=jax.jit(
      functools.partial(restart, optimizer=recipe.optimizer),
      out_shardings=shardings,
    ),
    learning_rate=recipe.learning_rate,
    ledger=jit_ledger(
      settings,
      make_update_of(settings, recipe, mesh, make_measured_step),
      make_update_of(settings, recipe, mesh, make_replayed_step),
      model,
      mesh,
      has_base=has_base,
    ),
    score_samples=_share_score_samples(settings, recipe, model, mesh, has_base),
  )


def _share_score_samples(
  settings: FrozenConfigDict,
  recipe: Recipe,
  model: Model,
  mesh: Mesh,
  has_base: bool,
) -> Callable[[int, int, float], Callable[..., TokenScores]]:
  """Return a function that jits the scoring of kept tokens, once per numbers.

  Args:
    settings: from `graph_settings`.
    recipe: the run's methods. With judges no member marks tokens, because the
      steps of evaluated responses are not judged.
    model: the policy.
    mesh: the mesh that rows are split over.
    has_base: whether the model's parameters are an adapter of a frozen base.
  """
  marking = None
  if not settings.judges:
    marking = Marking(
      recipe.members, make_aggregation(settings), recipe.optimizer.controller
    )

  @functools.cache
  def share(
    num_samples: int, num_scored: int, temperature: float
  ) -> Callable[..., TokenScores]:
    return jit_unbound(
      lambda model: functools.partial(
        score_samples,
        model,
        num_samples=num_samples,
        num_scored=num_scored,
        temperature=temperature,
        marking=marking,
        mesh=mesh,
      ),
      model,
      has_base=has_base,
      out_shardings=by_row(mesh),
    )

  return share


def make_update_of(
  config: Config,
  recipe: Recipe,
  mesh: Mesh,
  make: Callable[..., Any] = make_update,
) -> Callable[[Model], Any]:
  """Build the function that maps a model to its update.

  Args:
    config: config.training, the settings of the rollout batch and what the log
      measures of tokens are read.
    recipe: the run's methods.
    mesh: the mesh that the rows of mini-batches are split over.
    make: a function with the arguments of make_update that builds something
      else from them.
  """
  return functools.partial(
    make,
    members=recipe.members,
    aggregate=make_aggregation(config),
    optimizer=recipe.optimizer,
    group_size=config.rollout.group_size,
    temperature=config.rollout.temperature,
    split=BatchSplit(**config.training),
    on_policy=not config.offline.enabled,
    mesh=mesh,
    measured=Measured(
      distances=config.log.reference_kl, every=config.log.token_groups
    ),
  )


def first_state(
  mesh: Mesh, params: Params, optimizer: Optimizer
) -> tuple[TrainState, TrainState]:
  """Build the state before the first update.

  Args:
    mesh: where the state is placed.
    params: moved into the state; the argument cannot be used afterwards.
    optimizer: the optimizer whose first state is built.

  Returns:
    The state, and the sharding of each of its arrays in the same tree.
  """
  place, shardings = _jit_first_state(mesh, params, optimizer)
  return place(params), shardings


def _jit_first_state(
  mesh: Mesh, params: Params, optimizer: Optimizer
) -> tuple[Callable[[Params], TrainState], TrainState]:
  """Jit the making of the first state; `params` may be shapes alone."""
  make = functools.partial(init_state, optimizer=optimizer)
  shardings = param_shardings(mesh, jax.eval_shape(make, params))
  return jax.jit(make, out_shardings=shardings, donate_argnums=0), shardings
