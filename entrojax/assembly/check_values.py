"""Check values of settings that several commands have."""

from collections.abc import Mapping
import itertools
import math
from typing import Any

from ml_collections import ConfigDict as Config

from entrojax.arguments import require, require_at_least, require_one_of
from entrojax.assembly.check_sizes import check_integers
from entrojax.models.kept import (
  ATTENTION,
  AUTO,
  OF_A_LAYER,
  OF_MICROBATCHES,
)
from entrojax.system.refusals import gathered

DTYPES = ("float32", "bfloat16")


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


def check_numbers(config: Config) -> None:
  """Raise ValueError if a number is not finite or too large, or a mesh is none.

  The other checks compute with these numbers.
  """
  with gathered() as each:
    for section, leaves in config.items():
      for leaf, value in leaves.items() if isinstance(leaves, Config) else ():
        each(
          require,
          not isinstance(value, float) or math.isfinite(value),
          f"{section}.{leaf} must be finite, got {value}",
        )
    each(_check_mesh, tuple(config.mesh))
    each(check_integers, config)


def _check_mesh(mesh: tuple[Any, ...]) -> None:
  """Raise ValueError unless a mesh is three sizes, -1 or positive."""
  if len(mesh) != 3 or not all(type(size) is int for size in mesh):
    raise ValueError(
      f"mesh must be three whole numbers such as (-1, 1, 1), got {mesh}"
    )
  if any(size == 0 or size < -1 for size in mesh):
    raise ValueError(f"mesh sizes are -1 or positive, got {mesh}")


def check_precision(config: Config) -> None:
  """Check the type of numbers, and what is kept of them; see models/kept.py."""
  settings = {"model": OF_A_LAYER, "training": OF_MICROBATCHES}
  with gathered() as each:
    for key in ("dtype", "product_dtype"):
      each(require_one_of, f"model.{key}", config.model[key], DTYPES)
    for section, values in settings.items():
      if section not in config:
        continue
      key, value = f"{section}.rematerialise", config[section].rematerialise
      each(require_one_of, key, value, (*values, AUTO))
      each(
        require,
        value != ATTENTION or config.model.fused_attention,
        f"{key} = {ATTENTION!r} keeps what fused attention returns, and "
        "model.fused_attention is False",
      )


def check_at_least(config: Config, at_least: Mapping[str, int]) -> None:
  """Raise ValueError if settings 'section.leaf' are below their least value."""
  with gathered() as each:
    for key, least in at_least.items():
      each(require_at_least, key, setting(config, key), least)


def check_buckets(config: Config, key: str, key_of_longest: str) -> None:
  """Raise ValueError if lengths do not ascend to below the longest one."""
  buckets, longest = (
    tuple(setting(config, key)),
    setting(config, key_of_longest),
  )
  lengths = (0, *buckets, longest)
  integers = all(isinstance(length, int) for length in lengths)
  if not integers or any(a >= b for a, b in itertools.pairwise(lengths)):
    raise ValueError(
      f"{key} = {buckets} must ascend from 1 to below {key_of_longest} = "
      f"{longest}"
    )


def setting(config: Config, key: str):
  """Return the setting 'section.leaf'."""
  value = config
  for part in key.split("."):
    value = value[part]
  return value
