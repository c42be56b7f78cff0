"""Build a run from a config.

`build` checks a config and builds everything that the train loop needs.
`build_checked` does the same for a config that has been checked already. The
update and the samplers are compiled when they are first called, so that errors
in the config and the files are raised before. There are two exceptions: if a
setting of rematerialisation is "auto", the update is compiled here to choose
it, and the recorded rollouts of an offline run are scored here.
"""

from collections.abc import Callable, Collection, Mapping
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

from entrojax.assembly.check_rows import check_divisibility
from entrojax.assembly.check_run import completing
from entrojax.assembly.check_settings import check
from entrojax.assembly.check_sizes import check_against_model
from entrojax.assembly.data import (
  Data,
  read_data,
  rollout_settings,
  single_stage,
)
from entrojax.assembly.evaluation_sets import EvaluationSet, read_sets
from entrojax.assembly.graphs import SharedGraphs, graph_settings, share_graphs
from entrojax.assembly.ledger import LedgerFunctions
from entrojax.assembly.methods import (
  check_over_run,
  make_recipe,
  outside_functions,
)
from entrojax.assembly.model import Policy, bind, jit, load_policy, model_folder
from entrojax.assembly.own_methods import NO_METHODS, OwnMethods
from entrojax.assembly.rematerialisation import Choice, decide
from entrojax.assembly.roll_backs import changed_by_roll_back
from entrojax.assembly.samplers import make_sampler
from entrojax.assembly.settings import Settings, resolve
from entrojax.models import DecoderConfig, hugging_face
from entrojax.objectives.reading import check_reads
from entrojax.rollouts import recorded
from entrojax.rollouts.recorded import RecordedRollouts
from entrojax.rollouts.sampler import Generate
from entrojax.system import compilation_cache, hosts
from entrojax.system.outside import last_name
from entrojax.system.sharding import by_row, make_mesh, num_row_shards
from entrojax.types import ApplyRules, Params, Task, TrainState
from entrojax.update.scoring import score_in_microbatches
from entrojax.update.token_scores import TokenScores
from entrojax.update.train_step import Update


class Functions(NamedTuple):
  """The jitted functions of a run."""

  generate: Generate  # rollout.group_size samples of each prompt
  # the samplers of evaluations, by the number of samples of each prompt
  evaluate: Mapping[int, Generate]
  # gives responses their advantages, and says which are kept
  advantage: ApplyRules
  update: Update  # donates its state
  restart: Callable[[TrainState], TrainState]  # gives it a fresh optimizer
  learning_rate: optax.Schedule
  ledger: LedgerFunctions
  # token_scores.score_samples for the evaluations, by the number of samples of
  # each prompt; {}: they keep no tokens
  score_samples: Mapping[int, Callable[..., TokenScores]]


class Run(NamedTuple):
  """Everything that the train loop needs. It holds no config."""

  settings: Settings
  mesh: Mesh
  sizes: DecoderConfig
  data: Data
  evaluation_sets: tuple[EvaluationSet, ...]
  functions: Functions
  # before the first update, which donates it; a run that resumes frees it
  state: TrainState
  ref_params: Params | None  # the reference model's; None: no method reads it
  recorded: RecordedRollouts | None = None  # what an offline run trains on
  base_params: Params | None = None  # None: nothing is compared with the base
  kept: Choice | None = None  # what the backward pass keeps


def build(
  config: Config,
  rollouts: Path | None = None,
  own: OwnMethods = NO_METHODS,
  task: Task | None = None,
) -> Run:
  """Check a config and build its run.

  Args:
    config: the settings of the run.
    rollouts: the file of recorded rollouts that an offline run trains on.
    own: functions that take the place of those that the config names.
    task: takes the place of the task that the config names.

  Raises:
    ValueError: a setting cannot work, a file is missing or malformed; the
      message names the key or the file.
  """
  with hosts.together(), completing(config, own=own, task=task):
    check(config, own)
  return build_checked(config, rollouts, own, task)


def build_checked(
  config: Config,
  rollouts: Path | None = None,
  own: OwnMethods = NO_METHODS,
  task: Task | None = None,
) -> Run:
  """Build the run of a config that has been checked; see `build`."""
  compilation_cache.enable()
  with hosts.together(), completing(config, own=own, task=task):
    mesh = make_mesh(config.mesh)
    check_divisibility(config, num_row_shards(mesh))
    recipe = make_recipe(config, own)
    check_over_run(recipe, config)
    if (changed := changed_by_roll_back(config)) is not None:
      check_over_run(make_recipe(changed, own), changed)
    folder = model_folder(config.model.path)
    sizes = hugging_face.read_config(folder)
    check_against_model(config, sizes, own)
    data, evaluation_sets, recorded_rollouts = _read_inputs(
      config, folder, sizes.vocab_size, rollouts, task
    )
  # compiles the update if it has to choose, so everything is read before
  config = decide(config, recipe, sizes, mesh)
  with hosts.together():
    sizes, policy, params = load_policy(config, folder, data.tokenizer, mesh)
    check_reads(
      recipe.members,
      on_policy=not config.offline.enabled,
      vocabulary=sizes.vocab_size,
    )
  ref_params = None
  if recipe.needs_reference:
    ref_params = jax.tree.map(jnp.copy, params)
  base_params = None
  if config.evaluation.token_samples or config.log.reference_kl:
    base_params = ref_params or jax.tree.map(jnp.copy, params)
  shared = share_graphs(
    graph_settings(config),
    own,
    outside_functions(config, own),
    policy.model,
    mesh,
    policy.base is not None,
  )
  state = shared.place(params)
  functions = _make_functions(
    config,
    shared,
    data,
    policy,
    mesh,
    num_samples=[part.num_samples for part in evaluation_sets],
  )
  if recorded_rollouts is not None:
    recorded_rollouts = _score_recorded(
      config, policy, state.params, mesh, recorded_rollouts
    )
  return Run(
    resolve(config, recipe.reward_parts),
    mesh,
    sizes,
    data,
    evaluation_sets,
    functions,
    state,
    ref_params,
    recorded_rollouts,
    base_params,
    Choice(config.model.rematerialise, config.training.rematerialise),
  )


