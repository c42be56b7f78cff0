"""What runs in the tournament: entries with their settings, and their runs.

rule.py has the numbers. An entry is named after what it changes, as in
`clip_cov,fraction=0.08`.
"""

from collections.abc import Iterator, Mapping, Sequence
import functools
from typing import Any, NamedTuple

import configs
from experiments.tournament.rule import (
  BASELINE,
  BASES,
  CURRICULUM,
  EXTRAS,
  LONG,
  NOTHING,
  QUICK,
  QUICK_SEEDS,
  RATED,
  SEEDS,
  SHARES,
  STRENGTHS,
  TARGETS,
  Base,
)


class Entry(NamedTuple):
  """A configuration of the tournament.

  Attributes:
    name: the method, and what differs from its config.
    method: the name of its file in configs/.
    steps: rollout steps.
    settings: 'section.key' -> value, beyond the budget.
    seeds: the seeds it runs with.
    role: "budget" for GRPO's curve, "method" for a method as its config has it,
      "extra" for an entry that a claim or a question needs, "long" for one
      with a longer budget, "rate" for another learning rate, "strength" for
      another value of a method's main strength.
  """

  name: str
  method: str
  steps: int
  settings: Mapping[str, Any] = NOTHING
  seeds: Sequence[int] = SEEDS
  role: str = "method"


class Run(NamedTuple):
  """An entry with a seed."""

  entry: Entry
  seed: int

  @property
  def name(self) -> str:
    """The name of the run, unique in the tournament."""
    return f"{self.entry.name},seed={self.seed}"


@functools.cache
def entries(base: str) -> Sequence[Entry]:
  """List the entries on a base, GRPO's budgets first.

  Args:
    base: a key of rule.BASES.

  Raises:
    ValueError: an entry has a target, and the base's entropy is unknown.
  """
  place = BASES[base]
  seeds = place.seeds
  all_entries = [
    Entry(f"{BASELINE},steps={n}", BASELINE, n, seeds=seeds, role="budget")
    for n in place.budgets
  ]
  all_entries += [
    Entry(name, name, place.steps, _targets(name, base), seeds)
    for name in method_names(base)
    if name != BASELINE
  ]
  all_entries += [
    Entry(name, method, place.steps, settings, seeds, "extra")
    for name, (method, settings) in EXTRAS[base].items()
  ]
  all_entries += _long_runs(all_entries, base)
  if place.strengths:
    all_entries += [
      Entry(
        f"{method},learning_rate={rate:g}",
        method,
        place.steps,
        {"optimizer.learning_rate": rate},
        role="rate",
      )
      for method, rates in RATED.items()
      for rate in rates
    ]
    names = {entry.name for entry in all_entries}
    all_entries += [e for e in _strengths(place) if e.name not in names]
  return [_complete(entry, place) for entry in all_entries]


def long_name(name: str, steps: int) -> str:
  """Return the name of an entry's run of a longer budget."""
  return f"{name},steps={steps}"


def long_rows(base: str) -> Mapping[str, Mapping[int, str]]:
  """Return GRPO and the entries with long runs: budget -> the run's entry.

  GRPO's row has all budgets from the common one on.
  """
  place = BASES[base]
  longer = {n for n in (*place.budgets, *place.long) if n > place.steps}
  rows = {BASELINE: sorted(longer), **LONG[base]}
  common = {name: name for name in rows} | {
    BASELINE: long_name(BASELINE, place.steps)
  }
  return {
    name: {
      place.steps: common[name],
      **{n: long_name(name, n) for n in budgets},
    }
    for name, budgets in rows.items()
  }


def method_names(base: str) -> Sequence[str]:
  """List the methods that run on a base as their config has them.

  The offline methods are left out, and so is SENT, which needs a table of
  prompts: it is an extra entry.
  """
  if (names := BASES[base].methods) is not None:
    return names
  return [
    name
    for name, method in configs.methods().items()
    if method.testbed == "countdown" and name != "sent"
  ]


