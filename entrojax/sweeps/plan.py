"""Plan a sweep: read its units, choose some of them, and check them.

Nothing runs and nothing is written before every chosen unit has been checked.
All refusals are then reported together.
"""

from collections.abc import Mapping, Sequence
import os
from pathlib import Path
import re
from typing import Any, NamedTuple
import warnings

import jax
from ml_collections import ConfigDict as Config

from entrojax.assembly.check_run import check_run
from entrojax.sweeps import hyper
from entrojax.sweeps.record import (
  Record,
  extend_record,
  locked,
  read_record,
  write_record,
)
from entrojax.sweeps.unit_runs import Task, read_done
from entrojax.sweeps.units import (
  Source,
  Unit,
  command_of,
  plain_values,
  resolve_unit,
)
from entrojax.system.outside import describe, load

# a config, and the settings in it that were given by name
Check = tuple[Config, Sequence[str]]


class State(NamedTuple):
  """How far a unit is."""

  steps: int  # rollout steps that need not be repeated
  finished: bool
  text: str  # for a person


class Checked(NamedTuple):
  """The result of checking configs."""

  refusals: Sequence[str | None]  # for each config; None: it is fine
  warnings: Sequence[str]


class Sweep(NamedTuple):
  """The units of a sweep, with their directories."""

  source: Source
  units: Sequence[Unit]
  names: Sequence[str]  # of the units' directories
  record: Record  # what sweep.json is to hold
  workdir: Path

  def folder(self, number: int) -> Path:
    """Return a unit's run directory."""
    return self.workdir / self.names[number]

  def command(self, number: int) -> list[str]:
    """Return the words of a command that runs a unit by itself."""
    values = self.units[number].values
    own = command_of(self.source, values, self.folder(number))
    if own is not None:
      return own
    overrides = [f"--config.{k}={v}" for k, v in self.source.overrides.items()]
    return [
      *("python", "-m", "entrojax.sweep", f"--config={self.source.file}"),
      *(*overrides, f"--workdir={self.workdir}", f"--unit={number}"),
    ]

  def task(self, number: int) -> Task:
    """Return a unit as it is run."""
    return Task(
      self.units[number].config, self.folder(number), self.command(number)
    )

  def check(self, number: int) -> Check:
    """Return a unit as check_units takes it."""
    return self.units[number].config, self.units[number].keys

  def state(self, number: int) -> State:
    """Return how far a unit is, from its run directory."""
    config = self.units[number].config
    last = config.num_rollout_steps
    try:
      steps, finished = read_done(self.folder(number), config)
    except ValueError as error:
      return State(0, False, f"damaged: {error}")
    if finished:
      return State(steps, True, "finished")
    text = f"at rollout step {steps} of {last}" if steps else "new"
    if steps == last:
      text = f"at rollout step {steps} of {last}, without its last evaluation"
    return State(steps, False, text)


def read_sweep(
  file: str, base: Config, overrides: Mapping[str, Any], workdir: Path
) -> Sweep:
  """Read the units of a config file and name their directories.

  Args:
    file: the config file, with a preset after a colon if there is one.
    base: its config, with the overrides of the command line.
    overrides: 'section.leaf' -> value, of the command line.
    workdir: the directory of the sweep, which need not exist.

  Raises:
    ValueError: the file has no get_hyper, a unit has an unknown setting, one of
      another type, or one that the command line sets too (all such units are
      listed), two units are the same, or the directory holds another sweep.
  """
  place = file.partition(":")[0]
  try:
    get_hyper = load(f"{place}:get_hyper")
  except ValueError as error:
    raise ValueError(
      f"{error}: a sweep needs get_hyper(hyper) beside get_config, as in "
      "configs/sweeps/quick.py"
    ) from error
  source = Source(file, base, overrides)
  units: list[Unit] = []
  refusals = []
  for number, values in enumerate(hyper.read_units(get_hyper, place)):
    try:
      _refuse_hidden_settings(overrides, values)
      units.append(resolve_unit(source, values))
    except ValueError as error:
      refusals.append(f"unit {number}, {_show(values)}: {error}")
  if refusals:
    raise ValueError(_refused(refusals))
  record, names = extend_record(
    read_record(workdir),
    _without_folder(file),
    base.to_dict(),
    units,
    workdir,
  )
  return Sweep(source, units, names, record, workdir)


