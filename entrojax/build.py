"""From a config to the parts of a run: every error before any compilation."""

from collections.abc import Callable, Mapping, Sequence
import functools
import inspect
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict as Config
import optax

from entrojax import (
  advantages,
  aggregation,
  answers,
  clusters,
  control,
  objectives,
  templates,
)
from entrojax import tokenizer as tokenizers
from entrojax.check import (
  check,
  check_divisibility,
  check_evaluation,
  check_rows,
  member,
)
from entrojax.curriculum import Stages, read_entropies, stage_rows
from entrojax.data import PromptStream, Templated, encode_prompts
from entrojax.evaluate import Generate
from entrojax.models import DecoderConfig, Lora, decoder, hugging_face, lora
from entrojax.objectives.reference_kl import MissingReferenceError
from entrojax.optimizer import learning_rate_schedule, make_optimizer
from entrojax.projection import adam_preconditioner, entropy_projection
from entrojax.rollout import generate, greedy, make_sampler
from entrojax.sharding import (
  by_row,
  make_mesh,
  num_row_shards,
  param_shardings,
  replicated,
)
from entrojax.tasks import make_task
from entrojax.train_step import Update, init_state, make_update, restart
from entrojax.types import (
  AdvantageRule,
  Controller,
  Model,
  Objective,
  Params,
  Problem,
  Responses,
  ScoredTokens,
  Task,
  TrainState,
)

# answers of a group, None = unparsed -> cluster ids
Clusterer = Callable[[Sequence[str | None]], list[int]]


class Data(NamedTuple):
  """What the run reads, and how it is judged."""

  task: Task
  tokenizer: tokenizers.Tokenizer
  stages: Stages
  held_out: Sequence[Problem]
  cluster: Clusterer | None  # of a group's answers, where a rule asks for it

  @property
  def stream(self) -> PromptStream:
    """The prompts of the first stage, mostly the only one."""
    return self.stages.streams[0]


class Functions(NamedTuple):
  """What the run computes; all jitted."""

  generate: Generate  # rollout.group_size samples of each prompt
  evaluate: Generate  # evaluation.num_samples samples of each prompt
  advantage: AdvantageRule  # Responses -> Responses with advantages and keep
  update: Update  # donates its state
  restart: Callable[[TrainState], TrainState]  # gives it a fresh optimizer
  learning_rate: optax.Schedule


class Policy(NamedTuple):
  """The model that is trained, and what of it is frozen."""

  model: Model
  base: Params | None  # of an adapter, which then are all parameters of model


class Run(NamedTuple):
  """Everything that the train loop needs."""

  mesh: Mesh
  sizes: DecoderConfig
  data: Data
  functions: Functions
  state: TrainState
  ref_params: Params | None


def build(config: Config) -> Run:
  """Builds a run.

  Raises:
    ValueError: a setting cannot work, a file is missing or malformed; the
      message names the key or the file.
  """
  check(config)
  mesh = make_mesh(config.mesh)
  check_divisibility(config, num_row_shards(mesh))
  members, controller = make_members(config), make_controller(config)
  objective = objectives.chain(*members.values())
  _try_objective(objective)
  rules = make_advantage_rules(config)
  _try_advantage_rules(rules, config)
  optimizer, schedule = _optimizer(config, controller)
  data = _data(config)
  sizes, policy, params = _model(config, data.tokenizer, mesh)
  ref_params = None
  if needs_reference(objective):
    ref_params = jax.tree.map(jnp.copy, params)
  state, shardings = _first_state(mesh, params, optimizer)
  update = functools.partial(
    make_update,
    objective=objective,
    aggregate=aggregation.by_name(
      config.aggregation, length=config.rollout.response_length
    ),
    controller=controller,
    optimizer=optimizer,
    group_size=config.rollout.group_size,
    temperature=config.rollout.temperature,
    members=members,
    entropy_gradient=config.projection.enabled,
    mesh=mesh,
    **config.training,
  )
  functions = Functions(
    generate=_generator(
      config,
      policy,
      data.tokenizer,
      mesh,
      config.rollout,
      config.rollout.group_size,
    ),
    evaluate=_generator(
      config,
      policy,
      data.tokenizer,
      mesh,
      config.evaluation,
      config.evaluation.num_samples,
    ),
    advantage=jax.jit(functools.partial(advantages.apply_rules, rules)),
    update=_jit(
      update,
      policy,
      donate_first=True,
      out_shardings=(shardings, replicated(mesh)),
    ),
    restart=jax.jit(
      functools.partial(restart, optimizer=optimizer), out_shardings=shardings
    ),
    learning_rate=schedule,
  )
  return Run(mesh, sizes, data, functions, state, ref_params)


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
  check_evaluation(config)
  mesh = make_mesh(config.mesh)
  check_rows(config, "evaluation.prompts_per_batch", num_row_shards(mesh))
  _, policy, params = _model(config, tokenizer, mesh)
  settings = config.evaluation
  generate = _generator(
    config, policy, tokenizer, mesh, settings, settings.num_samples
  )
  return generate, params