def _read_inputs(
  config: Config,
  folder: Path,
  vocab_size: int,
  rollouts: Path | None,
  task: Task | None,
) -> tuple[Data, tuple[EvaluationSet, ...], RecordedRollouts | None]:
  """Read the problems, the evaluation sets and recorded rollouts of a run.

  Args:
    config: the settings of the run.
    folder: the model's folder, which holds the tokenizer.
    vocab_size: the number of the model's tokens.
    rollouts: the file of recorded rollouts; None: the run samples its own.
    task: takes the place of the task that the config names.
  """
  data = read_data(config, folder, task)
  evaluation_sets = read_sets(config, data)
  if rollouts is None:
    return data, evaluation_sets, None
  recording = recorded.load(
    rollouts,
    rollout_settings(config, folder),
    [last_name(name) for name in config.judges],
    data.tokenizer,
    vocab_size=vocab_size,
  )
  stages = single_stage(config, recording.problems, data.tokenizer)
  return data._replace(stages=stages), evaluation_sets, recording


def _make_functions(
  config: Config,
  shared: SharedGraphs,
  data: Data,
  policy: Policy,
  mesh: Mesh,
  *,
  num_samples: Collection[int],
) -> Functions:
  """Bind the jitted functions of a run to its policy and mesh.

  Args:
    config: a checked config.
    shared: its jitted functions.
    data: has the tokenizer.
    policy: the model.
    mesh: the devices.
    num_samples: the numbers of samples of each prompt in evaluations.
  """
  sampler = functools.partial(
    make_sampler, config, policy, data.tokenizer, mesh
  )
  return Functions(
    generate=sampler(config.rollout, config.rollout.group_size),
    evaluate={n: sampler(config.evaluation, n) for n in num_samples},
    advantage=lambda *arguments: shared.apply_rules(*jax.device_put(arguments)),
    update=bind(shared.update, policy),
    restart=shared.restart,
    learning_rate=shared.learning_rate,
    ledger=shared.ledger.bind(policy),
    score_samples=_bind_score_samples(config, shared, policy, num_samples),
  )


def _bind_score_samples(
  config: Config,
  shared: SharedGraphs,
  policy: Policy,
  num_samples: Collection[int],
) -> dict[int, Callable[..., TokenScores]]:
  """Bind the scoring of the tokens that evaluations keep; none: an empty dict.

  Greedy samples are scored under the policy itself, at temperature 1.
  """
  kept = config.evaluation.token_samples
  temperature = config.evaluation.temperature
  if temperature is None:
    temperature = config.rollout.temperature
  return {
    n: bind(shared.score_samples(n, min(kept, n), temperature or 1.0), policy)
    for n in num_samples
    if kept
  }


def _score_recorded(
  config: Config,
  policy: Policy,
  params: Params,
  mesh: Mesh,
  rollouts: RecordedRollouts,
) -> RecordedRollouts:
  """Add log-probs and entropies under the policy that sampled the rollouts.

  The training code computes them from the parameters that a fresh run starts
  with. log pi - log pi_old is therefore 0 at the start.
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
      response_buckets=tuple(config.training.response_buckets),
      mesh=mesh,
    ),
    policy,
    out_shardings=by_row(mesh),
  )
  batch_size, number = config.rollout.num_prompts, len(rollouts.problems)
  log_probs: list[np.ndarray] = []
  entropy: list[np.ndarray] = []
  for start in range(0, number, batch_size):
    # the last batch is filled up with repeats, so that shapes never change
    groups = np.arange(start, start + batch_size) % number
    batch = hosts.place(rollouts.rollout(groups), by_row(mesh))
    stats = hosts.whole(scores(params, batch.tokens, batch.positions))
    for values, rows in zip(stats, (log_probs, entropy), strict=True):
      rows += rollouts.unpadded(values, groups)
  num_rows = len(rollouts.responses)
  return dataclasses.replace(
    rollouts, log_probs=log_probs[:num_rows], entropy=entropy[:num_rows]
  )
