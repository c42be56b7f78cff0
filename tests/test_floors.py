"""The layout of the package: imports go down only, without circles."""

import ast
import functools
from pathlib import Path
import re

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.syntax import parse

PACKAGE = ROOT / "entrojax"

# From the ground up. A file imports its own room and the floors below it.
FLOORS = (
  "types traits arguments",
  "masking schedules system answers",
  "control",
  "entropy models tasks",
  "advantages objectives data",
  "judges reporting update",
  "rollouts",
  "assembly",
  "instruments",
  "choose_prompts collect evaluate_model "
  "export prepare_data replay report tokens",
  "loop",
  "train prompt_entropy sft",
  "sweeps",
  "main sweep __main__",
)
FLOOR = {room: i for i, rooms in enumerate(FLOORS) for room in rooms.split()}

# packages that are imported in these rooms alone
FOREIGN = {
  "flax": "models",
  # in system, only to try each setting of a command line by itself
  "ml_collections": "system assembly train main sft evaluate_model collect "
  "prompt_entropy choose_prompts replay sweeps sweep",
  "tensorflow_datasets": "tasks",
  "pyarrow": "tasks",
  "reasoning_gym": "tasks",
  "math_verify": "answers",
  "orbax": "system",
  "matplotlib": "reporting",
  "pandas": "reporting",
  "plotly": "reporting",
  "rich": "reporting",
  "tensorboardX": "reporting",
  "tokenizers": "data answers",
  "onnxruntime": "answers",
  "safetensors": "models",
  "wtpsplit_lite": "judges",
  "jinja2": "data",
  "tensorflow": "",
  "torch": "",
  "configs": "",
  "experiments": "",
}

FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")
MAX_TOP_LEVEL_FILES = 20


def room(path: Path) -> str:
  """Return the room, or the top-level module, that a file belongs to."""
  return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def imported(path: Path) -> list[str]:
  """Return the dotted names that a file imports, anywhere in it."""
  names = []
  for node in ast.walk(parse(path)):
    if isinstance(node, ast.Import):
      names += [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      names += [f"{node.module}.{alias.name}" for alias in node.names]
  return names


# a config is resolved in assembly; the files of these rooms see none
WITHOUT_CONFIG = {*" ".join(FLOORS[: FLOORS.index("assembly")]).split()}


def config_parameters(tree: ast.Module) -> list[str]:
  """Return 'line: name' of every parameter annotated with a config's type."""
  return [
    f"{node.lineno}: {node.arg}"
    for node in ast.walk(tree)
    if isinstance(node, ast.arg)
    and node.annotation is not None
    and re.search(r"\b(Config|ConfigDict)\b", ast.unparse(node.annotation))
  ]


def test_every_room_stands_on_a_floor():
  assert {room(path) for path in FILES} == set(FLOOR)


def test_the_map_of_the_package_has_the_rooms_in_their_order():
  """It leaves out the commands, which share their floors."""
  text = ast.get_docstring(parse(PACKAGE / "__init__.py"))
  lines = re.findall(r"^    ([a-z, ]+?)   *[a-z].*$", text, re.MULTILINE)
  rooms = [name for line in lines for name in line.split(", ")]
  commands = {path.stem for path in PACKAGE.glob("*.py")} - set(rooms)
  assert set(rooms) == FLOOR.keys() - commands
  assert rooms == sorted(rooms, key=FLOOR.__getitem__)


def test_the_top_level_is_short():
  assert len(list(PACKAGE.glob("*.py"))) <= MAX_TOP_LEVEL_FILES


def test_files_import_their_own_room_and_the_floors_below():
  upward = [
    f"{path.relative_to(PACKAGE)} imports {name}"
    for path in FILES
    for name in imported(path)
    if name.startswith("entrojax.")
    and (other := name.split(".")[1]) != room(path)
    and FLOOR[other] >= FLOOR[room(path)]
  ]
  assert not upward


def test_no_files_import_each_other_in_a_circle():
  modules = {
    ".".join(
      ("entrojax", *path.relative_to(PACKAGE).with_suffix("").parts)
    ): path
    for path in FILES
  }
  below = {
    module: {
      other
      for name in imported(path)
      for other in (name, name.rpartition(".")[0])
      if other in modules and other != module
    }
    for module, path in modules.items()
  }
  while leaves := [module for module, others in below.items() if not others]:
    for leaf in leaves:
      del below[leaf]
    for others in below.values():
      others.difference_update(leaves)
  assert not below, f"circles among {sorted(below)}"


@pytest.mark.parametrize("package", FOREIGN)
def test_a_foreign_package_is_imported_only_where_it_belongs(package):
  strangers = [
    str(path.relative_to(PACKAGE))
    for path in FILES
    for name in imported(path)
    if name.split(".")[0] == package
    and room(path) not in FOREIGN[package].split()
  ]
  assert not strangers


def test_below_assembly_no_function_takes_a_config():
  configs = {
    str(path.relative_to(PACKAGE)): parameters
    for path in FILES
    if room(path) in WITHOUT_CONFIG
    and (parameters := config_parameters(parse(path)))
  }
  assert not configs


def test_the_search_for_configs_finds_those_of_assembly():
  assert config_parameters(parse(PACKAGE / "assembly" / "run.py"))
