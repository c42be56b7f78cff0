"""Run a command in this process, as `python -m` would run it.

A process of its own takes seconds to import JAX and to compile what this one
has compiled already. tests/test_resume.py and tests/system/test_hosts.py start
real processes.
"""

import contextlib
import importlib
import io
from typing import NamedTuple

from tests.helpers.paths import ROOT


class Done(NamedTuple):
  """How a command ended."""

  returncode: int
  stdout: str
  stderr: str


def run_command(module: str, *arguments: str) -> Done:
  """Run main(arguments) of a module in the root of the repository.

  Args:
    module: such as "entrojax.report".
    *arguments: the command line after the module's name.
  """
  main = importlib.import_module(module).main
  output, errors, status = io.StringIO(), io.StringIO(), 0
  with (
    contextlib.chdir(ROOT),
    contextlib.redirect_stdout(output),
    contextlib.redirect_stderr(errors),
  ):
    try:
      main(arguments)
    except SystemExit as end:
      status = end.code or 0
  return Done(status, output.getvalue(), errors.getvalue())
