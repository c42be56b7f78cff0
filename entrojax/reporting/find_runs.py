"""Find and name the run directories below some folders.

A run directory holds a metrics.jsonl or a config.json. A folder that is none
stands for all run directories below it, such as the units of a sweep.
"""

from collections.abc import Iterator, Sequence
import os
from pathlib import Path
import re

from entrojax.reporting.run_logs import METRICS_FILE
from entrojax.system.workdir import CONFIG_FILE


def find_runs(folders: Sequence[str]) -> dict[str, Path]:
  """Find the run directories of folders, and name them.

  Args:
    folders: run directories, or folders with run directories below them.

  Returns:
    Name -> run directory. A run is named by the last part of its path or, if
    two runs share it, by its path.
  """
  paths = [path for folder in folders for path in _runs_below(Path(folder))]
  paths = list(dict.fromkeys(paths))
  names = [path.resolve().name for path in paths]
  if len(set(names)) < len(names):
    start = os.path.commonpath(paths)
    names = [os.path.relpath(path, start or ".") for path in paths]
  return dict(zip(names, paths, strict=True))


def _runs_below(folder: Path) -> list[Path]:
  """List the run directories in a folder; without any, the folder itself."""

  def walk(place: Path) -> Iterator[Path]:
    if _is_run(place):
      yield place
    elif place.is_dir():
      for child in sorted(place.iterdir(), key=_natural):
        yield from walk(child)

  return list(walk(folder)) or [folder]


def _natural(path: Path) -> str:
  """Return a key by which seed2 comes before seed10."""
  return re.sub(r"\d+", lambda digits: digits[0].zfill(12), path.name)


def _is_run(folder: Path) -> bool:
  return any((folder / file).is_file() for file in (METRICS_FILE, CONFIG_FILE))
