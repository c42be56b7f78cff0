"""Build a run from a config; errors are raised before the graphs are compiled.

`build` checks a config and builds everything that the train loop needs;
`build_checked` leaves out the check. `build_evaluation` and `build_sampler`
build only a sampler and its parameters. The update and the samplers are
compiled when they are first called. The recorded rollouts of an offline run are
scored here already.
"""

from collections.abc import Callable, Collection, Mapping
import dataclasses
import functools
from pathlib import Path
from typing import Any, NamedTuple
import warnings

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict as Config
from ml_collections import FrozenConfigDict
import numpy as np
import optax

from entrojax.assembly.check_rows import (
  check_divisibility,
  check_evaluation_rows,
  check_rollout_rows,
)
from entrojax.assembly.check_settings import check
from entrojax.assembly.check_sizes import check_against_model
from entrojax.assembly.data import (
  Data,
  read_data,
  rollout_settings,
  single_stage,
)
from entrojax.assembly.evaluation_sets import EvaluationSet, read_sets
from entrojax.assembly.ledger import (
  LedgerFunctions,
  UnboundFunctions,
  jit_ledger,
)
from entrojax.assembly.methods import (
  Recipe,
  check_over_run,
  make_aggregation,
  make_apply_rules,
  make_recipe,
  outside_functions,
)
from entrojax.assembly.model import (
  NUM_SHARED,
  Policy,
  bind,
  jit,
  jit_unbound,
  load_policy,
  make_generate,
  model_folder,
)
from entrojax.assembly.own_methods import NO_METHODS, OwnMethods
from entrojax.assembly.settings import Settings, resolve
from entrojax.data import tokenizer as tokenizers
from entrojax.models import DecoderConfig, hugging_face, lora
from entrojax.objectives.reading import check_reads
from entrojax.rollouts import recorded
from entrojax.rollouts.recorded import RecordedRollouts
from entrojax.rollouts.sampler import Generate
from entrojax.system import compilation_cache, hosts
from entrojax.system.outside import last_name
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
  Task,
  TrainState,
)
from entrojax.update.group_metrics import Measured
from entrojax.update.measured_step import make_measured_step
from entrojax.update.optimizer import Optimizer
from entrojax.update.replayed_step import make_replayed_step
from entrojax.update.scoring import score_in_microbatches
from entrojax.update.token_scores import Marking, TokenScores, score_samples
from entrojax.update.train_step import (
  BatchSplit,
  Update,
  init_state,
  make_update,
  restart,
)


class Functions(NamedTuple):
  """The jitted functions of a run."""

  generate: Generate  # rollout.group_size samples of each prompt
  # the samplers of evaluations, by the number of samples of each prompt
  evaluate: Mapping[int, Generate]
  advantage: AdvantageRule  # Responses -> Responses with advantages and keep
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
  state: TrainState  # before the first update
  ref_params: Params | None  # the reference model's; None: no method reads it
  recorded: RecordedRollouts | None = None  # what an offline run trains on
  base_params: Params | None = None  # None: nothing is compared with the base


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
  with hosts.together():
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
  with hosts.together():
    mesh = make_mesh(config.mesh)
    check_divisibility(config, num_row_shards(mesh))
    recipe = make_recipe(config, own)
    check_over_run(recipe, config)
    folder = model_folder(config.model.path)
    check_against_model(config, hugging_face.read_config(folder), own)
    data, recorded_rollouts = read_data(config, folder, task), None
    evaluation_sets = read_sets(config, data)
    if rollouts is not None:
      recorded_rollouts = recorded.load(
        rollouts,
        rollout_settings(config, folder),
        [last_name(name) for name in config.judges],
        data.tokenizer,
      )
      problems = recorded_rollouts.problems
      data = data._replace(
        stages=single_stage(config, problems, data.tokenizer)
      )
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
  shared = _share_graphs(
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
    resolve(config),
    mesh,
    sizes,
    data,
    evaluation_sets,
    functions,
    state,
    ref_params,
    recorded_rollouts,
    base_params,
  )


class _SharedGraphs(NamedTuple):
  """The jitted functions that do not depend on a run's data or length."""

  place: Callable[[Params], TrainState]  # the first state; params move into it
  apply_rules: AdvantageRule
  update: Callable[..., Any]  # an Update that takes a frozen base first, if any
  restart: Callable[[TrainState], TrainState]
  learning_rate: optax.Schedule
  ledger: UnboundFunctions
  # (n, samples whose tokens are kept, temperature) -> score_samples
  score_samples: Callable[[int, int, float], Callable[..., TokenScores]]


