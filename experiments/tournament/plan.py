"""Which runs of the tournament are still missing.

A run is done if its line is kept. The line counts only if the run had the
settings that the same entry has today. For this, the settings of the testbed
are recorded beside the lines when the first line is kept, and a line has what
differs from them. A setting that older code did not have counts as its default,
and the section of a method that is not in the run counts for nothing.
"""

from collections.abc import Mapping, Sequence
import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict as Config

from entrojax.assembly import sections
from entrojax.sweeps.units import MAY_CHANGE
from entrojax.system.provenance import default_settings
from entrojax.system.workdir import concerns, differences, flatten
from experiments.tournament.entries import Run, is_quick
from experiments.tournament.lines import Line
from experiments.tournament.options import RESULTS


def lines_file(base: str, folder: Path = RESULTS) -> Path:
  """Return the file of the kept lines of a base."""
  return folder / f"{base}.jsonl"


def read_recorded(base: str, folder: Path = RESULTS) -> dict[str, Any]:
  """Return the settings that kept lines differ from; empty without a record."""
  path = _record_file(base, folder)
  return json.loads(path.read_text()) if path.exists() else {}


def record_settings(base: str, config: Config, folder: Path = RESULTS) -> None:
  """Record the settings of a testbed, unless there is a record already."""
  path = _record_file(base, folder)
  if not path.exists():
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_plain(config), indent=0, sort_keys=True)
    path.write_text(f"{text}\n", encoding="utf-8")


def settings_beside(
  recorded: Mapping[str, Any], config: Config
) -> dict[str, Any]:
  """Return the settings of a run that differ from the record, by flat key."""
  missing = object()
  return {
    key: value
    for key, value in _plain(config).items()
    if recorded.get(key, missing) != value
  }


def changes(
  line: Line, recorded: Mapping[str, Any], config: Config
) -> list[str]:
  """List the settings in which a kept line differs from its run today.

  Args:
    line: the kept line.
    recorded: the record that its settings differ from, by flat key.
    config: the run's settings today.

  Returns:
    'section.key was 1, is 2' for each setting that counts.
  """
  unused = set(sections.method_names()) - _methods_in(config)
  unused.update(MAY_CHANGE)
  if not config.projection.enabled:
    unused.add("projection")
  changes = differences(
    {**recorded, **line.settings},
    _plain(config),
    defaults=default_settings("configs.default"),
  )
  return [text for text in changes if not concerns(text, tuple(unused))]


def check_lines(
  runs: Sequence[Run],
  configs: Mapping[str, Config],
  lines: Mapping[str, Line],
  recorded: Mapping[str, Any],
  path: Path,
) -> None:
  """Check that all kept lines were made with the settings of today.

  Args:
    runs: the runs of the tournament.
    configs: the name of a run -> its settings.
    lines: the kept lines, by name.
    recorded: the record that their settings differ from.
    path: the file of the lines, for the message.

  Raises:
    ValueError: a line was made with other settings; all of them are listed.
  """
  stale = []
  for run in runs:
    if run.name in lines:
      changed = changes(lines[run.name], recorded, configs[run.name])
      if changed:
        stale.append(f"{run.name}: {'; '.join(changed)}")
  if stale:
    raise ValueError(
      "\n  ".join(
        [
          f"{path} has lines of runs with other settings. Undo the change, or "
          "remove these lines and the runs are made again:",
          *stale,
        ]
      )
    )


def missing(
  runs: Sequence[Run],
  lines: Mapping[str, Line],
  base: str,
  *,
  quick: bool = False,
  names: Sequence[str] = (),
) -> list[int]:
  """Return the places of the runs to make, in order.

  Args:
    runs: all runs.
    lines: the kept lines, by name.
    base: the base of the runs.
    quick: only the runs of --quick.
    names: only entries with these names; empty: all.

  Raises:
    ValueError: no entry has one of the names.
  """
  if unknown := set(names) - {run.entry.name for run in runs}:
    raise ValueError(
      f"no entry {', '.join(sorted(unknown))}: --dry_run lists the entries"
    )
  return [
    place
    for place, run in enumerate(runs)
    if run.name not in lines
    and (not quick or is_quick(run, base))
    and (not names or run.entry.name in names)
  ]


def lacking_file(config: Config) -> str | None:
  """Return the file that a run needs and that another command makes."""
  table = config.curriculum.table
  return table if table and not Path(table).exists() else None


def _record_file(base: str, folder: Path) -> Path:
  return folder / f"{base}.settings.json"


def _plain(config: Config) -> dict[str, Any]:
  """Return settings by flat key, as JSON can hold them."""
  return flatten(json.loads(json.dumps(config.to_dict())))


def _methods_in(config: Config) -> set[str]:
  """Return the names of the methods that are in a run."""
  return {
    *config.objective,
    *config.advantage,
    *config.judges,
    config.control.name,
    config.segmentation.name,
  }
