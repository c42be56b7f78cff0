"""The families of problems that this package generates, one in each module.

A module of this folder defines FAMILY. FAMILIES maps the names of the modules
to their families, so a new file is a new family. ../README.md explains how to
write one.
"""

import importlib
import pkgutil

from entrojax.types import Family

FAMILIES: dict[str, Family] = {
  module.name: importlib.import_module(f"{__name__}.{module.name}").FAMILY
  for module in pkgutil.iter_modules(__path__)
}