def graph_settings(config: Config) -> FrozenConfigDict:
  """Return the settings that `_share_graphs` may depend on, hashable."""
  ignored = (
    *("seed", "num_rollout_steps", "evaluation", "checkpoint", "log"),
    *("alarms", "faults", "ledger"),
  )
  settings = {key: config[key] for key in config if key not in ignored}
  log = config.log
  measured = dict(reference_kl=log.reference_kl, token_groups=log.token_groups)
  return FrozenConfigDict(settings | {"log": measured})


@functools.lru_cache(maxsize=NUM_SHARED)
def _share_graphs(
  settings: FrozenConfigDict,
  own: OwnMethods,
  outside: tuple[Callable, ...],
  model: Model,
  mesh: Mesh,
  has_base: bool,
) -> _SharedGraphs:
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
  return _SharedGraphs(
    place=place,
    apply_rules=jax.jit(
      make_apply_rules(recipe.rules, settings.training.updates_per_rollout)
    ),
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


def _make_functions(
  config: Config,
  shared: _SharedGraphs,
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
  make_sampler = functools.partial(
    _make_sampler, config, policy, data.tokenizer, mesh
  )
  return Functions(
    generate=make_sampler(config.rollout, config.rollout.group_size),
    evaluate={n: make_sampler(config.evaluation, n) for n in num_samples},
    advantage=lambda responses: shared.apply_rules(jax.device_put(responses)),
    update=bind(shared.update, policy),
    restart=shared.restart,
    learning_rate=shared.learning_rate,
    ledger=shared.ledger.bind(policy),
    score_samples=_bind_score_samples(config, shared, policy, num_samples),
  )


def _bind_score_samples(
  config: Config,
  shared: _SharedGraphs,
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


def build_evaluation(
  config: Config,
  folder: Path,
  tokenizer: tokenizers.Tokenizer,
  num_samples: Collection[int],
) -> tuple[Mapping[int, Generate], Params]:
  """Build the samplers of evaluations, without the parts that train.

  Args:
    config: checked by check_evaluation.
    folder: the model's folder.
    tokenizer: the tokenizer in that folder.
    num_samples: the numbers of samples of each prompt in these evaluations.

  Returns:
    For each number n, the jitted function (params, prompts, key) -> n samples
    of each prompt; and the model's parameters on the mesh.

  Raises:
    ValueError: a setting or the folder cannot work.
  """
  compilation_cache.enable()
  mesh = make_mesh(config.mesh)
  check_evaluation_rows(config, num_row_shards(mesh))
  _, policy, params = load_policy(config, folder, tokenizer, mesh)
  samplers = {
    n: _make_sampler(config, policy, tokenizer, mesh, config.evaluation, n)
    for n in num_samples
  }
  return samplers, params


def build_sampler(
  config: Config, folder: Path, tokenizer: tokenizers.Tokenizer
) -> tuple[Generate, Params]:
  """Build the sampler of a run's rollouts, without the parts that train.

  Args:
    config: checked by check_offline.
    folder: the model's folder.
    tokenizer: the tokenizer in that folder.

  Returns:
    The jitted function (params, prompts, key) -> rollout.group_size samples of
    each prompt, and the model's parameters on the mesh.

  Raises:
    ValueError: a setting or the folder cannot work.
  """
  compilation_cache.enable()
  mesh = make_mesh(config.mesh)
  check_rollout_rows(config, num_row_shards(mesh))
  _, policy, params = load_policy(config, folder, tokenizer, mesh)
  generate = _make_sampler(
    config, policy, tokenizer, mesh, config.rollout, config.rollout.group_size
  )
  return generate, params


def _make_sampler(
  config: Config,
  policy: Policy,
  tokenizer: tokenizers.Tokenizer,
  mesh: Mesh,
  settings: Config,
  group_size: int,
) -> Generate:
  """Build a sampler that places prompts from the host on the mesh.

  See make_generate for the arguments. Equal settings share one graph.
  """
  generate = make_generate(
    config, policy, tokenizer, mesh, settings, group_size
  )

  @functools.wraps(generate)
  def run(params: Params, prompts: Prompts, key: Array) -> Rollout:
    return generate(params, hosts.place(prompts, by_row(mesh)), key)

  return run


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
