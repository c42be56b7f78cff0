"""A method is its function, an import line, a config, and a row of a suite.

Nothing of a method is forgotten: each test names what is missing, and where.
The suites test_objective_suite.py, test_rule_suite.py and test_control.py name
the functions that they have no row for.
"""

import ast
import importlib
from pathlib import Path
import re

import pytest

import configs
from entrojax.assembly import lookup
from entrojax.assembly.sections import ROOMS, describe, method_names
from experiments.tables import pages
from tests.helpers.paths import ROOT
from tests.helpers.syntax import parse

METHODS = configs.methods()
FILES = [
  (room, returns, path.stem)
  for room, returns, _ in ROOMS
  if hasattr(room, "__path__")
  for path in sorted(Path(room.__file__).parent.glob("*.py"))
  if path.stem != "__init__"
]
CHOICES = {
  "objective": "Objective",
  "advantage": "AdvantageRule",
  "control": "Controller",
}


@pytest.mark.parametrize(
  ("room", "returns", "file"),
  FILES,
  ids=[f"{room.__name__}.{file}" for room, _, file in FILES],
)
def test_a_room_imports_every_method_of_its_files(room, returns, file):
  module = importlib.import_module(f"{room.__name__}.{file}")
  for name in lookup.functions(module, returns):
    assert name in lookup.functions(room, returns), (
      f"{room.__name__} does not know {name}: add the line 'from "
      f"{module.__name__} import {name}' to its __init__.py"
    )


def names_of(key: str) -> set[str]:
  """Return the functions of one kind that a method names, or a variant."""
  names = {name for m in METHODS.values() for name in m.variants}
  for name, method in METHODS.items():
    value = configs.combine(name, method.testbed)[key]
    names |= {value.name} if key == "control" else set(value)
  return names


@pytest.mark.parametrize("key", CHOICES)
def test_every_method_has_a_config(key):
  room = next(room for room, returns, _ in ROOMS if returns == CHOICES[key])
  for name in set(lookup.functions(room, CHOICES[key])) - names_of(key):
    pytest.fail(
      f"no config uses {name}: add configs/{name}.py with its METHOD, or name "
      "it in the variants of another METHOD"
    )


@pytest.mark.parametrize("page", ["README.md", "configs/README.md"])
def test_the_tables_of_methods_are_up_to_date(page):
  text, new = (ROOT / page).read_text(), pages()[ROOT / page]
  rows, new_rows = set(text.splitlines()), set(new.splitlines())
  for row in [*sorted(rows - new_rows), *sorted(new_rows - rows)]:
    name = re.match(r"\| (?:\[`)?([\w ]+)", row)[1].strip()
    is_method = name in METHODS or name in configs.FAMILIES
    missing = "" if is_method else f"; configs/{name}.py has no METHOD"
    pytest.fail(
      f"{page} has another row of {name} than its METHOD says{missing}: run "
      "python -m experiments.tables"
    )


def test_every_method_belongs_to_a_family():
  for name, method in METHODS.items():
    assert method.family in configs.FAMILIES, f"configs/{name}.py"


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_where_its_numbers_on_a_testbed_come_from(name):
  method = METHODS[name]
  for testbed in method.on.keys() ^ method.origins.keys():
    pytest.fail(
      f"configs/{name}.py: {testbed} must stand both in `on`, with numbers, "
      "and in `origins`, with a sentence that says where they come from"
    )
  for testbed, origin in method.origins.items():
    assert re.match("(Guess|Scaled|Measured): |As configs/", origin), (
      f"configs/{name}.py: the origin of its numbers on {testbed} must begin "
      "with Guess:, Scaled:, Measured: or As configs/..., the file"
    )


@pytest.mark.parametrize("name", METHODS)
def test_a_header_has_what_the_tables_have(name):
  method = METHODS[name]
  header = importlib.import_module(f"configs.{name}").__doc__
  header = " ".join(header.split())
  for number in re.findall(r"[+-][\d.]+ ± [\d.]+", method.measured):
    assert number in header, f"configs/{name}.py measured {number}"
  if re.fullmatch(r"\d+\.\d+", method.paper) and name != "bcpg_nsa":
    assert method.paper in header, f"configs/{name}.py cites {method.paper}"
  for file in method.files:
    assert (ROOT / "entrojax" / file).exists(), f"configs/{name}.py: {file}"


@pytest.mark.parametrize("name", method_names())
def test_every_setting_of_a_method_has_its_meaning(name):
  # an entry begins with two spaces; its further lines have more
  for entry in re.split(r"\n  (?=\S)", describe(name))[1:]:
    setting, _, meaning = " ".join(entry.split()).partition(": ")
    assert meaning or " = " not in setting, (
      f"{setting.strip(':')} has no entry below Args: in its function's "
      "docstring"
    )


def test_assembly_decides_nothing_by_the_name_of_a_method():
  names = set(method_names())
  for path in (ROOT / "entrojax" / "assembly").glob("*.py"):
    for node in ast.walk(parse(path)):
      if isinstance(node, ast.Constant) and node.value in names:
        pytest.fail(
          f"{path.name}:{node.lineno} has the name {node.value!r}: let the "
          "function declare what is meant, in its traits"
        )
