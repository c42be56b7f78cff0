"""Check the values of a config before anything is loaded.

There is a check for each use of a config: training (`check`), collecting
rollouts (`check_offline`), evaluation (`check_evaluation`) and supervised
learning (`check_sft`). `check` calls `check_methods`, too. `check_kind` refuses
a config of another command. Most names and arguments of methods are checked
later, when methods.py builds the methods.
"""

from collections.abc import Mapping
import itertools
import math
import warnings

from ml_collections import ConfigDict as Config

from entrojax.arguments import require_one_of
from entrojax.assembly.check_methods import check_methods
from entrojax.assembly.check_sizes import (
  check_batch_sizes,
  check_integers,
  warn_of_shared_problems,
)
from entrojax.assembly.evaluation_sets import requested
from entrojax.assembly.own_methods import NO_METHODS, OwnMethods
from entrojax.assembly.roll_backs import changed_by_roll_back
from entrojax.models.kept import (
  ATTENTION,
  AUTO,
  OF_A_LAYER,
  OF_MICROBATCHES,
)
from entrojax.reporting.alarms import ACTIONS, WATCHED
from entrojax.rollouts.dynamic_sampling import ON_EXHAUSTED


def check(config: Config, own: OwnMethods = NO_METHODS) -> None:
  """Check the config of a training run.

  Args:
    config: the settings of the run.
    own: functions that take the place of those that the config names.

  Raises:
    ValueError: a value cannot work, or two contradict each other; the message
      names the first such key.
  """
  check_evaluation(config)
  _check_task(config)
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
      "evaluation.token_samples": 0,
      "checkpoint.every": 0,
      "checkpoint.minutes": 0,
      "checkpoint.keep": 1,
      "log.every": 1,
      "log.samples": 0,
      "log.token_groups": 0,
      "ledger.every": 0,
      "alarms.window": 1,
      "faults.max_in_a_row": 1,
    },
  )
  _check_response_buckets(config)
  kept = tuple(config.log.keep_batches)
  if any(not isinstance(step, int) or step < 1 for step in kept):
    raise ValueError(
      f"log.keep_batches = {kept!r}; expected rollout steps, from 1"
    )
  if config.ledger.every and config.model.fused_attention:
    raise ValueError(
      f"ledger.every = {config.ledger.every} and model.fused_attention is "
      "True: the ledger transposes gradients, and fused kernels cannot be "
      "transposed; turn one of them off"
    )
  for name in WATCHED:
    require_one_of(f"alarms.{name}", config.alarms[name], ACTIONS)
  if (changed := changed_by_roll_back(config)) is not None:
    check(changed, own)  # what a roll-back would leave
  require_one_of("faults.reward", config.faults.reward, ("zero", "raise"))
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
  if config.offline.enabled:
    _check_recording(config)
  _check_signals(config)
  best = config.checkpoint.keep_best
  if best and not config.evaluation.every:
    raise ValueError(
      f"checkpoint.keep_best = {best!r} and evaluation.every is 0: a run that "
      "is evaluated at its ends only has no best checkpoint to keep"
    )
  check_batch_sizes(config)
  warn_of_shared_problems(config)
  check_methods(config, own)


def _check_signals(config: Config) -> None:
  """Check what measures the policy; warn where two measures differ."""
  require_one_of("control.signal", config.control.signal, ("policy", "batch"))
  low, high = config.dynamic_sampling.low, config.dynamic_sampling.high
  if not 0 <= low < high <= 1:
    raise ValueError(
      f"dynamic_sampling.low = {low} and high = {high} must be mean rewards "
      "with 0 <= low < high <= 1"
    )
  for leaf in ("temperature", "top_k", "top_p"):
    trained, evaluated = config.rollout[leaf], config.evaluation[leaf]
    if evaluated is not None and evaluated != trained:
      warnings.warn(
        f"evaluation.{leaf} is {evaluated} and rollout.{leaf} is {trained}: "
        "evaluations measure another policy than the one that is trained, and "
        "their entropies differ",
        stacklevel=3,
      )


def check_offline(config: Config) -> None:
  """Check a config from which rollouts are collected, without training.

  Raises:
    ValueError: a value cannot work; the message names the first such key.
  """
  check_evaluation(config)
  _check_task(config)
  _check_recording(config)


def _check_task(config: Config) -> None:
  """Raise ValueError if there is no task."""
  if not config.task.name:
    raise ValueError("task.name is not set")


def _check_recording(config: Config) -> None:
  """Raise ValueError naming the first key that rules out recorded rollouts."""
  _check_at_least(config, {"rollout.num_prompts": 1, "offline.num_prompts": 1})
  for key in ("dynamic_sampling.enabled", "curriculum.table"):
    if _get(config, key):
      raise ValueError(
        f"{key} is {_get(config, key)} and offline.enabled is True: recorded "
        "rollouts are sampled only once, and from all prompts alike"
      )


