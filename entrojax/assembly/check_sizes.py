"""Check numbers of a config against the sizes that they have to fit.

The sizes belong to 32-bit integers, to the run's model and to its sets of
problems. Numbers that cannot work raise ValueError; numbers that probably are
mistakes are warned about, with both numbers.
"""

from collections.abc import Iterator
import math
from typing import Any
import warnings

import jax
from ml_collections import ConfigDict as Config
import numpy as np

from entrojax.arguments import require
from entrojax.assembly.evaluation_sets import requested
from entrojax.assembly.named_methods import entropies
from entrojax.assembly.own_methods import NO_METHODS, OwnMethods
from entrojax.models.sizes import DecoderConfig
from entrojax.schedules import is_schedule, parse_schedule
from entrojax.system.refusals import gathered
from entrojax.tasks.files import parse_split

_LARGEST = 2**31 - 1  # of a 32-bit integer


def _largest(value: Any, key: str, config: Config) -> tuple[float, str]:
  """Return the largest number that a setting has in a run, and where.

  Args:
    value: None, a number, numbers, or a schedule over optimizer steps.
    key: the setting.
    config: the settings of the run.

  Returns:
    (the number, -inf without any; '' or ' at optimizer step N').
  """
  if value is None:
    return -math.inf, ""
  if isinstance(value, int | float):
    return value, ""
  if not isinstance(value, str) and not is_schedule(value):
    return max(value), ""
  steps = np.arange(
    config.num_rollout_steps * config.training.updates_per_rollout
  )
  numbers = np.asarray(jax.vmap(parse_schedule(value, key).value)(steps))
  step = int(numbers.argmax())
  return float(numbers[step]), f" at optimizer step {step}"


def check_integers(config: Config) -> None:
  """Raise ValueError for whole numbers that do not fit 32 bits."""
  with gathered() as each:
    for key, value in _leaves(config):
      each(
        require,
        not isinstance(value, int) or abs(value) <= _LARGEST,
        f"{key} must be below 2^31 = {_LARGEST + 1}, got {value}",
      )


def _leaves(config: Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
  """Yield the numbers of a config as ('section.leaf', value)."""
  for name in config:
    value = config[name]
    if isinstance(value, Config):
      yield from _leaves(value, f"{prefix}{name}.")
    elif isinstance(value, tuple | list):
      yield from ((f"{prefix}{name}", item) for item in value)
    else:
      yield f"{prefix}{name}", value


def check_batch_sizes(config: Config) -> None:
  """Raise ValueError if a batch has more tokens than 32 bits can count."""
  rollout, evaluation = config.rollout, config.evaluation
  length = rollout.prompt_length + rollout.response_length
  batches = {
    "rollout.num_prompts x rollout.group_size": (
      rollout.num_prompts * rollout.group_size
    ),
    "evaluation.prompts_per_batch x the number of samples": (
      evaluation.prompts_per_batch
      * max(request.num_samples for request in requested(config))
    ),
  }
  with gathered() as each:
    for name, rows in batches.items():
      each(
        require,
        rows * length <= _LARGEST,
        f"{name} = {rows} rows of rollout.prompt_length + "
        f"rollout.response_length = {length} tokens are {rows * length} "
        f"tokens, and a batch may have {_LARGEST}",
      )


def warn_of_shared_problems(config: Config) -> None:
  """Warn of an evaluation set that shares problems with the training split."""
  task = config.task
  for request in requested(config):
    spec = request.spec
    same = (spec.task, spec.difficulty, spec.data_dir) == (
      *(task.name, task.difficulty, task.data_dir),
    )
    if same and _overlap(spec.split, task.train_split):
      warnings.warn(
        f"the evaluation set {request.label!r} and task.train_split = "
        f"{task.train_split!r} share problems: the run is evaluated on what it "
        "is trained on",
        stacklevel=3,
      )


def _overlap(one: str, other: str) -> bool:
  """Return whether two parts of splits share rows, as far as names tell."""
  try:
    (name, first), (other_name, second) = map(parse_split, (one, other))
  except ValueError:
    return False  # whoever reads it raises the error
  if name != other_name:
    return False
  bounds = (first.start, first.stop, second.start, second.stop)
  if any(bound is not None and bound < 0 for bound in bounds):
    return True  # it counts from the end
  start = max(first.start or 0, second.start or 0)
  stops = [s.stop for s in (first, second) if s.stop is not None]
  return start < min(stops, default=math.inf)


def check_against_model(
  config: Config, sizes: DecoderConfig, own: OwnMethods = NO_METHODS
) -> None:
  """Check settings against the sizes of the model; warn of a needless rank.

  Args:
    config: the settings of a training run.
    sizes: the sizes of its model.
    own: functions that take the place of those that the config names.

  Raises:
    ValueError: an entropy that a method compares with the policy's is above the
      highest entropy of a token.
  """
  highest = math.log(sizes.vocab_size)
  with gathered() as each:
    for key, value in entropies(config, own):
      largest, place = _largest(value, key, config)
      each(
        require,
        largest < highest,
        f"{key} is {largest:g} nats{place}, and the entropy of a token is at "
        f"most ln {sizes.vocab_size} = {highest:.3g}, with a vocabulary of "
        f"{sizes.vocab_size} tokens",
      )
  narrowest = min(sizes.hidden_size, sizes.num_key_value_heads * sizes.head_dim)
  if config.lora.rank > narrowest:
    warnings.warn(
      f"lora.rank is {config.lora.rank}, and the narrowest projection of the "
      f"model has a side of {narrowest}: a higher rank adds nothing",
      stacklevel=2,
    )
