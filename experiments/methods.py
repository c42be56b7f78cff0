"""List the methods that experiments compare, by name."""

from collections.abc import Sequence
import difflib

from ml_collections import ConfigDict as Config

import configs
from configs import Method

BASELINE = "grpo"


def _is_compared(method: Method) -> bool:
  """Return whether a method runs on the same batches as GRPO."""
  return method.testbed == configs.methods()[BASELINE].testbed


def method_config(name: str, preset: str = "demo") -> Config:
  """Load a method's config, without its overrides."""
  return configs.combine(name, configs.methods()[name].testbed, preset)


METHODS = {
  name: method
  for name, method in configs.methods().items()
  if name != BASELINE and _is_compared(method)
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