def _refuse_hidden_settings(
  overrides: Mapping[str, Any], values: Mapping[str, Any]
) -> None:
  """Raise ValueError if a setting of the command line would do nothing.

  Args:
    overrides: 'section.leaf' -> value, of the command line.
    values: key -> value, of a unit, whose values come last.
  """
  for leaf, value in overrides.items():
    own = values.get(hyper.PREFIX + leaf, value)
    if own != value:
      raise ValueError(
        f"--{hyper.PREFIX}{leaf} is {value!r} on the command line and {own!r} "
        "in get_hyper: set it in one of the two"
      )


def keep(sweep: Sweep) -> Sweep:
  """Write the units into sweep.json; other sweeps may add theirs meanwhile."""
  with locked(sweep.workdir):
    record, names = extend_record(
      read_record(sweep.workdir),
      sweep.record.config,
      sweep.source.base.to_dict(),
      sweep.units,
      sweep.workdir,
    )
    write_record(sweep.workdir, record)
  return sweep._replace(record=record, names=names)


def choose(
  num_units: int, *, unit: int | None = None, shard: str | None = None
) -> list[int]:
  """Return the numbers of the units to run, from 0.

  Args:
    num_units: the number of units of the sweep.
    unit: only this one; None: all.
    shard: "I/N": only part I of N parts of equal size; None: all.

  Raises:
    ValueError: both are given, or one is out of range.
  """
  if unit is not None and shard is not None:
    raise ValueError("--unit and --shard exclude each other")
  if unit is not None:
    if not 0 <= unit < num_units:
      raise ValueError(
        f"--unit={unit} must lie in [0, {num_units}): the sweep has "
        f"{num_units} units"
      )
    return [unit]
  if shard is None:
    return list(range(num_units))
  match = re.fullmatch(r"(\d+)/(\d+)", shard)
  if match is None or not int(match[1]) < int(match[2]):
    raise ValueError(
      f"--shard={shard} is not of the form I/N with 0 <= I < N, such as 0/4"
    )
  part, parts = map(int, match.groups())
  start, end = (i * num_units // parts for i in (part, part + 1))
  return list(range(start, end))


def check_shareable(jobs: int) -> None:
  """Check that several units can run at once on the devices of this process.

  Raises:
    ValueError: the devices are no processor cores.
  """
  platform = jax.default_backend()
  if platform != "cpu":
    raise ValueError(
      f"--jobs={jobs}: units share the cores of a processor, but not a "
      f"{platform}. Start one command with --jobs=1 for each part of the "
      f"devices, with its own --shard: --shard=0/{jobs}, ..."
    )


def check_units(checks: Sequence[Check]) -> Checked:
  """Check configs as their runs would; all errors become refusals."""
  refusals: list[str | None] = []
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UserWarning)
    for config, keys in checks:
      try:
        check_run(config, keys)
        refusals.append(None)
      except (ValueError, OSError, ImportError) as error:
        refusals.append(" ".join(str(error).split()))
      except Exception as error:  # a user's own code may raise anything
        refusals.append(describe(error))
  texts = [str(w.message) for w in caught if w.category is UserWarning]
  return Checked(refusals, list(dict.fromkeys(texts)))


def raise_refusals(
  sweep: Sweep, chosen: Sequence[int], refusals: Sequence[str | None]
) -> None:
  """Raise ValueError if a unit is refused; the message lists all that are."""
  texts = [
    f"unit {number}, {sweep.names[number]}: {refusal}"
    for number, refusal in zip(chosen, refusals, strict=True)
    if refusal is not None
  ]
  if texts:
    raise ValueError(_refused(texts))


def _refused(texts: Sequence[str]) -> str:
  """Return the message about units that are refused."""
  units = "a unit is" if len(texts) == 1 else f"{len(texts)} units are"
  return "\n  ".join([f"{units} refused, so nothing runs:", *texts])


def _show(values: Mapping[str, Any]) -> str:
  """Format the values of a unit for a message."""
  return ", ".join(f"{k} = {v!r}" for k, v in plain_values(values).items())


def _without_folder(file: str) -> str:
  """Return a file relative to the current directory, to recognise it by."""
  path, colon, preset = file.partition(":")
  relative = os.path.relpath(path)
  if relative.startswith(os.pardir):
    relative = Path(path).name
  return f"{relative}{colon}{preset}"
