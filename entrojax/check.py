"""What can be known to be wrong with a config before anything is loaded."""

from collections.abc import Callable, Collection, Mapping
import difflib
import inspect
import itertools
import math
from types import ModuleType
import warnings

from ml_collections import ConfigDict as Config

from entrojax import advantages, control, judges, objectives, segmentation
from entrojax.dynamic_sampling import ON_EXHAUSTED

# what these modules export beside their members
_NO_MEMBERS = (
  *("chain", "policy_loss", "apply_rules", "uplift_rate"),
  *("consensus", "by_pieces", "token_steps"),
)
# members of a chain that take a controller's coefficient, and the controllers
# whose coefficient means what they take
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


def member(module: ModuleType, name: str, key: str) -> Callable:
  """Returns the function of `module` that a config names under `key`.

  Raises:
    ValueError: there is none; the message names the nearest.
  """
  known = _members(module)
  if name in known:
    return getattr(module, name)
  near = difflib.get_close_matches(str(name), known, n=1)
  hint = f"; did you mean {near[0]!r}?" if near else ""
  raise ValueError(f"{key}: there is no {name!r} in {module.__name__}{hint}")


def _members(module: ModuleType) -> list[str]:
  """Returns the names of the functions that a config may ask of `module`."""
  return [
    n
    for n, value in vars(module).items()
    if callable(value)
    and not n.startswith("_")
    and getattr(value, "__module__", "").startswith(module.__name__)
    and n == n.lower()
    and n not in _NO_MEMBERS
  ]


def check_overrides(config: Config, keys: Collection[str]) -> None:
  """Raises ValueError naming the first setting that would do nothing.

  Args:
    config: resolved.
    keys: 'section.leaf' of what the command line set.
  """
  enabled = {*config.objective, *config.advantage, config.control.name}
  if "seed_grpo" in enabled:
    enabled.add("clusters")
  if config.offline.enabled:
    enabled |= {*config.judges, config.segmentation.name}
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
    methods |= set(_members(module))
  for key in keys:
    section, _, leaf = key.partition(".")
    if leaf and section in methods - enabled and key not in switches:
      raise ValueError(
        f"{key} is set and would do nothing: {section!r} is not part of "
        f"advantage = {tuple(config.advantage)}, objective = "
        f"{tuple(config.objective)} or control.name = {config.control.name!r}"
      )


def check(config: Config) -> None:
  """Raises ValueError naming the first key whose value cannot work."""
  check_evaluation(config)
  if not config.task.name:
    raise ValueError("task.name is not set")
  _check_at_least(
    config,
    {
      "lora.rank": 0,
      "num_rollout_steps": 1,
      "rollout.num_prompts": 1,
      "dynamic_sampling.max_batches": 1,
      "training.updates_per_rollout": 1,
      "training.num_epochs": 1,
      "training.num_microbatches": 1,
      "evaluation.every": 0,
      "checkpoint.every": 0,
      "checkpoint.keep": 1,
      "log.every": 1,
      "log.samples": 0,
    },
  )
  if config.rollout.group_size < 2:
    raise ValueError(
      "rollout.group_size must be at least 2, got "
      f"{config.rollout.group_size}: one response has no baseline"
    )
  if config.dynamic_sampling.on_exhausted not in ON_EXHAUSTED:
    raise ValueError(
      f"dynamic_sampling.on_exhausted must be one of {ON_EXHAUSTED}, got "
      f"{config.dynamic_sampling.on_exhausted!r}"
    )
  if not config.rollout.temperature > 0:
    raise ValueError(
      "rollout.temperature must be above 0, got "
      f"{config.rollout.temperature}: training samples cannot be greedy"
    )
  _check_control(config)
  _check_advantage(config)
  _check_stare_target(config)
  _check_projection(config)
  _check_curriculum(config)
  _check_steps(config)
  if config.offline.enabled:
    check_offline(config)
  _check_clip_range(config)
  of_sequences = {"gspo", "bcpg"} & set(config.objective)
  if of_sequences and config.aggregation != "seq-mean-token-mean":
    raise ValueError(
      f"aggregation must be 'seq-mean-token-mean' with {min(of_sequences)} in "
      f"objective, got {config.aggregation!r}"
    )
  _warn_of_settings(config)
  _warn_of_inert_members(config)


