r"""Time a rollout step of each entry, relative to GRPO's.

    python -m experiments.tournament.times --base=countdown

A rollout step samples, verifies and trains. A step of the entry and one of GRPO
are made in turn in one process, from the same base. The time is that of the
process on CPUs, which other work on the machine hardly changes. The kept number
is the median ratio of all pairs, in results/times.json, with the number of
pairs; the page reads it. An entry that only changes a number of its method
takes as long as the method, and is not timed.
"""

from collections.abc import Callable, Mapping, Sequence
import json
from pathlib import Path
import statistics
import time

from absl import flags
import jax
from ml_collections import ConfigDict as Config

from entrojax.assembly.run import build
from entrojax.loop.rollout_step import (
  Position,
  start_step,
  step_metrics,
  wait_for_update,
)
from entrojax.system.command_line import command
from experiments.tournament.costs import config_of
from experiments.tournament.entries import Entry, entries
from experiments.tournament.options import (
  define_base,
  define_entries,
  define_results,
  split_names,
)
from experiments.tournament.rule import BASELINE

FILE = "times.json"
_WARM_UP = 2  # nothing is compiled after the second step
_DIGITS = 3  # after the point, of a ratio
# an entry that changes one of these takes longer or shorter than its method
_SLOWING = ("training.", "projection.every")

FLAGS = flags.FlagValues()
_BASE = define_base(FLAGS)
_RESULTS = define_results(FLAGS)
_ENTRIES = define_entries(FLAGS, "all that are not timed yet")
_PAIRS = flags.DEFINE_integer(
  "pairs", 15, "timed pairs of steps", lower_bound=1, flag_values=FLAGS
)


def timed(base: str) -> dict[str, Entry]:
  """Return the entries that are timed, by the names of their times.

  They are one of each method but GRPO, by the method's name, and those that
  change a step. A method that needs a table of prompts is left out.
  """
  own: dict[str, Entry] = {}
  for entry in entries(base):
    name = _time_name(entry)
    if entry.role in ("method", "extra") and name != BASELINE:
      own.setdefault(name, entry)
  return {
    n: e for n, e in own.items() if not config_of(e, base).curriculum.table
  }


def _time_name(entry: Entry) -> str:
  """Return the name of the time that an entry has."""
  if any(key.startswith(_SLOWING) for key in entry.settings):
    return entry.name
  return entry.method


def stepper(config: Config) -> Callable[[], float]:
  """Return a function that makes a run's next step; it returns CPU seconds.

  Everything is compiled when this returns.
  """
  run = build(config)
  key = jax.random.key(config.seed)
  position = Position(run.state, run.ref_params, key, 0, step=0, tokens=0)

  def step() -> float:
    nonlocal position
    start = time.process_time()
    position, record = start_step(run, position)
    step_metrics(run, wait_for_update(record))
    return time.process_time() - start

  for _ in range(_WARM_UP):
    step()
  return step


def ratio(
  own: Callable[[], float], other: Callable[[], float], pairs: int
) -> float:
  """Return the median of the ratios of times that are taken in turn."""
  times = [(own(), other()) for _ in range(pairs)]
  return statistics.median(a / b for a, b in times)


def read_times(folder: Path) -> Mapping[str, Mapping[str, float]]:
  """Read the kept times: base -> entry -> time of a step relative to GRPO's."""
  path = folder / FILE
  own = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
  return {
    base: {name: x["ratio"] for name, x in kept.items()}
    for base, kept in own.items()
  }


def time_of(entry: Entry, times: Mapping[str, float]) -> float | None:
  """Return the time of an entry's step relative to GRPO's; None: not timed.

  Args:
    entry: the entry.
    times: the kept times of its base.
  """
  name = _time_name(entry)
  return 1.0 if name == BASELINE else times.get(name)


def missing(base: str, folder: Path, names: Sequence[str]) -> dict[str, Entry]:
  """Return what is to be timed: the named ones, or all that have no time yet.

  Raises:
    ValueError: a name is of nothing that is timed.
  """
  own = timed(base)
  if unknown := [name for name in names if name not in own]:
    raise ValueError(
      f"--entries: {unknown[0]!r} is nothing of {base} that is timed"
    )
  have = read_times(folder).get(base, {})
  return {n: own[n] for n in names or own if names or n not in have}


@command(FLAGS, interrupted="Interrupted. The same command continues.")
def main() -> None:
  """Time the entries and keep each ratio as soon as it is known."""
  base, folder = _BASE.value, Path(_RESULTS.value)
  names = split_names(_ENTRIES.value)
  own = missing(base, folder, names)
  grpo = stepper(config_of(Entry(BASELINE, BASELINE, 0), base))
  for name, entry in own.items():
    config = config_of(entry, base)
    value = round(ratio(stepper(config), grpo, _PAIRS.value), _DIGITS)
    _keep(folder / FILE, base, name, value)
    print(f"{name}: x {value:g}", flush=True)


def _keep(path: Path, base: str, name: str, value: float) -> None:
  """Add a ratio to the file."""
  kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
  kept.setdefault(base, {})[name] = {"ratio": value, "pairs": _PAIRS.value}
  path.write_text(json.dumps(kept, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
  main()
