"""List the configs of a folder, format a config, and find the nearest names.

A config is a Python file with a function get_config, and the words after a
colon choose a part of it, as in configs/gsm8k.py:sample. Files are listed
without importing them: by the first line of the docstring, and by the names of
the presets, which are the keys of an argument `presets` or are listed below the
docstring's line "Presets".

Configs are read as nested mappings here, whatever their class.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
import difflib
from pathlib import Path
import re
import runpy
from typing import Any

_MARKS = {"METHOD": "methods", "TESTBED": "testbeds"}
_OTHERS = "others"
_HEADS = {
  "methods": "methods, --config={folder}/NAME.py, or with a testbed or a "
  "preset of one, --config={folder}/NAME.py:WORD,WORD",
  "testbeds": "testbeds, --config={folder}/NAME.py, or with a method or a "
  "preset, --config={folder}/NAME.py:WORD,WORD",
  _OTHERS: "other configs, --config={folder}/NAME.py, or with a preset, "
  "--config={folder}/NAME.py:WORD",
}


def list_configs(folder: Path) -> str:
  """List the configs of a folder and of the folders in it, by kind.

  Raises:
    ValueError: there is no such folder, as when the command is not run in the
      root of the repository.
  """
  if not folder.is_dir():
    raise ValueError(
      f"there is no folder {folder} here: run the command in the folder of the "
      "repository, or name a config file of your own"
    )
  parts = []
  for place in (folder, *sorted(p for p in folder.iterdir() if p.is_dir())):
    kinds: dict[str, list[str]] = {kind: [] for kind in _HEADS}
    for path in sorted(place.glob("*.py")):
      if path.name != "__init__.py":
        kind, line = _describe(path)
        kinds[kind].append(line)
    parts += [
      "\n".join([_HEADS[kind].format(folder=place), *lines])
      for kind, lines in kinds.items()
      if lines
    ]
  return "\n\n".join(parts)


def _describe(path: Path) -> tuple[str, str]:
  """Return the kind of a config file, and its line of the list."""
  tree = ast.parse(path.read_text(encoding="utf-8"))
  names = {
    target.id
    for node in tree.body
    if isinstance(node, ast.Assign)
    for target in node.targets
    if isinstance(target, ast.Name)
  }
  kind = next((k for mark, k in _MARKS.items() if mark in names), _OTHERS)
  text = ast.get_docstring(tree) or ""
  presets = [name for name in _presets(tree, text) if name]
  shown = f" Presets: {', '.join(presets)}." if presets else ""
  return kind, f"  {path.stem:21} {text.partition(chr(10))[0]}{shown}"


def _presets(tree: ast.Module, docstring: str) -> Iterable[str]:
  """Return the names of a file's presets."""
  for node in ast.walk(tree):
    if (
      isinstance(node, ast.keyword)
      and node.arg == "presets"
      and isinstance(node.value, ast.Dict)
    ):
      keys = [k for k in node.value.keys if isinstance(k, ast.Constant)]
      return [str(key.value) for key in keys]
  section = re.search(r"^Presets\b.*?:\n((?:  .*\n?)+)", docstring, re.M)
  return re.findall(r"^  (\w+)  ", section[1], re.M) if section else ()


def flat(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
  """Yield each setting of a nested mapping as ('section.leaf', value)."""
  for name, value in settings.items():
    if hasattr(value, "items"):
      yield from flat(value, f"{prefix}{name}.")
    else:
      yield f"{prefix}{name}", value


def format_settings(settings: Any, defaults: Mapping[str, Any]) -> str:
  """Format a config, one setting in a line; note what differs from a default.

  Args:
    settings: the config.
    defaults: the default of each setting by its flat name.
  """
  lines = []
  for name, value in flat(settings):
    line = f"{name} = {value!r}"
    if name in defaults and defaults[name] != value:
      line += f"  # default: {defaults[name]!r}"
    lines.append(line)
  return "\n".join(lines)


def load(value: str) -> Any:
  """Build the config that --config=FILE.py or FILE.py:WORDS names."""
  file, _, words = value.partition(":")
  get_config = runpy.run_path(file)["get_config"]
  return get_config(words) if words else get_config()


def nearest_settings(key: str, names: Iterable[str]) -> list[str]:
  """Return the settings that an unknown key may stand for, at most three.

  These are the settings with the same last part, and otherwise with the most
  similar last part, as optimizer.learning_rate for learning_rate.
  """
  names = list(names)
  last = key.rpartition(".")[2]
  by_last: dict[str, list[str]] = {}
  for name in names:
    by_last.setdefault(name.rpartition(".")[2], []).append(name)
  near = difflib.get_close_matches(last, by_last, n=1)
  candidates = by_last[near[0]] if near else []
  rank = lambda name: difflib.SequenceMatcher(None, key, name).ratio()
  return sorted(candidates, key=rank, reverse=True)[:3]


def nearest_file(path: Path, folder: Path) -> Path | None:
  """Return the config file that a path which does not exist may stand for.

  Args:
    path: as the user wrote it, such as grpo or configs/grop.py.
    folder: the folder of configs, which is searched besides the path's own.
  """
  places = dict.fromkeys((path.parent, folder))
  files = {
    file.stem: file
    for place in reversed(places)
    for file in sorted(place.glob("*.py"))
    if file.name != "__init__.py"
  }
  near = difflib.get_close_matches(path.stem, files)
  if not near:
    return None
  # two letters in the wrong order are the likeliest mistake
  return files[max(near, key=lambda n: sorted(n) == sorted(path.stem))]