def check_offline(config: Config) -> None:
  """Raises ValueError naming the first key that forbids recorded rollouts."""
  check_evaluation(config)
  if not config.task.name:
    raise ValueError("task.name is not set")
  _check_at_least(config, {"rollout.num_prompts": 1, "offline.num_prompts": 1})
  for key in ("dynamic_sampling.enabled", "curriculum.table"):
    if _get(config, key):
      raise ValueError(
        f"{key} is {_get(config, key)} and offline.enabled is True: rollouts "
        "are sampled once, from all prompts alike"
      )


def check_sft(config: Config) -> None:
  """Raises ValueError naming the first key that cannot work in `sft`."""
  _check_numbers(config)
  _check_at_least(
    config,
    {
      "seed": 0,
      "num_steps": 1,
      "lora.rank": 0,
      "sft.max_responses": 1,
      "sft.row_length": 2,
      "sft.num_rows": 1,
      "training.num_microbatches": 1,
      "checkpoint.every": 0,
      "checkpoint.keep": 1,
      "log.every": 1,
    },
  )
  path, characters = config.model.path, config.new_model.characters
  if not path and not characters:
    raise ValueError(
      "model.path is not set, nor is new_model.characters, of a new model"
    )
  if path and characters:
    raise ValueError(
      f"model.path = {path!r} and new_model.characters are both set: is the "
      "model to be a new one?"
    )
  if characters and config.lora.rank:
    raise ValueError(
      "lora.rank is set, and the model is a new one: its weights would stay "
      "random"
    )
  if not config.sft.tasks and not config.sft.files:
    raise ValueError("sft.tasks and sft.files are empty: no example to learn")
  if config.sft.dtype not in ("float32", "bfloat16"):
    raise ValueError(
      f"sft.dtype must be 'float32' or 'bfloat16', got {config.sft.dtype!r}"
    )


def check_sft_rows(config: Config, num_row_shards: int) -> None:
  """Raises ValueError if the rows of a batch do not split evenly."""
  parts = config.training.num_microbatches * num_row_shards
  if config.sft.num_rows % parts:
    raise ValueError(
      f"sft.num_rows = {config.sft.num_rows} do not divide over "
      f"{config.training.num_microbatches} training.num_microbatches x "
      f"{num_row_shards} devices of mesh = {tuple(config.mesh)}"
    )


def check_kind(config: Config, *, sft: bool = False) -> None:
  """Raises ValueError if the config is of another command.

  Args:
    config: of any command.
    sft: whether it should be of entrojax.sft.
  """
  if ("sft" in config) == sft:
    return
  kind, own = ("entrojax.main", "sft") if sft else ("entrojax.sft", "grpo")
  raise ValueError(
    f"--config is one of {kind}: this command needs one such as "
    f"configs/{own}.py"
  )


def check_evaluation(config: Config) -> None:
  """Raises ValueError naming the first key that no model can be judged by."""
  if not config.model.path:
    raise ValueError("model.path is not set")
  _check_numbers(config)
  _check_at_least(
    config,
    {
      "seed": 0,
      "rollout.prompt_length": 1,
      "rollout.response_length": 1,
      "model.query_chunk": 0,
      "rollout.num_slots": 0,
      "rollout.refill_every": 1,
      "evaluation.num_samples": 1,
      "evaluation.prompts_per_batch": 1,
    },
  )
  buckets = tuple(config.rollout.prompt_buckets)
  lengths = (0, *buckets, config.rollout.prompt_length)
  whole = all(isinstance(length, int) for length in lengths)
  if not whole or any(a >= b for a, b in itertools.pairwise(lengths)):
    raise ValueError(
      f"rollout.prompt_buckets = {buckets} must ascend from 1 to below "
      f"rollout.prompt_length = {config.rollout.prompt_length}"
    )
  if config.evaluation.temperature < 0:
    raise ValueError(
      "evaluation.temperature must not be negative, got "
      f"{config.evaluation.temperature}"
    )