def model_folder(path: str) -> Path:
  """Returns the folder of a model: `path` itself, or one that ships with us."""
  ships = path.startswith("bases/") and not Path(path).is_dir()
  folder = Path(__file__).parent / path if ships else Path(path)
  if not folder.is_dir():
    raise ValueError(f"model.path: {path} is not a folder")
  return folder


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


def _optimizer(config: Config, controller: Controller):
  settings = dict(config.optimizer)
  schedule = learning_rate_schedule(
    peak=settings.pop("learning_rate"),
    warmup_steps=settings.pop("warmup_steps"),
    decay_steps=settings.pop("decay_steps"),
    end_fraction=settings.pop("end_fraction"),
  )
  optimizer = make_optimizer(
    controller, schedule, wrap=_projection(config), **settings
  )
  return optimizer, schedule


def _projection(config: Config):
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


def _data(config: Config) -> Data:
  """Reads tokenizer and problems, and fits every prompt to its bucket."""
  tokenizer = tokenizers.load(model_folder(config.model.path))
  task = make_task(
    config.task.name, config.task.data_dir, config.task.difficulty
  )
  asked = "seed_grpo" in config.advantage
  cluster = make_clusterer(config, task) if asked else None
  held_out = load_problems(config, task, config.evaluation.split)
  encode_prompts(held_out, tokenizer, config.rollout.prompt_length)
  stages = _stages(
    config, load_problems(config, task, config.task.train_split), tokenizer
  )
  return Data(task, tokenizer, stages, held_out, cluster)


def load_problems(config: Config, task: Task, split: str) -> Sequence[Problem]:
  """Returns a split of the task, its prompts as the model is to read them."""
  return Templated(task.load(split), make_template(config))


def _stages(
  config: Config,
  problems: Sequence[Problem],
  tokenizer: tokenizers.Tokenizer,
) -> Stages:
  """Makes the stream of prompts, or one for each stage of the curriculum."""
  stream = functools.partial(
    PromptStream,
    tokenizer=tokenizer,
    num_prompts=config.rollout.num_prompts,
    prompt_length=config.rollout.prompt_length,
    seed=config.seed,
  )
  settings = config.curriculum
  if not settings.table:
    return Stages((stream(problems),), length=1)
  entropies = read_entropies(Path(settings.table), config.task, problems)
  rows = stage_rows(entropies, settings.num_stages)
  return Stages(
    tuple(stream([problems[r] for r in stage]) for stage in rows),
    length=settings.steps_per_stage,
  )


def make_template(config: Config) -> Callable[[str], str]:
  """Makes what config.prompt describes: a problem's prompt to the model's."""
  plain = member(templates, config.prompt.template, "prompt.template")
  if not config.prompt.chat:
    return plain
  from entrojax import chat_template  # jinja2, only where a run asks for it

  chat = chat_template.load(model_folder(config.model.path))
  return lambda text: chat(plain(text))


def make_clusterer(config: Config, task: Task) -> Clusterer:
  """Makes what sorts a group's answers by meaning, as config.clusters says."""
  settings = config.clusters
  if settings.unparsed not in clusters.UNPARSED:
    raise ValueError(
      f"clusters.unparsed must be one of {clusters.UNPARSED}, got "
      f"{settings.unparsed!r}"
    )
  equalities = {
    "exact": answers.exact,
    "normalised": answers.normalised,
    "verified": task.equivalent,
  }
  if settings.equality not in equalities:
    raise ValueError(
      f"clusters.equality must be one of {sorted(equalities)}, got "
      f"{settings.equality!r}"
    )
  equivalent = equalities[settings.equality]
  if equivalent is None:
    raise ValueError(
      f"clusters.equality is 'verified' but task {task.name!r} knows no "
      "equality of answers but that of their text: take 'normalised'"
    )
  return functools.partial(
    clusters.cluster,
    equivalent=clusters.Guarded(equivalent),
    unparsed=settings.unparsed,
  )


