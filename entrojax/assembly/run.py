"""From a config to the parts of a run: every error before any compilation."""

from collections.abc import Callable
import dataclasses
import functools
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict as Config
import numpy as np
import optax

from entrojax import advantages
from entrojax.assembly.check_rows import (
  check_divisibility,
  check_evaluation_rows,
  check_rollout_rows,
)
from entrojax.assembly.check_settings import check, check_evaluation
from entrojax.assembly.data import Data, one_stage, read_data, settings_of
from entrojax.assembly.methods import Recipe, make_recipe
from entrojax.assembly.model import Policy, jit, load_policy, make_generate
from entrojax.data import tokenizer as tokenizers
from entrojax.models import DecoderConfig
from entrojax.objectives import aggregation
from entrojax.rollouts.recorded import Recorded, record
from entrojax.rollouts.sampler import Generate
from entrojax.system import hosts
from entrojax.system.sharding import (
  by_row,
  make_mesh,
  num_row_shards,
  param_shardings,
  replicated,
)
from entrojax.types import (
  AdvantageRule,
  Array,
  Model,
  Params,
  Prompts,
  Rollout,
  TrainState,
)
from entrojax.update.optimizer import Optimizer
from entrojax.update.scoring import score_in_microbatches
from entrojax.update.train_step import (
  BatchSplit,
  Update,
  init_state,
  make_update,
  restart,
)


class Functions(NamedTuple):
  """What the run computes; all jitted."""

  generate: Generate  # rollout.group_size samples of each prompt
  evaluate: Generate  # evaluation.num_samples samples of each prompt
  advantage: AdvantageRule  # Responses -> Responses with advantages and keep
  update: Update  # donates its state
  restart: Callable[[TrainState], TrainState]  # gives it a fresh optimizer
  learning_rate: optax.Schedule


class Run(NamedTuple):
  """Everything that the train loop needs."""

  mesh: Mesh
  sizes: DecoderConfig
  data: Data
  functions: Functions
  state: TrainState
  ref_params: Params | None
  recorded: Recorded | None = None  # what an offline run trains on


def build(config: Config, rollouts: Path | None = None) -> Run:
  """Builds a run.

  Args:
    config: of the run.
    rollouts: the file that an offline run trains on.

  Raises:
    ValueError: a setting cannot work, a file is missing or malformed; the
      message names the key or the file.
  """
  with hosts.together():
    check(config)
    mesh = make_mesh(config.mesh)
    check_divisibility(config, num_row_shards(mesh))
    recipe = make_recipe(config)
    data, recorded = read_data(config), None
    if rollouts is not None:
      recorded = record(
        rollouts, settings_of(config), config.judges, data.tokenizer
      )
      data = data._replace(stages=one_stage(config, recorded.problems, data))
    sizes, policy, params = load_policy(config, data.tokenizer, mesh)
  ref_params = None
  if recipe.needs_reference:
    ref_params = jax.tree.map(jnp.copy, params)
  state, shardings = first_state(mesh, params, recipe.optimizer)
  functions = Functions(
    generate=_placing(
      make_generate(
        config,
        policy,
        data.tokenizer,
        mesh,
        config.rollout,
        config.rollout.group_size,
      ),
      mesh,
    ),
    evaluate=_placing(
      make_generate(
        config,
        policy,
        data.tokenizer,
        mesh,
        config.evaluation,
        config.evaluation.num_samples,
      ),
      mesh,
    ),
    advantage=jax.jit(functools.partial(advantages.apply_rules, recipe.rules)),
    update=jit(
      make_update_of(config, recipe, mesh),
      policy,
      donate_first=True,
      out_shardings=(shardings, replicated(mesh)),
    ),
    restart=jax.jit(
      functools.partial(restart, optimizer=recipe.optimizer),
      out_shardings=shardings,
    ),
    learning_rate=recipe.learning_rate,
  )
  if recorded is not None:
    recorded = _with_behaviour(config, policy, state.params, mesh, recorded)
  return Run(mesh, sizes, data, functions, state, ref_params, recorded)


