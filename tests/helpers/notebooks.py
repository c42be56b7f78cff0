"""Run the code cells of a notebook in this process, with other parameters.

A kernel of its own would compile everything again. A cell's last expression is
shown as a notebook shows it: as PNG, as HTML or as text.
"""

import ast
import json
from pathlib import Path
from typing import Any

PARAMETERS = "parameters"  # the tag of the cell that a test may change


def cells(path: Path) -> list[dict[str, Any]]:
  """Return the cells of a notebook."""
  return json.loads(path.read_text(encoding="utf-8"))["cells"]


def code_of(cell: dict[str, Any]) -> str:
  """Return the source of a cell."""
  return "".join(cell["source"])


def is_parameters(cell: dict[str, Any]) -> bool:
  """Return whether a cell holds the parameters."""
  return PARAMETERS in cell["metadata"].get("tags", ())


def stored_with(document: dict[str, Any]) -> dict[str, Any]:
  """Return the parameters in whose place a notebook's outputs were stored."""
  return document["metadata"].get("stored_with", {})


def run_notebook(path: Path, **parameters: Any) -> list[Any]:
  """Run all code cells in the current folder.

  Args:
    path: the notebook.
    **parameters: values in place of the values in the cell of parameters,
      which must set the same names.

  Returns:
    What the last expressions of the cells show: bytes for a PNG, otherwise a
    text.
  """
  names: dict[str, Any] = {"__name__": "__main__"}
  shown = []
  for number, cell in enumerate(cells(path)):
    if cell["cell_type"] != "code":
      continue
    value = run_cell(code_of(cell), f"{path.name}, cell {number}", names)
    if value is not None:
      shown.append(show(value))
    if is_parameters(cell):
      assert parameters.keys() <= names.keys()
      names |= parameters
  return shown


def run_cell(source: str, name: str, names: dict[str, Any]) -> Any:
  """Run a cell; return the value of its last expression, or None."""
  tree = ast.parse(source, name)
  last = tree.body[-1] if tree.body else None
  if not isinstance(last, ast.Expr):
    exec(compile(tree, name, "exec"), names)
    return None
  tree.body.pop()
  exec(compile(tree, name, "exec"), names)
  return eval(compile(ast.Expression(last.value), name, "eval"), names)


def show(value: Any) -> Any:
  """Return what a notebook would show of a value."""
  for method in ("_repr_png_", "_repr_html_"):
    if hasattr(value, method):
      return getattr(value, method)()
  return repr(value)
