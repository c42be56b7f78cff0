"""Variables are named after the data that they hold."""

import ast

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.syntax import parse

FOLDERS = ("configs", "entrojax", "experiments", "tests")
# participles that say how a value came about, but not what it is
PARTICIPLES = {"asked", "drawn", "found", "known", "said", "told", "wanted"}


def names(tree: ast.Module) -> set[tuple[int, str]]:
  """Return the variables and the parameters of a file, each with its line."""
  stored = {
    (node.lineno, node.id)
    for node in ast.walk(tree)
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
  }
  return stored | {
    (node.lineno, node.arg)
    for node in ast.walk(tree)
    if isinstance(node, ast.arg)
  }


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_variable_is_a_participle_of_speech(folder):
  places = [
    f"{path.relative_to(ROOT)}:{line}: {name}"
    for path in sorted((ROOT / folder).rglob("*.py"))
    for line, name in sorted(names(parse(path)))
    if name in PARTICIPLES
  ]
  assert not places, f"name the data that these variables hold: {places}"


def test_loops_parameters_and_assignments_are_searched():
  tree = ast.parse("def f(a, *, b): c = a\nfor d in b: (e := d)")
  assert {name for _, name in names(tree)} == set("abcde")