def build_evaluation(
  config: Config, tokenizer: tokenizers.Tokenizer
) -> tuple[Generate, Params]:
  """Builds what evaluates a model, without anything that trains it.

  Returns:
    (params, prompts, key) -> evaluation.num_samples samples of each prompt,
    jitted, and the parameters of config.model.path on the mesh.

  Raises:
    ValueError: a setting cannot work, or the model's folder; see `build`.
  """
  settings = config.evaluation
  return _sampler(
    config, tokenizer, check_evaluation_rows, settings, settings.num_samples
  )


def build_sampler(
  config: Config, tokenizer: tokenizers.Tokenizer
) -> tuple[Generate, Params]:
  """Builds what samples as a run does, without anything that trains.

  Returns:
    (params, prompts, key) -> rollout.group_size samples of each prompt,
    jitted, and the parameters of config.model.path on the mesh.

  Raises:
    ValueError: a setting cannot work, or the model's folder; see `build`.
  """
  settings = config.rollout
  return _sampler(
    config, tokenizer, check_rollout_rows, settings, settings.group_size
  )


def _sampler(
  config: Config,
  tokenizer: tokenizers.Tokenizer,
  check_rows: Callable[[Config, int], None],
  settings: Config,
  group_size: int,
) -> tuple[Generate, Params]:
  check_evaluation(config)
  mesh = make_mesh(config.mesh)
  check_rows(config, num_row_shards(mesh))
  _, policy, params = load_policy(config, tokenizer, mesh)
  generate = make_generate(
    config, policy, tokenizer, mesh, settings, group_size
  )
  return _placing(generate, mesh), params


def _placing(generate: Generate, mesh: Mesh) -> Generate:
  """Returns `generate` for prompts on the host: their rows go over the mesh."""

  @functools.wraps(generate)
  def run(params: Params, prompts: Prompts, key: Array) -> Rollout:
    return generate(params, hosts.place(prompts, by_row(mesh)), key)

  return run


def _with_behaviour(
  config: Config,
  policy: Policy,
  params: Params,
  mesh: Mesh,
  recorded: Recorded,
) -> Recorded:
  """Returns recorded rollouts with log-probs and entropies of their policy.

  The training code computes them, from the parameters that a fresh run begins
  with: log pi - log pi_old then begins at 0.
  """
  scores = jit(
    lambda model: functools.partial(
      score_in_microbatches,
      model,
      response_length=config.rollout.response_length,
      group_size=config.rollout.group_size,
      temperature=config.rollout.temperature,
      num_microbatches=config.training.num_microbatches,
      rematerialise=False,
      mesh=mesh,
    ),
    policy,
    out_shardings=by_row(mesh),
  )
  batch_size, number = config.rollout.num_prompts, len(recorded.problems)
  log_probs: list[np.ndarray] = []
  entropy: list[np.ndarray] = []
  for start in range(0, number, batch_size):
    # the last batch is filled up with repeats, so that shapes never change
    groups = np.arange(start, start + batch_size) % number
    rollout = hosts.place(recorded.rollout(groups), by_row(mesh))
    stats = hosts.whole(scores(params, rollout.tokens, rollout.positions))
    for values, rows in zip(stats, (log_probs, entropy), strict=True):
      rows += recorded.unpadded(values, groups)
  rows_read = len(recorded.responses)
  return dataclasses.replace(
    recorded, log_probs=log_probs[:rows_read], entropy=entropy[:rows_read]
  )


def make_update_of(
  config: Config, recipe: Recipe, mesh: Mesh
) -> Callable[[Model], Update]:
  """Returns what makes a model's update, as the config's training says."""
  return functools.partial(
    make_update,
    members=recipe.members,
    aggregate=aggregation.by_name(
      config.aggregation, length=config.rollout.response_length
    ),
    optimizer=recipe.optimizer,
    group_size=config.rollout.group_size,
    temperature=config.rollout.temperature,
    split=BatchSplit(**config.training),
    on_policy=not config.offline.enabled,
    mesh=mesh,
  )


def first_state(
  mesh: Mesh, params: Params, optimizer: Optimizer
) -> tuple[TrainState, TrainState]:
  """Returns the first state and its shardings; the parameters move into it."""
  make = functools.partial(init_state, optimizer=optimizer)
  shardings = param_shardings(mesh, jax.eval_shape(make, params))
  place = jax.jit(make, out_shardings=shardings, donate_argnums=0)
  return place(params), shardings