def runs(base: str) -> Sequence[Run]:
  """List all runs on a base in the order in which they are made.

  All entries of the common budget come with seed 0, then with seed 1, and so
  on. Long runs and other learning rates follow, in the same order, then
  strengths, and further seeds are last. So a tournament that is cut off has the
  same seeds of every method.
  """
  own = entries(base)
  parts = (("budget", "method", "extra"), ("long", "rate"), ("strength",))
  more = BASES[base].more_seeds
  return [
    Run(entry, seed)
    for seeds in (SEEDS, *([seed] for seed in more))
    for roles in parts
    for seed in seeds
    for entry in own
    if entry.role in roles and seed in entry.seeds
  ]


def is_quick(run: Run, base: str) -> bool:
  """Return whether a run is one of --quick."""
  entry = run.entry
  return (
    run.seed in QUICK_SEEDS
    and entry.method in QUICK
    and entry.steps == BASES[base].steps
    and entry.role in ("budget", "method")
  )


def unit(run: Run, base: str) -> dict[str, Any]:
  """Return a run as a unit of a sweep."""
  entry = run.entry
  config = f"configs/{entry.method}.py:{BASES[base].words_of(entry.steps)}"
  settings = {f"config.{key}": value for key, value in entry.settings.items()}
  return {"config": config, **settings, "config.seed": run.seed}


def _long_runs(all_entries: Sequence[Entry], base: str) -> Iterator[Entry]:
  """List the entries of longer budgets.

  Args:
    all_entries: the entries of the common budget, and GRPO's budgets.
    base: a key of rule.BASES.
  """
  place = BASES[base]
  by_name = {entry.name: entry for entry in all_entries}
  short = Entry(BASELINE, BASELINE, place.steps)
  rows = [(by_name[name], steps) for name, steps in LONG[base].items()]
  for own, budgets in [(short, place.long), *rows]:
    seeds = place.seeds if own is short else SEEDS
    for steps in budgets:
      name = long_name(own.name, steps)
      if name not in by_name:
        yield own._replace(name=name, steps=steps, seeds=seeds, role="long")


def _complete(entry: Entry, place: Base) -> Entry:
  """Add the settings that follow from the budget."""
  words = place.words_of(entry.steps)
  config = configs.load_method(entry.method).get_config(words)
  updates = entry.settings.get(
    "training.updates_per_rollout", config.training.updates_per_rollout
  )
  settings = {
    **place.settings,
    "num_rollout_steps": entry.steps,
    "optimizer.decay_steps": entry.steps * updates,
    **entry.settings,
  }
  target = settings.get("control.target")
  if isinstance(target, tuple):  # from the first to the last update
    start, end = target
    length = entry.steps * updates
    settings["control.target"] = f"linear({start:g}, {end:g}, {length})"
  if "entrocraft" in config.advantage:
    settings.setdefault("entrocraft.anneal_steps", entry.steps)
  if config.curriculum.table or CURRICULUM in settings:
    settings["curriculum.steps_per_stage"] = (
      entry.steps // config.curriculum.num_stages
    )
  return entry._replace(settings=settings)


def _targets(method: str, base: str) -> Mapping[str, Any]:
  """Return a method's targets on a base; none on Countdown, its config's own.

  Raises:
    ValueError: the base's entropy is unknown.
  """
  if base == "countdown" or method not in TARGETS:
    return {}
  entropy = BASES[base].entropy
  if entropy is None:
    raise ValueError(
      f"the entropy of the base of {base} is not known: set it in BASES of "
      "experiments/tournament/rule.py, from the first line of a run's "
      "metrics.jsonl"
    )
  return {k: round(x * entropy, 2) for k, x in TARGETS[method].items()}


def _strengths(place: Base) -> Iterator[Entry]:
  """List the entries with another value of a main strength."""
  assert place.entropy is not None
  by_target = {
    method: [
      {key: round(share * place.entropy, 2) for key in keys} for share in SHARES
    ]
    for method, keys in TARGETS.items()
  }
  for method, values in {**STRENGTHS, **by_target}.items():
    for settings in values:
      labels = dict.fromkeys(
        f"{key.rpartition('.')[2]}={_text(value)}"
        for key, value in settings.items()
      )
      name = ",".join([method, *labels])
      yield Entry(name, method, place.steps, settings, (0,), "strength")


def _text(value: Any) -> str:
  """Return a value as a part of a name; of equal numbers only the first."""
  if isinstance(value, tuple):
    return "-".join(dict.fromkeys(map(_text, value)))
  return f"{value:g}" if isinstance(value, float) else str(value)
