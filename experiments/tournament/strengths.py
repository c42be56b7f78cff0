"""Other values of a method's main strength, with seed 0 alone."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from experiments.tournament.curve import Curve
from experiments.tournament.entries import Entry
from experiments.tournament.field import HEIGHTS, Field
from experiments.tournament.formats import (
  format_heights,
  head,
  listed,
  row,
  spread,
)
from experiments.tournament.measures import ENTROPY, of_entry, values

SEED = 0
# A height differs between seeds by about 0.01, so the difference of two by less
# than this says nothing.
CLEAR = 0.03
_MEASURES = (ENTROPY, "pass@1", "pass@64")


def by_method(
  field: Field, entries: Sequence[Entry]
) -> Mapping[str, Sequence[str]]:
  """Return the entries that differ in a method's main strength alone.

  Args:
    field: what is compared.
    entries: all entries of the base.

  Returns:
    method -> its entries with a kept line of SEED, the config's value first;
    without the methods whose other values have none.
  """
  strengths = [e for e in entries if e.role == "strength"]
  ran = lambda e: SEED in of_entry(field.lines, e.name)
  own: dict[str, Sequence[str]] = {}
  for method in dict.fromkeys(
    entry.method for entry in strengths if ran(entry)
  ):
    keys = [e.settings.keys() for e in strengths if e.method == method]
    own[method] = [
      entry.name
      for entry in entries
      if entry.method == method
      and (entry.role == "method" or entry.settings.keys() in keys)
      and entry.role != "long"
      and ran(entry)
    ]
  return own


def strength_section(field: Field, entries: Sequence[Entry]) -> Iterator[str]:
  """Yield the section of main strengths, if another value has run."""
  methods = by_method(field, entries)
  if not methods:
    return
  yield "### Values of a method's main strength\n"
  yield (
    f"Seed {SEED} alone, so a height has no interval. The config's value is "
    "the first of each method.\n"
  )
  which = " at equal ".join(HEIGHTS[0])
  yield from head("entry", *_MEASURES, which)
  for names in methods.values():
    for name in names:
      runs = {SEED: of_entry(field.lines, name)[SEED]}
      numbers = (spread(values(runs, m)) for m in _MEASURES)
      height = format_heights(np.array([_height(field, name)]))
      yield row(f"`{name}`", *numbers, height)
  yield ""


def strength_answer(field: Field, entries: Sequence[Entry]) -> Iterator[str]:
  """Yield whether another strength would have changed much."""
  changes: dict[str, float] = {}
  for method, names in by_method(field, entries).items():
    if names[0] != method:
      continue  # the config's own value has not run
    base = _height(field, method)
    changes |= {name: _height(field, name) - base for name in names[1:]}
  finite = {name: x for name, x in changes.items() if np.isfinite(x)}
  if not finite:
    return
  parts = {
    "more": [name for name, x in finite.items() if x > CLEAR],
    "less": [name for name, x in finite.items() if x < -CLEAR],
  }
  texts = [
    f"{len(names)} {word}"
    + (
      f" ({listed(f'`{name}` {finite[name]:+.3f}' for name in names)})"
      if names
      else ""
    )
    for word, names in parts.items()
  ]
  yield (
    f"- **Other strengths of a method**, seed {SEED} alone. Of {len(finite)} "
    "values, compared with the config's in pass@1 at equal entropy, by at "
    f"least {CLEAR:g}: {'; '.join(texts)}."
  )


def _height(field: Field, name: str) -> float:
  """Return the height above GRPO's curve with SEED; NaN: it has none."""
  curve = Curve(field.lines, field.curve_budgets(), *HEIGHTS[0])
  line = of_entry(field.lines, name).get(SEED)
  return float("nan") if line is None else curve.height(line)
