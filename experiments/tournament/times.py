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


def timed(base: str) -> list[Entry]:
  """List the entries that are timed: the methods, and what changes a step."""
  return [
    entry
    for entry in entries(base)
    if entry.role == "method"
    or (entry.role == "extra" and any(map(_is_slowing, entry.settings)))
  ]


def _is_slowing(key: str) -> bool:
  return key.startswith(_SLOWING)


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
    times: entry -> time, the kept ones of its base.
  """
  if any(map(_is_slowing, entry.settings)):
    return times.get(entry.name)
  return 1.0 if entry.method == BASELINE else times.get(entry.method)


def missing(base: str, folder: Path, names: Sequence[str]) -> list[Entry]:
  """List the entries to time: the named ones, or all that are not timed yet.

  Raises:
    ValueError: a name is of no entry that is timed.
  """
  own = {entry.name: entry for entry in timed(base)}
  if unknown := [name for name in names if name not in own]:
    raise ValueError(
      f"--entries: {unknown[0]!r} is no entry of {base} that is timed"
    )
  have = read_times(folder).get(base, {})
  return [own[name] for name in names or own if names or name not in have]


@command(FLAGS, interrupted="Interrupted. The same command continues.")
def main() -> None:
  """Time the entries and keep each ratio as soon as it is known."""
  base, folder = _BASE.value, Path(_RESULTS.value)
  names = split_names(_ENTRIES.value)
  own = missing(base, folder, names)
  grpo = stepper(config_of(Entry(BASELINE, BASELINE, 0), base))
  for entry in own:
    config = config_of(entry, base)
    value = round(ratio(stepper(config), grpo, _PAIRS.value), _DIGITS)
    _keep(folder / FILE, base, entry.name, value)
    print(f"{entry.name}: x {value:g}", flush=True)


def _keep(path: Path, base: str, name: str, value: float) -> None:
  """Add a ratio to the file."""
  kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
  kept.setdefault(base, {})[name] = {"ratio": value, "pairs": _PAIRS.value}
  path.write_text(json.dumps(kept, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
  main()
