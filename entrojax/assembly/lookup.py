"""The functions that a config names: objectives, rules, controllers, judges."""

from collections.abc import Callable
import difflib
from types import ModuleType

# what these modules export beside their members
_NO_MEMBERS = (
  *("chain", "policy_loss", "apply_rules", "uplift_rate"),
  *("consensus", "by_pieces", "token_steps"),
)


def member(module: ModuleType, name: str, key: str) -> Callable:
  """Returns the function of `module` that a config names under `key`.

  Raises:
    ValueError: there is none; the message names the nearest.
  """
  known = members(module)
  if name in known:
    return getattr(module, name)
  near = difflib.get_close_matches(str(name), known, n=1)
  hint = f"; did you mean {near[0]!r}?" if near else ""
  raise ValueError(f"{key}: there is no {name!r} in {module.__name__}{hint}")


def members(module: ModuleType) -> list[str]:
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
