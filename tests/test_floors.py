"""Imports go down only, and each package is used where it belongs."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "entrojax"

FLOORS = (
  {"types", "masking", "sharding", "hosts"},
  {
    "token_stats",
    "advantages",
    "surrogates",
    "covariance",
    "selection",
    "aggregation",
    "control",
    "entropy_law",
    "semantic",
    "diversity",
    "clusters",
    "answers",
    "symbolic",
    "verify_pool",
  },
  {"objectives", "models"},
  {
    "optimizer",
    "projection",
    "rollout",
    "slots",
    "scoring",
    "rewards",
    "effects",
    "live_law",
    "lines",
    "judges",
    "segmentation",
    "tasks",
    "data",
    "packing",
    "dynamic_sampling",
    "prompt_table",
    "prompt_subset",
    "curriculum",
    "tokenizer",
    "templates",
    "chat_template",
    "embeddings",
    "checkpoint",
    "metrics",
    "progress",
    "runs",
    "figures",
    "summary",
    "sections",
    "report",
    "interrupt",
    "workdir",
  },
  {"train_step", "evaluate", "examples", "recorded"},
  {
    "members",
    "check",
    "check_methods",
    "check_rows",
    "recipe",
    "policy",
    "inputs",
    "build",
    "collect",
    "rollout_step",
    "train",
    "prompt_entropy",
    "evaluate_model",
    "main",
    "command",
    "export",
    "prepare_data",
    "choose_prompts",
    "sft",
  },
)

FOREIGN = {
  "flax": {"models"},
  "ml_collections": {
    "check",
    "check_methods",
    "check_rows",
    "recipe",
    "policy",
    "inputs",
    "build",
    "collect",
    "rollout_step",
    "train",
    "prompt_entropy",
    "choose_prompts",
    "evaluate_model",
    "main",
    "command",
    "sft",
  },
  "tensorflow_datasets": {"tasks"},
  "pyarrow": {"tasks"},
  "reasoning_gym": {"tasks"},
  "math_verify": {"symbolic"},
  "orbax": {"checkpoint"},
  "matplotlib": {"figures", "report"},
  "rich": {"progress"},
  "tensorboardX": {"metrics"},
  "tokenizers": {"tokenizer", "embeddings"},
  "onnxruntime": {"embeddings"},
  "safetensors": {"models"},
  "wtpsplit_lite": {"segmentation"},
  "jinja2": {"chat_template"},
  "tensorflow": set(),
  "torch": set(),
  "configs": set(),
  "experiments": set(),
}

FILES = sorted(p for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")


def place(path: Path) -> str:
  """Returns the module or package of entrojax that a file belongs to."""
  return path.relative_to(ROOT).parts[0].removesuffix(".py")


def floor(name: str) -> int:
  return next(i for i, names in enumerate(FLOORS) if name in names)


def imported(path: Path) -> list[str]:
  """Returns the dotted names that a file imports, anywhere in it."""
  names = []
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      names += [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      names += [f"{node.module}.{alias.name}" for alias in node.names]
  return names


# Parsed before any test runs: Python 3.11 fails where its collector meets
# another test's leftovers (an asyncio task that logs) in the middle of a parse.
IMPORTED = {path: imported(path) for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_imports_from_its_floor_or_below(path):
  own = floor(place(path))
  for name in IMPORTED[path]:
    parts = name.split(".")
    if parts[0] == "entrojax":
      assert floor(parts[1]) <= own, f"{path.name} imports {name}, from above"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_package_is_imported_only_where_it_belongs(path):
  for name in IMPORTED[path]:
    allowed = FOREIGN.get(name.split(".")[0])
    assert allowed is None or place(path) in allowed, f"{path.name}: {name}"


@pytest.mark.parametrize(
  "path",
  [p for p in FILES if place(p) in set.union(*FLOORS[:3]) - {"sharding"}],
  ids=lambda p: str(p.relative_to(ROOT)),
)
def test_mathematics_knows_no_config_objects(path):
  assert not any(name.startswith("ml_collections") for name in IMPORTED[path])