def _check_at_least(config: Config, at_least: Mapping[str, int]) -> None:
  """Raises ValueError if a setting, 'section.leaf', is below its least."""
  for key, least in at_least.items():
    value = _get(config, key)
    if value < least:
      raise ValueError(f"{key} must be at least {least}, got {value}")


def _check_advantage(config: Config) -> None:
  """Raises ValueError if rules or members contradict each other."""
  for key in ("advantage", "objective"):
    names = tuple(config[key])
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
      raise ValueError(f"{key} names {twice[0]!r} twice: {names}")
  rules = set(config.advantage)
  if {"overlong_penalty", "overlong_filter"} <= rules:
    raise ValueError(
      "advantage has overlong_filter and overlong_penalty: the filter takes "
      "away the responses that the penalty is for; choose one"
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
      "whose signal that would remove: take grpo, dr_grpo or rloo"
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
  """Raises ValueError if steps are needed and nobody judges them."""
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
  """Raises ValueError if steer and its surrogate clip differently."""
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
  """Raises ValueError if adaptive_stare and its controller disagree."""
  if "adaptive_stare" not in config.objective:
    return
  if config.adaptive_stare.target != config.control.target:
    raise ValueError(
      f"adaptive_stare.target = {config.adaptive_stare.target} must be "
      f"control.target = {config.control.target}"
    )


def _warn_of_settings(config: Config) -> None:
  """Warns of settings that hardly mean what they do."""
  if config.training.scope == "micro" and config.training.num_microbatches == 1:
    warnings.warn(
      "training.scope is 'micro' but training.num_microbatches is 1: the one "
      "part is the mini-batch",
      stacklevel=3,
    )
  for leaf, off in (("top_k", 0), ("top_p", 1.0)):
    if config.rollout[leaf] != off:
      warnings.warn(
        f"rollout.{leaf} is {config.rollout[leaf]}: samples are not the "
        "policy's, and log-probs are still those of the whole distribution",
        stacklevel=3,
      )
  _warn_of_dropped_groups(config)
  one_sided = {"psr", "nsr", "w_reinforce"} & set(config.advantage)
  if one_sided and "positive_reweighting" in config.objective:
    warnings.warn(
      f"positive_reweighting weighs right responses, and so does "
      f"{min(one_sided)} in advantage: both weights multiply",
      stacklevel=3,
    )


def _warn_of_dropped_groups(config: Config) -> None:
  """Warns of rules that learn from the groups that dynamic sampling drops."""
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
        f"dynamic_sampling drops groups that are {groups}: without a baseline "
        f"they carry a signal, which {rule} in advantage would learn from",
        stacklevel=4,
      )


def _warn_of_inert_members(config: Config) -> None:
  """Warns of members of the chain that the schedule leaves nothing to do."""
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
        stacklevel=3,
      )


def _check_numbers(config: Config) -> None:
  """Raises ValueError if a number is NaN or infinite, or a mesh axis is 0."""
  for section, leaves in config.items():
    for leaf, value in leaves.items() if isinstance(leaves, Config) else ():
      if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{section}.{leaf} must be finite, got {value}")
  if any(size == 0 or size < -1 for size in config.mesh):
    raise ValueError(f"mesh sizes are -1 or positive, got {tuple(config.mesh)}")


def _holds_entropy(config: Config) -> bool:
  """Returns whether the controller has a target."""
  make = member(control, config.control.name, "control.name")
  return "target" in inspect.signature(make).parameters