def make_lora(config: Mapping[str, Any]) -> Lora | None:
  """Makes what config.lora describes; None where all weights are trained."""
  rank, alpha, projections = (
    config["lora"][key] for key in ("rank", "alpha", "projections")
  )
  return Lora(rank, alpha, tuple(projections)) if rank else None


def _model(
  config: Config, tokenizer: tokenizers.Tokenizer, mesh: Mesh
) -> tuple[DecoderConfig, Policy, Params]:
  """Returns sizes, policy and its parameters, which are read onto the mesh."""
  folder = model_folder(config.model.path)
  sizes = hugging_face.read_config(folder)
  if tokenizer.vocab_size > sizes.vocab_size:
    raise ValueError(
      f"{folder}: tokenizer.json has {tokenizer.vocab_size} tokens, the "
      f"vocab_size of config.json is {sizes.vocab_size}"
    )
  adapter, dtype = make_lora(config), jnp.dtype(config.model.dtype)
  model = decoder(
    sizes,
    dtype=dtype,
    scan_layers=config.model.scan_layers,
    rematerialise=config.model.rematerialise,
    lora=adapter,
  )
  init = lambda key: lora.split(model.init(key))
  shapes = jax.eval_shape(init, jax.random.key(0))
  base_places, places = param_shardings(mesh, shapes)
  params = hugging_face.load_params(
    folder,
    sizes,
    # frozen weights are never added to: they need no more than the activations
    dtype=jnp.float32 if adapter is None else dtype,
    shardings=base_places,
  )
  if adapter is None:
    return sizes, Policy(model, None), params
  make = jax.jit(lambda key: init(key)[1], out_shardings=places)
  return sizes, Policy(model, params), make(jax.random.key(config.seed))


def _jit(
  make: Callable[[Model], Callable],
  policy: Policy,
  *,
  donate_first: bool = False,
  **options: Any,
) -> Callable:
  """Jits make(model), whose first argument is the model's parameters or state.

  Args:
    make: a model to a function of arrays.
    policy: its frozen base, if it has one, is an argument of the graph: a
      constant would be compiled into it.
    donate_first: donate the function's first argument.
    **options: of jax.jit.
  """
  donate = {"donate_argnums": 0 if policy.base is None else 1}
  options |= donate if donate_first else {}
  whole = make(policy.model)  # made here, so that errors come now
  if policy.base is None:
    return jax.jit(whole, **options)

  def run(base, *arguments):
    return make(lora.on_base(policy.model, base))(*arguments)

  return functools.partial(jax.jit(run, **options), policy.base)


def _first_state(
  mesh: Mesh, params: Params, optimizer: optax.GradientTransformationExtraArgs
) -> tuple[TrainState, TrainState]:
  """Returns the first state and its shardings; the parameters move into it."""
  make = functools.partial(init_state, optimizer=optimizer)
  shardings = param_shardings(mesh, jax.eval_shape(make, params))
  place = jax.jit(make, out_shardings=shardings, donate_argnums=0)
  return place(params), shardings


def _generator(
  config: Config,
  policy: Policy,
  tokenizer: tokenizers.Tokenizer,
  mesh: Mesh,
  sampling: Mapping[str, Any],
  group_size: int,
) -> Generate:
  """Makes (params, prompts, key) -> `group_size` samples of each prompt."""
  if sampling["temperature"] > 0:
    temperature = sampling["temperature"]
    sampler = make_sampler(top_k=sampling["top_k"], top_p=sampling["top_p"])
  else:
    temperature, sampler = 1.0, greedy
  return _jit(
    lambda model: functools.partial(
      generate,
      model,
      group_size=group_size,
      response_length=config.rollout.response_length,
      eos_ids=tokenizer.eos_ids,
      pad_id=tokenizer.pad_id,
      temperature=temperature,
      sampler=sampler,
    ),
    policy,
    out_shardings=by_row(mesh),
  )
