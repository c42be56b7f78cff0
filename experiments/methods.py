"""The methods that experiments compare: their configs and their claims.

A method's claim is the direction in which, by its paper, it moves the policy's
entropy compared with plain GRPO: higher (+1), lower (-1), or no claim that a
few updates could test (0). Some claims become visible in a few updates only
with settings that differ from the method's config. These are its overrides.
"""

from collections.abc import Mapping, Sequence
import difflib
import importlib
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ml_collections import ConfigDict as Config

BASELINE = "grpo"
CONFIGS = Path(__file__).parents[1] / "configs"
OFFLINE = ("bcpg", "bcpg_nsa")  # on another task: see negative_samples.py
_NO_METHODS = {
  *("__init__", "default", "countdown", "reasoning", "gsm8k", "sft"),
  *OFFLINE,
}
_NO_METHODS_BEGIN = ("warm_up_", "qwen25_")  # for base models and TPU slices


class Method(NamedTuple):
  """The claim of a method, and the settings that make it visible.

  Attributes:
    direction: of the entropy, compared with plain GRPO: 1 = higher, -1 = lower,
      0 = no claim.
    overrides: 'section.leaf' -> value.
    why: the reason for the overrides, or for a direction of 0.
  """

  direction: int
  overrides: Mapping[str, Any] = MappingProxyType({})
  why: str = ""


def config_names() -> list[str]:
  """List the names of all method configs, sorted."""
  names = {path.stem for path in CONFIGS.glob("*.py")}
  return sorted(
    name
    for name in names - _NO_METHODS
    if not name.startswith(_NO_METHODS_BEGIN)
  )


def method_config(name: str, preset: str = "demo") -> Config:
  """Load a method's config, without its overrides."""
  return importlib.import_module(f"configs.{name}").get_config(preset)


_SAME = "no claim about entropy against GRPO"
_BELOW = "a target above the base's 0.51 nats: entropy is too low"

METHODS = {
  "adaptive_entropy": Method(
    1,
    {"control.target": 0.8, "adaptive_coefficient.initial": 5e-3},
    f"{_BELOW}; the largest coefficient from the start",
  ),
  "adaptive_stare": Method(
    1, {"control.target": 0.8, "adaptive_stare.target": 0.8}, _BELOW
  ),
  "advanced": Method(1, {"control.target": 0.8}, _BELOW),
  "ce_gppo": Method(1),
  "cispo": Method(1),
  "clip_cov": Method(1),
  "clip_higher": Method(1),
  "dapo": Method(
    1, why="without its dynamic sampling: all methods get the same batches"
  ),
  "dr_grpo": Method(0, why=_SAME),
  "entrocraft": Method(
    1, {"entrocraft.low": (0.8, 0.8), "entrocraft.high": (0.9, 0.9)}, _BELOW
  ),
  "entropic": Method(1, {"control.target": 0.8}, _BELOW),
  "entropy_advantage": Method(1),
  "entropy_bonus": Method(1),
  "erc": Method(1),
  "grpo_dropout": Method(1),
  "gspo": Method(0, why=_SAME),
  "kl_cov": Method(1),
  "nsr": Method(1),
  "positive_reweighting": Method(1, {"control.target": 0.8}, _BELOW),
  "projection": Method(1),
  "psr": Method(-1),
  "reference_kl": Method(1),
  "rloo": Method(0, why=_SAME),
  "seed_grpo": Method(0, why="its claim is against Dr.GRPO"),
  "sent": Method(
    1,
    {"curriculum.table": None},
    "without its curriculum: all methods get the same batches",
  ),
  "sent_token": Method(1),
  "stare": Method(1, {"stare.target": 0.8}, _BELOW),
  "siren": Method(
    1,
    {"siren.anchor": 1.3},
    "an anchor above the base's 0.98 nats: entropy is too low",
  ),
  "starter": Method(1),
  "steer": Method(1),
  "top_entropy": Method(1),
  "unlikeliness": Method(1),
  "w_reinforce": Method(1),
}


def select_methods(names: Sequence[str]) -> dict[str, Method]:
  """Return the methods with these names; all methods if there are no names.

  Raises:
    ValueError: a name is unknown; the message names the nearest one.
  """
  for name in names:
    if name not in METHODS:
      near = difflib.get_close_matches(name, METHODS, n=1)
      hint = f"; did you mean {near[0]!r}?" if near else ""
      raise ValueError(f"there is no method {name!r}{hint}")
  return {name: METHODS[name] for name in names or METHODS}
