"""Look up the functions that a config names: objectives, rules, judges, ...

There is no registry: a config may name any public function of the module that
the module or one of its submodules defines, except those in _NOT_CHOICES.
"""

from collections.abc import Callable
import difflib
from types import ModuleType

# functions of these modules that are not choices of a config
_NOT_CHOICES = (
  *("chain", "policy_loss", "apply_rules", "uplift_rate"),
  *("consensus", "by_pieces", "token_steps"),
)


def function(module: ModuleType, name: str, key: str) -> Callable:
  """Return the function of a module that a config names.

  Args:
    module: such as entrojax.objectives.
    name: the function's name.
    key: the setting that names it, for the message.

  Raises:
    ValueError: the module has no such function; the message suggests the
      nearest name.
  """
  choices = names(module)
  if name in choices:
    return getattr(module, name)
  near = difflib.get_close_matches(str(name), choices, n=1)
  hint = f"; did you mean {near[0]!r}?" if near else ""
  raise ValueError(f"{key}: there is no {name!r} in {module.__name__}{hint}")


def names(module: ModuleType) -> list[str]:
  """Return the names of the functions that a config may choose."""
  return [
    n
    for n, value in vars(module).items()
    if callable(value)
    and not n.startswith("_")
    and getattr(value, "__module__", "").startswith(module.__name__)
    and n == n.lower()
    and n not in _NOT_CHOICES
  ]
