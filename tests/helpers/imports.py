"""Say in one sentence that a room's __init__.py lacks an import line."""

from collections.abc import Mapping
import inspect


def require_functions(names: Mapping[str, object]) -> None:
  """Check that imported names are functions, not the files that define them.

  `from room import name` imports the file `name.py` of a room whose __init__.py
  does not import the function of that name.

  Args:
    names: the names of a file, globals().

  Raises:
    ImportError: a name is a file; the message has the missing line.
  """
  for name, value in dict(names).items():
    if inspect.ismodule(value) and hasattr(value, name):
      room = value.__name__.rpartition(".")[0]
      raise ImportError(
        f"{room} does not know {name}: add the line 'from {value.__name__} "
        f"import {name}' to its __init__.py"
      )