def check_sft(config: Config) -> None:
  """Check the config of supervised learning.

  Raises:
    ValueError: a value cannot work; the message names the first such key.
  """
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
      "checkpoint.minutes": 0,
      "checkpoint.keep": 1,
      "faults.max_in_a_row": 1,
      "log.every": 1,
    },
  )
  if config.checkpoint.keep_best:
    raise ValueError(
      "checkpoint.keep_best is set, and entrojax.sft evaluates nothing: leave "
      "it out"
    )
  for section in ("model", "training"):
    if config[section].rematerialise == AUTO:
      raise ValueError(
        f"{section}.rematerialise = {AUTO!r} is a setting of entrojax.main: "
        "entrojax.sft needs True or False"
      )
  path, characters = config.model.path, config.new_model.characters
  if not path and not characters:
    raise ValueError(
      "model.path is not set, nor is new_model.characters: set one of them, "
      "to train an existing model or a new one"
    )
  if path and characters:
    raise ValueError(
      f"model.path = {path!r} and new_model.characters are both set: train "
      "either that model or a new one"
    )
  if characters and config.lora.rank:
    raise ValueError(
      "lora.rank is set, and the model is a new one, whose own weights would "
      "stay random: set lora.rank to 0"
    )
  if not config.sft.tasks and not config.sft.files:
    raise ValueError("sft.tasks and sft.files are empty: no example to learn")
  if config.sft.dtype not in ("float32", "bfloat16"):
    raise ValueError(
      f"sft.dtype must be 'float32' or 'bfloat16', got {config.sft.dtype!r}"
    )


def check_kind(config: Config, *, sft: bool = False) -> None:
  """Raise ValueError if the config belongs to another command.

  Args:
    config: the config of any command.
    sft: whether the command is entrojax.sft.
  """
  if ("sft" in config) == sft:
    return
  kind, own = "entrojax.sft", "configs/grpo.py"
  if sft:
    kind, own = "entrojax.main", "configs/sft.py"
  raise ValueError(
    f"--config is a config of {kind}: this command needs one such as {own}"
  )


def check_evaluation(config: Config) -> None:
  """Check the settings that sampling and evaluating a model depend on.

  Raises:
    ValueError: a value makes evaluation impossible; the message names the
      first such key.
  """
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
  _check_buckets(config, "rollout.prompt_buckets", "rollout.prompt_length")
  check_prompt(config)
  temperature = config.evaluation.temperature
  if temperature is not None and temperature < 0:
    raise ValueError(
      f"evaluation.temperature must not be negative, got {temperature}"
    )
  for request in requested(config):
    if temperature == 0 and request.num_samples > 1:
      raise ValueError(
        f"evaluation.temperature is 0 and {request.label} has "
        f"{request.num_samples} samples for each prompt: greedy samples are "
        "all the same. Set evaluation.num_samples to 1"
      )


def _check_buckets(config: Config, key: str, key_of_longest: str) -> None:
  """Raise ValueError if lengths do not ascend to below the longest one."""
  buckets, longest = tuple(_get(config, key)), _get(config, key_of_longest)
  lengths = (0, *buckets, longest)
  integers = all(isinstance(length, int) for length in lengths)
  if not integers or any(a >= b for a, b in itertools.pairwise(lengths)):
    raise ValueError(
      f"{key} = {buckets} must ascend from 1 to below {key_of_longest} = "
      f"{longest}"
    )


def _check_response_buckets(config: Config) -> None:
  """Raise ValueError if training.response_buckets cannot work."""
  key = "training.response_buckets"
  _check_buckets(config, key, "rollout.response_length")
  buckets = tuple(config.training.response_buckets)
  if buckets and config.training.num_microbatches == 1:
    raise ValueError(
      f"{key} = {buckets} sorts rows into micro-batches by length, and "
      "training.num_microbatches is 1: raise it, or leave the buckets out"
    )


def check_prompt(config: Config) -> None:
  """Raise ValueError if a setting of prompts is unknown or does nothing."""
  prompt = config.prompt
  require_one_of("prompt.too_long", prompt.too_long, ("raise", "drop"))
  for key in ("system", "template_arguments"):
    if prompt[key] and not prompt.chat:
      raise ValueError(
        f"prompt.{key} is set and would do nothing: prompt.chat is False, so "
        "that no chat template is applied"
      )


def _check_at_least(config: Config, at_least: Mapping[str, int]) -> None:
  """Raise ValueError if a setting 'section.leaf' is below its least value."""
  for key, least in at_least.items():
    value = _get(config, key)
    if value < least:
      raise ValueError(f"{key} must be at least {least}, got {value}")


def _check_numbers(config: Config) -> None:
  """Raise ValueError if a number is not finite or a mesh axis is 0."""
  for section, leaves in config.items():
    for leaf, value in leaves.items() if isinstance(leaves, Config) else ():
      if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{section}.{leaf} must be finite, got {value}")
  mesh = tuple(config.mesh)
  if len(mesh) != 3 or not all(type(size) is int for size in mesh):
    raise ValueError(
      f"mesh must be three whole numbers such as (-1, 1, 1), got {mesh}"
    )
  if any(size == 0 or size < -1 for size in mesh):
    raise ValueError(f"mesh sizes are -1 or positive, got {mesh}")
  check_integers(config)
  _check_rematerialisation(config)
  require_one_of("model.dtype", config.model.dtype, ("float32", "bfloat16"))


def _check_rematerialisation(config: Config) -> None:
  """Check what the backward pass is to keep; see models/kept.py."""
  settings = {"model": OF_A_LAYER, "training": OF_MICROBATCHES}
  for section, values in settings.items():
    if section not in config:
      continue
    key, value = f"{section}.rematerialise", config[section].rematerialise
    require_one_of(key, value, (*values, AUTO))
    if value == ATTENTION and not config.model.fused_attention:
      raise ValueError(
        f"{key} = {ATTENTION!r} keeps what fused attention returns, and "
        "model.fused_attention is False"
      )


def _get(config: Config, key: str):
  """Return the setting 'section.leaf'."""
  value = config
  for part in key.split("."):
    value = value[part]
  return value
