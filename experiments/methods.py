"""The methods that experiments compare: a config each, and what it promises.

A method's direction is what its paper says of the entropy against plain GRPO:
+1 higher, -1 lower, 0 nothing that a few updates could show.
"""

from collections.abc import Mapping
import importlib
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ml_collections import ConfigDict as Config

BASELINE = "grpo"
CONFIGS = Path(__file__).parents[1] / "configs"
_NO_METHODS = ("__init__", "default", "countdown", "warm_up_countdown")


class Method(NamedTuple):
  """A config beside its overrides and its promise."""

  direction: int  # of the entropy against plain GRPO
  # what makes a few updates show it: 'section.leaf' -> value
  overrides: Mapping[str, Any] = MappingProxyType({})
  why: str = ""  # of the overrides, or of a direction of 0


def config_names() -> list[str]:
  """Returns the names of all method configs, sorted."""
  names = {path.stem for path in CONFIGS.glob("*.py")}
  return sorted(names - set(_NO_METHODS))


def method_config(name: str, preset: str = "demo") -> Config:
  """Returns a method's config, its overrides not applied."""
  return importlib.import_module(f"configs.{name}").get_config(preset)
