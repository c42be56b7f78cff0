"""Record in the run directory how a run was started: provenance.json.

    {
      "command": ["python", "-m", "entrojax.main", "--config=...", ...],
      "settings": {"optimizer.learning_rate": 0.0001, ...},
      "versions": {"entrojax": "0.1.0", "jax": "0.10.2", ...},
      "commit": "0123abcd...",
      "devices": {"platform": "cpu", "kind": "cpu", "count": 1, "cores": 2},
      "resumed": [{"command": ..., ...}]
    }

`settings` are those that differ from the default config. `commit` is the
package's commit in git; "-dirty" follows it if code or requirements have
changed since, and it is null outside git. `cores` is the number of processor
cores that the process may use; like the mesh, it changes the rounding of the
numbers. `resumed` has the same five keys for each time that the run was
resumed.

The file can be published: an absolute path below the current folder becomes
relative to it, any other one keeps its last part only, and the file names no
machine, no address and no person.
"""

from collections.abc import Mapping, Sequence
import functools
import importlib.metadata
import json
import os
from pathlib import Path
import platform
import re
import subprocess
import sys
from typing import Any

import numpy as np

from entrojax.system.workdir import flatten

FILE = "provenance.json"
VERSION = "0.1.0"  # of entrojax; pyproject.toml reads it here

_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
_ADDRESS = re.compile(r"(\w+://)[^\s'\",]+")
# an absolute path, or one in somebody's home directory
_PART = r"[^\s/'\",:]+"
_PATH = re.compile(rf"(?<![\w.<~/])(?:~\w+)?/(?:{_PART}/)*({_PART})/?")
_CODE = (":(top,glob)**/*.py", ":(top)requirements.txt")
_WITH_ADDRESS = ("coordinator",)  # flags whose value names a machine


def write_provenance(
  workdir: Path,
  settings: Mapping[str, Any],
  default: Mapping[str, Any] | None,
  devices: np.ndarray,
  *,
  fresh: bool,
  command: Sequence[str] | None = None,
) -> None:
  """Write provenance.json, or add to it that the run was resumed.

  Args:
    workdir: the run directory.
    settings: the resolved config, nested.
    default: the default config, nested; None: all settings are recorded.
    devices: the devices of the mesh.
    fresh: whether the run starts rather than resumes.
    command: the command line to record; None: this process's own.

  Raises:
    ValueError: the run is resumed and its provenance.json is damaged.
  """
  path = workdir / FILE
  record = {
    "command": _without_places(
      own_command() if command is None else list(command)
    ),
    "settings": _without_places(_changed(settings, default or {})),
    "versions": _versions(),
    "commit": _commit(),
    "devices": {
      "platform": devices.flat[0].platform,
      "kind": devices.flat[0].device_kind,
      "count": int(devices.size),
      "cores": num_cores(),
    },
  }
  before = None if fresh else read_provenance(workdir)
  if before is None:
    before = {**record, "resumed": []}
  else:
    before["resumed"].append(record)
  # a killed process leaves the old file or the new one, never a part
  partial = path.with_suffix(".partial")
  partial.write_text(json.dumps(before, indent=2) + "\n")
  partial.replace(path)


def read_provenance(workdir: Path) -> dict[str, Any] | None:
  """Read provenance.json of a run directory; None if there is no such file.

  Raises:
    ValueError: the file is damaged.
  """
  path = workdir / FILE
  if not path.exists():
    return None
  try:
    record = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(record["resumed"], list):
      raise TypeError("resumed")
    return record
  except (ValueError, KeyError, TypeError) as error:
    raise ValueError(
      f"{path} is damaged: delete it, and nothing but the record of how the "
      "run was started is lost"
    ) from error


def default_settings(place: str) -> dict[str, Any] | None:
  """Return the default settings of a kind of run, nested.

  Args:
    place: the module that has them, such as "configs.default". The package does
      not contain the configs, so a run from elsewhere may not find the module.

  Returns:
    The settings; None if there is no such module.
  """
  try:
    return importlib.import_module(place).get_config().to_dict()
  except ImportError:
    return None


def num_cores() -> int:
  """Return the number of cores that this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def own_command() -> list[str]:
  """Return the command line of this process, as a user would type it."""
  spec = getattr(sys.modules.get("__main__"), "__spec__", None)
  if spec is None:
    return ["python", *sys.argv]
  name = spec.name.removesuffix(".__main__")
  return ["python", "-m", name, *sys.argv[1:]]


def _changed(
  settings: Mapping[str, Any], default: Mapping[str, Any]
) -> dict[str, Any]:
  """Return the settings that differ from the default ones, by flat key."""
  old, new = (flatten(json.loads(json.dumps(x))) for x in (default, settings))
  missing = object()
  return {
    key: value
    for key, value in sorted(new.items())
    if old.get(key, missing) != value
  }


def _without_places(value: Any) -> Any:
  """Remove addresses, and the folders of absolute paths, from all texts."""
  if isinstance(value, Mapping):
    return {key: _without_places(item) for key, item in value.items()}
  if isinstance(value, list):
    items = list(value)
    for place, item in enumerate(items):
      name, equals, _ = str(item).partition("=")
      if name.lstrip("-") in _WITH_ADDRESS:
        if equals:
          items[place] = f"{name}=..."
        else:  # the next argument is the value
          items[place + 1 : place + 2] = ["..."]
    return [_without_places(item) for item in items]
  if not isinstance(value, str):
    return value
  here = re.escape(str(Path.cwd()) + os.sep)
  text = re.sub(here, "", _ADDRESS.sub(r"\1...", value))
  return _PATH.sub(r".../\1", text)


def _versions() -> dict[str, str]:
  """Return the versions of entrojax, Python and the main libraries."""
  versions = {"entrojax": VERSION, "python": platform.python_version()}
  for name in _LIBRARIES:
    versions[name] = importlib.metadata.version(name)
  return versions


@functools.cache
def _commit() -> str | None:
  """Return the commit of the package; None if it is not in a git checkout."""
  here = Path(__file__)
  git = ["git", "-C", str(here.parent)]
  try:
    # a checkout around an installed package is another project's
    subprocess.run(
      [*git, "ls-files", "--error-unmatch", here.name],
      check=True,
      capture_output=True,
      timeout=30,
    )
    commit = subprocess.run(
      [*git, "rev-parse", "HEAD"],
      check=True,
      capture_output=True,
      text=True,
      timeout=30,
    ).stdout.strip()
    # not what a run adds to, such as kept results
    changed = subprocess.run(
      [*git, "status", "--porcelain", "--untracked-files=no", "--", *_CODE],
      check=True,
      capture_output=True,
      text=True,
      timeout=30,
    ).stdout
  except (OSError, subprocess.SubprocessError):
    return None
  return f"{commit}-dirty" if changed else commit
