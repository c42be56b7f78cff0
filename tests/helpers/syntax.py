"""Parse Python files once, safely in the middle of a run of tests."""

import ast
import functools
import gc
from pathlib import Path


@functools.cache
def parse(path: Path) -> ast.Module:
  """Parse a file.

  The garbage collector is off meanwhile. In Python 3.11 ast.parse fails if the
  collector runs another test's finalizers, such as an asyncio task's that logs.
  """
  was_enabled = gc.isenabled()
  gc.disable()
  try:
    return ast.parse(path.read_text(encoding="utf-8"))
  finally:
    if was_enabled:
      gc.enable()
