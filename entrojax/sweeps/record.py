"""Record which units a work directory holds: sweep.json.

    {
      "config": "configs/sweeps/quick.py",
      "base": {"seed": 0, ...},
      "units": {
        "grpo,seed=0": {
          "values": {"config": "configs/grpo.py:test", "config.seed": 0},
          "settings": {"seed": 0}
        }
      }
    }

`base` is the config of the file itself. `values` are what get_hyper, the
function of a config file that lists the units (hyper.py), gave a unit.
`settings` are all settings in which the unit then differs from `base`. A unit
keeps its directory, even if the names of units that are added later say more.

`extend_record` adds units. It raises ValueError if `base` has changed since, or
if a unit with the same values now has other settings: runs of the old and of
the new config must not be mixed in one directory.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from entrojax.sweeps.units import MAY_CHANGE, Unit, name_units, plain_values
from entrojax.system.provenance import default_settings
from entrojax.system.workdir import (
  CONFIG_FILE,
  SWEEP_FILE,
  concerns,
  differences,
  flatten,
)

_LOCK = ".sweep.lock"


class Record(NamedTuple):
  """The contents of sweep.json."""

  config: str  # the config file, with its preset
  base: dict[str, Any]  # its settings, nested
  units: dict[str, Any]  # name -> {"values": ..., "settings": ...}


def read_record(workdir: Path) -> Record | None:
  """Read sweep.json of a work directory; None if there is no such file.

  Raises:
    ValueError: the file is damaged, or the directory belongs to a single run.
  """
  path = workdir / SWEEP_FILE
  if (workdir / CONFIG_FILE).exists():
    raise ValueError(
      f"{workdir} is the directory of a single run: choose another --workdir"
    )
  if not path.exists():
    return None
  try:
    content = json.loads(path.read_text(encoding="utf-8"))
    record = Record(content["config"], content["base"], content["units"])
    for unit in record.units.values():
      flatten(unit["values"]), flatten(unit["settings"])
    flatten(record.base)
    return record
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise ValueError(
      f"{path} is damaged: move it away, and the sweep writes it again and "
      "checks each unit's own config.json"
    ) from error


def extend_record(
  record: Record | None,
  config: str,
  base: Mapping[str, Any],
  units: Sequence[Unit],
  workdir: Path,
) -> tuple[Record, list[str]]:
  """Add the units of a sweep to the record of its work directory.

  Args:
    record: what the directory holds; None: nothing.
    config: the config file of the sweep.
    base: the settings of that file, nested.
    units: the units, in the order of the sweep.
    workdir: the directory, for messages.

  Returns:
    The new record, and the name of each unit.

  Raises:
    ValueError: two units are equal or have one name, the directory holds
      another sweep, or a config has changed.
  """
  own_base = json.loads(json.dumps(base))
  record = record or Record(config, own_base, {})
  if record.config != config:
    raise ValueError(
      f"{workdir} holds the sweep of {record.config}, not of {config}: choose "
      "another --workdir"
    )
  defaults = default_settings("configs.default")
  if changed := _changes(record.base, own_base, defaults):
    raise ValueError(
      f"{workdir} holds units of {config} with another config: "
      f"{'; '.join(changed)}. Choose another --workdir, or undo the change"
    )
  settings = [_beside(own_base, unit) for unit in units]
  _check_different(units, settings)
  recorded = {
    name: (_what_counts(unit["settings"]), unit["values"])
    for name, unit in record.units.items()
  }
  values = [json.loads(json.dumps(plain_values(u.values))) for u in units]
  names = name_units([unit.values for unit in units])
  for place, own in enumerate(settings):
    counts = _what_counts(own)
    for name, (other_settings, other_values) in recorded.items():
      if other_settings == counts:
        names[place] = name  # its directory exists under this name
      elif other_values == values[place]:
        changed = _changes(other_settings, counts)
        raise ValueError(
          f"{workdir} holds {name} with another config: {'; '.join(changed)}. "
          "Choose another --workdir, or undo the change"
        )
  _check_names(units, names, recorded, settings)
  new = {
    name: {"values": values[place], "settings": settings[place]}
    for place, name in enumerate(names)
    if name not in record.units
  }
  return Record(config, own_base, {**record.units, **new}), names


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
  """Keep other sweeps from changing the record meanwhile; they wait."""
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    lock = (workdir / _LOCK).open("a")
  except OSError as error:
    raise ValueError(f"--workdir={workdir}: {error.strerror}") from error
  with lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield


def write_record(workdir: Path, record: Record) -> None:
  """Write sweep.json, so that a killed process leaves no part of it."""
  partial = workdir / f"{SWEEP_FILE}.{os.getpid()}"
  partial.write_text(json.dumps(record._asdict(), indent=2) + "\n")
  partial.replace(workdir / SWEEP_FILE)


def _beside(base: Mapping[str, Any], unit: Unit) -> dict[str, Any]:
  """Return the settings of a unit that differ from the base, by flat key."""
  missing = object()
  old = flatten(base)
  new = flatten(json.loads(json.dumps(unit.config.to_dict())))
  return {
    key: value for key, value in new.items() if old.get(key, missing) != value
  }


def _what_counts(settings: Mapping[str, Any]) -> dict[str, Any]:
  """Return the settings, by flat key, that two equal runs have in common."""
  return {
    key: value
    for key, value in settings.items()
    if not concerns(key, MAY_CHANGE)
  }


def _changes(
  old: Mapping[str, Any],
  new: Mapping[str, Any],
  defaults: Mapping[str, Any] | None = None,
) -> list[str]:
  """List the differences that count, as 'section.key was 1, is 2'."""
  changed = differences(old, new, defaults=defaults)
  return [text for text in changed if not concerns(text, MAY_CHANGE)]


def _check_different(
  units: Sequence[Unit], settings: Sequence[Mapping[str, Any]]
) -> None:
  """Raise ValueError if two units are one run."""
  seen: dict[str, int] = {}
  for place, own in enumerate(settings):
    text = json.dumps(_what_counts(own), sort_keys=True)
    first = seen.setdefault(text, place)
    if first != place:
      raise ValueError(
        f"units {first} and {place} are the same run: "
        f"{plain_values(units[first].values)} and "
        f"{plain_values(units[place].values)}"
      )


def _check_names(
  units: Sequence[Unit],
  names: Sequence[str],
  recorded: Mapping[str, Any],
  settings: Sequence[Mapping[str, Any]],
) -> None:
  """Raise ValueError if two different units have one name."""
  seen: dict[str, int] = {}
  for place, name in enumerate(names):
    first = seen.setdefault(name.lower(), place)  # some disks ignore the case
    if first != place:
      raise ValueError(
        f"units {first} and {place} have one name, {name}: "
        f"{plain_values(units[first].values)} and "
        f"{plain_values(units[place].values)}"
      )
    other = recorded.get(name)
    if other is not None and other[0] != _what_counts(settings[place]):
      raise ValueError(
        f"unit {place} would have the name {name}, which is another unit's in "
        f"{SWEEP_FILE}: choose another --workdir"
      )