def _check_control(config: Config) -> None:
  """Raises ValueError if the controller lacks a setting or what it drives."""
  name, target = config.control.name, config.control.target
  holds_entropy = _holds_entropy(config)
  if target is not None and name == "no_control":
    raise ValueError(
      f"control.target is {target} but control.name is {name!r}: nothing would "
      "hold it"
    )
  if target is None and holds_entropy:
    raise ValueError("control.target is not set: the entropy to hold, in nats")
  for leaf, value in config.get(name, Config()).items():
    if value is None:
      raise ValueError(f"{name}.{leaf} is not set")
  found = [m for m in config.objective if m in _DRIVEN]
  wanted = [m for m, controllers in _DRIVEN.items() if name in controllers]
  if found == wanted:
    return
  if wanted:
    raise ValueError(
      f"control.name is {name!r}, which drives {wanted[0]!r}: objective must "
      f"have {wanted[0]!r} once and no other driven member, got "
      f"{tuple(config.objective)}"
    )
  raise ValueError(
    f"objective has {found[0]!r} but control.name is {name!r}: it is driven by "
    + " or ".join(repr(controller) for controller in _DRIVEN[found[0]])
  )


def _check_projection(config: Config) -> None:
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
  """Raises ValueError if stages have no length; warns of those never begun."""
  settings = config.curriculum
  if not settings.table:
    return
  if not settings.steps_per_stage or settings.steps_per_stage < 1:
    raise ValueError(
      "curriculum.steps_per_stage must be at least 1, got "
      f"{settings.steps_per_stage}: the rollout steps of a stage"
    )
  last = (settings.num_stages - 1) * settings.steps_per_stage
  if last >= config.num_rollout_steps:
    warnings.warn(
      f"stage {settings.num_stages} of curriculum begins after {last} rollout "
      f"steps, the run ends after num_rollout_steps = "
      f"{config.num_rollout_steps}",
      stacklevel=3,
    )


def check_divisibility(config: Config, num_row_shards: int) -> None:
  """Raises ValueError if a batch does not split evenly.

  Args:
    config: the run's.
    num_row_shards: devices on the mesh's axes data and fsdp.
  """
  training = config.training
  if training.updates_per_rollout % training.num_epochs:
    raise ValueError(
      f"training.updates_per_rollout = {training.updates_per_rollout} is not a "
      f"multiple of training.num_epochs = {training.num_epochs}"
    )
  num_minibatches = training.updates_per_rollout // training.num_epochs
  rollout = config.rollout
  if rollout.num_prompts % num_minibatches:
    raise ValueError(
      f"rollout.num_prompts = {rollout.num_prompts} do not divide over "
      f"{num_minibatches} mini-batches (training.updates_per_rollout / "
      "num_epochs)"
    )
  rows = rollout.num_prompts // num_minibatches * rollout.group_size
  if rows % (training.num_microbatches * num_row_shards):
    raise ValueError(
      f"{rows} responses of a mini-batch (rollout.num_prompts x group_size / "
      f"{num_minibatches} mini-batches) do not divide over "
      f"{training.num_microbatches} training.num_microbatches x "
      f"{num_row_shards} devices of mesh = {tuple(config.mesh)}"
    )
  check_rollout_rows(config, num_row_shards)
  check_evaluation_rows(config, num_row_shards)


def check_rollout_rows(config: Config, num_row_shards: int) -> None:
  """Raises ValueError if rows of a rollout do not divide over the mesh."""
  for key in ("rollout.num_prompts", "rollout.num_slots"):
    _check_rows(config, key, num_row_shards)


def check_evaluation_rows(config: Config, num_row_shards: int) -> None:
  """Raises ValueError if rows of an evaluation do not divide over the mesh."""
  for key in ("evaluation.prompts_per_batch", "rollout.num_slots"):
    _check_rows(config, key, num_row_shards)


def _check_rows(config: Config, key: str, num_row_shards: int) -> None:
  """Raises ValueError if the rows of `key` do not divide over the mesh."""
  if _get(config, key) % num_row_shards:
    raise ValueError(
      f"{key} = {_get(config, key)} does not divide over {num_row_shards} "
      f"devices of mesh = {tuple(config.mesh)}"
    )


def _get(config: Config, key: str):
  value = config
  for part in key.split("."):
    value = value[part]
  return value
