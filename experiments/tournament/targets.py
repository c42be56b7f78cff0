"""Which entries end at their target of entropy.

An entry has a target if a controller, DCPO, the projection or Entrocraft is to
hold one; Entrocraft's is the middle of its band. A target that changes over the
run is judged by its last value. An entry holds it
as a claim does (judging.py): the 95 % interval of the
entropy in the last evaluation, over seeds, lies within MARGIN of the target. It
misses it if the interval lies outside.
"""

from collections.abc import Iterator, Mapping
import math
from typing import Any

import numpy as np

from configs import default
from entrojax.schedules import parse_schedule
from experiments.tournament.field import Field
from experiments.tournament.formats import head, row, spread
from experiments.tournament.judging import HELD, NOT_HELD, over_seeds, within
from experiments.tournament.lines import Line, part_lengths, part_middles
from experiments.tournament.measures import (
  ENTROPY,
  Lines,
  of_entry,
  start_of,
  values,
)
from experiments.tournament.rule import SEEDS

MARGIN = 0.03  # nats
_KEYS = ("control.target", "projection.target", "dcpo.target")
_WORDS = {HELD: "held", NOT_HELD: "missed"}
UNDECIDED = "undecided"


def target_of(lines: Lines, name: str) -> float | None:
  """Return the target of an entry's runs at their end, nats; None without."""
  for line in of_entry(lines, name).values():
    for key in _KEYS:
      if (value := line.settings.get(key)) is not None:
        return _last_value(value, key)
    if ends := line.settings.get("entrocraft.low"):
      # a band that moves: the middle of its last one
      return (ends[-1] + line.settings["entrocraft.high"][-1]) / 2
    if line.method == "dcpo":  # a line has only what differs from the default
      return float(default.get_config().dcpo.target)
  return None


def _last_value(value: Any, key: str) -> float:
  """Return the last value of a setting that may be a schedule."""
  if isinstance(value, int | float):
    return float(value)
  schedule = parse_schedule(value, key)
  steps = schedule.num_steps
  return float(schedule(steps if math.isfinite(steps) else np.inf))


def verdict(lines: Lines, name: str) -> str:
  """Return held, missed or undecided; "" for an entry without a target."""
  target = target_of(lines, name)
  if target is None:
    return ""
  off = over_seeds(values(of_entry(lines, name), ENTROPY) - target)
  if off is None:
    return UNDECIDED
  return _WORDS.get(within(off, MARGIN), UNDECIDED)


def says_nothing(field: Field, name: str) -> bool:
  """Return whether GRPO, which has no target, ends within MARGIN of it too."""
  target = target_of(field.lines, name)
  free = values(of_entry(field.lines, field.grpo_beside(name)), ENTROPY)
  if target is None or free.size < len(SEEDS):
    return False
  return bool(abs(free.mean() - target) <= MARGIN)


def is_near_base(lines: Lines, name: str) -> bool:
  """Return whether an entry's target is within MARGIN of the base's entropy."""
  target = target_of(lines, name)
  start = start_of(lines, ENTROPY).mean()
  return target is not None and bool(abs(start - target) <= MARGIN)


def with_targets(field: Field) -> list[str]:
  """List the entries with a target and all seeds, by ascending target."""
  names = [*field.complete(), *field.long_runs()]
  own = {name: target_of(field.lines, name) for name in names}
  targets = {name: t for name, t in own.items() if t is not None}
  return sorted(targets, key=lambda name: targets[name])


def target_table(field: Field) -> Iterator[str]:
  """Yield the table of targets, of what was held, and of what it cost."""
  lines = field.lines
  names = with_targets(field)
  if not names:
    return
  yield "### Targets of entropy\n"
  yield (
    "In nats. The last third is the mean over rollouts of the last third of "
    "training; the end is the last evaluation, on held-out prompts. A target "
    f"is held if the 95 % interval of the end lies within {MARGIN:g} nats of "
    "it, and missed if the interval lies outside, which is how "
    "[the claims](../claims/README.md) judge as well. A falling target is "
    "judged by its last value. Where GRPO of the same budget also ends within "
    f"{MARGIN:g} nats of the target, holding it shows no control; and a target "
    f"near the base's entropy, {start_of(lines, ENTROPY).mean():.2f} nats, is "
    "also held by a run that hardly learns.\n"
  )
  yield from head(
    *("target", "entry", "last third", "end", "verdict", "GRPO ends at"),
    *("pass@1", "pass@64"),
  )
  for name in names:
    runs = of_entry(lines, name)
    free = values(of_entry(lines, field.grpo_beside(name)), ENTROPY)
    own = verdict(lines, name)
    idle = own == _WORDS[HELD] and says_nothing(field, name)
    yield row(
      f"{target_of(lines, name):.3g}",
      f"`{name}`",
      spread(last_third(runs)),
      spread(values(runs, ENTROPY)),
      own,
      (spread(free) if free.size else "–")
      + (" (shows no control)" if idle else ""),
      *(spread(values(runs, m)) for m in ("pass@1", "pass@64")),
    )
  yield ""


def last_third(runs: Mapping[int, Line]) -> np.ndarray:
  """Return the entropy over the last third of each run, nats, f64[seeds]."""
  return np.array([_last_third(line) for line in runs.values()])


def _last_third(line: Line) -> float:
  """Average the parts whose middle is in the last third, by their lengths."""
  entropy = np.array(line.course["actor/entropy"], float)
  late = part_middles(line, "actor/entropy") > 2 / 3 * line.steps
  lengths = part_lengths(line, "actor/entropy")
  return float(np.average(entropy[late], weights=lengths[late]))
