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
    two runs share it, by its path. A run that is found twice, as by a link to
    its directory, is there once.
  """
  by_place: dict[Path, Path] = {}
  for folder in folders:
    for path in _runs_below(Path(folder)):
      by_place.setdefault(path.resolve(), path)
  names = [place.name for place in by_place]
  if len(set(names)) < len(names):
    start = os.path.commonpath(by_place)
    names = [os.path.relpath(place, start) for place in by_place]
  return dict(zip(names, by_place.values(), strict=True))


def _runs_below(folder: Path) -> list[Path]:
  """List the run directories in a folder; without any, the folder itself.

  Links are followed, but no directory is looked into twice.
  """
  seen: set[Path] = set()

  def walk(place: Path) -> Iterator[Path]:
    if _is_run(place):
      yield place
    elif place.is_dir() and place.resolve() not in seen:
      seen.add(place.resolve())
      for child in sorted(place.iterdir(), key=_natural):
        yield from walk(child)

  return list(walk(folder)) or [folder]


def _natural(path: Path) -> tuple[bool, str]:
  """Return a key by which seed2 comes before seed10, and links come last."""
  name = re.sub(r"\d+", lambda digits: digits[0].zfill(12), path.name)
  return path.is_symlink(), name


def _is_run(folder: Path) -> bool:
  return any((folder / file).is_file() for file in (METRICS_FILE, CONFIG_FILE))
