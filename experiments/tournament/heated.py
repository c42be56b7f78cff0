"""What the page says of other sampling temperatures (temperatures.py)."""

from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure
import numpy as np

from entrojax.reporting.pictures import PALETTE
from entrojax.reporting.static import STYLE, as_svg
from experiments.tournament.curve import Curve
from experiments.tournament.field import HEIGHTS, Field
from experiments.tournament.formats import (
  format_heights,
  head,
  listed,
  row,
  side_word,
  spread,
)
from experiments.tournament.labels import Label, place
from experiments.tournament.measures import (
  ENTROPY,
  Lines,
  mean_of,
  of_entry,
  steps_of,
  values,
)
from experiments.tournament.rivals import Rival, rivals
from experiments.tournament.rule import BASELINE, SEEDS
from experiments.tournament.temperatures import Heated, as_lines, hot_name

_MEASURES = (ENTROPY, "pass@1", "pass@8", "pass@64", "maj@64")
_PLANE = ("pass@1", "pass@64")  # of the curve and of the picture


def entries_of(field: Field, heated: Sequence[Heated], base: str) -> list[str]:
  """List the entries that were evaluated, GRPO first, then by budget."""
  runs = [
    field.lines[x.run]
    for x in heated
    if x.base == base and x.run in field.lines
  ]
  own = {run.entry: (run.method != BASELINE, run.steps) for run in runs}
  return sorted(own, key=lambda entry: own[entry])


def temperatures_of(heated: Sequence[Heated], base: str) -> list[float]:
  """List the temperatures in ascending order."""
  return sorted({x.temperature for x in heated if x.base == base})


def heated_section(
  field: Field, heated: Sequence[Heated], base: str
) -> Iterator[str]:
  """Yield the section of other temperatures; nothing without evaluations."""
  names = entries_of(field, heated, base)
  if not names:
    return
  others = [*rivals(field, heated, base)]
  lines = as_lines(field.lines, heated, base)
  temperatures = temperatures_of(heated, base)
  yield "### At other sampling temperatures\n"
  yield (
    "The policies of finished runs, trained at temperature 1 and evaluated at "
    "others (`python -m experiments.tournament.temperatures`). This comparison "
    "was added when the runs were known. The first height shows that GRPO's "
    "own policy leaves its curve over budgets if it is sampled at another "
    'temperature. The others are as in "Stronger rivals": above the runs of '
    "another row, of whichever budget or temperature is best there."
    f"{_made_again(field, heated, base)}\n"
  )
  picture = f"figures/{file_name(base)}"
  yield f"![pass@64 over pass@1 at all temperatures]({picture})\n"
  yield from head(
    *("entry", "temperature", "n", *_MEASURES),
    "pass@1 at equal entropy, over GRPO's curve",
    *(f"pass@64 at equal pass@1, over {rival.label}" for rival in others),
  )
  curve = Curve(field.lines, field.curve_budgets(), *HEIGHTS[0])
  for name in names:
    for temperature in temperatures:
      entry = hot_name(name, temperature)
      if runs := of_entry(lines, entry):
        yield row(
          *(f"`{name}`", f"{temperature:g}", str(len(runs))),
          *(spread(values(runs, m)) for m in _MEASURES),
          _with_side(curve.heights(runs)),
          *(_height(lines, name, entry, rival) for rival in others),
        )
  yield ""


def _made_again(field: Field, heated: Sequence[Heated], base: str) -> str:
  """Say how far runs that were made again differ from the kept lines."""
  gaps: dict[str, list[float]] = {m: [] for m in (ENTROPY, *_PLANE)}
  for x in heated:
    kept = field.lines.get(x.run)
    if x.base == base and x.temperature == 1 and kept is not None:
      for m, own in gaps.items():
        own.append(abs((x.metrics.get(m) or 0) - (kept.end.get(m) or 0)))
  if not any(map(any, gaps.values())):
    return ""
  shown = listed(f"{max(own):.3f} in {m}" for m, own in gaps.items())
  return (
    " Runs whose policy was not kept were made again on another machine, which "
    f"rounds differently: at temperature 1 they are up to {shown} away from "
    "the other tables."
  )


def hottest(
  field: Field, heated: Sequence[Heated], base: str
) -> tuple[str, float] | None:
  """Return the entry and temperature with the most pass@1, among whole ones."""
  lines = as_lines(field.lines, heated, base)
  own = {
    (name, t): mean_of(lines, entry, "pass@1")
    for name in entries_of(field, heated, base)
    for t in temperatures_of(heated, base)
    if len(of_entry(lines, entry := hot_name(name, t))) >= len(SEEDS)
  }
  return max(own, key=lambda pair: own[pair]) if own else None


def _height(lines: Lines, name: str, entry: str, rival: Rival) -> str:
  """Format the heights above a rival; "" for a run of the rival's own row."""
  if _row(name) == rival.row:
    return ""
  return _with_side(rival.heights(lines, entry, HEIGHTS[2]))


def _with_side(heights: np.ndarray) -> str:
  """Format heights, with a word if all seeds decide it."""
  return format_heights(heights) + side_word(heights)


def _row(entry: str) -> str:
  """Return the name of an entry without its budget."""
  return entry.rpartition(",steps=")[0] or entry


def file_name(base: str) -> str:
  """Return the name of a base's figure."""
  return f"{base}_temperatures.svg"


def draw(field: Field, heated: Sequence[Heated], base: str) -> str:
  """Draw pass@64 over pass@1 at all temperatures, as an SVG document.

  A row has one colour. The lines of its shorter runs are dotted, and have the
  same temperatures. The picture is empty without evaluations.
  """
  lines = as_lines(field.lines, heated, base)
  names = entries_of(field, heated, base)
  if not names:
    return ""
  with matplotlib.rc_context(STYLE):
    figure = Figure(figsize=(7.4, 4.4), layout="constrained")
    axes: Any = figure.subplots()
    rows = list(dict.fromkeys(map(_row, names)))
    longest = max(steps_of(field.lines, name) for name in names)
    labels: list[Label] = []
    dots: list[tuple[float, float]] = []
    for name in names:
      color = PALETTE[rows.index(_row(name)) % len(PALETTE)]
      is_longest = steps_of(field.lines, name) == longest
      points = _points(lines, name, temperatures_of(heated, base))
      style = "o-" if is_longest else "o:"
      x, y = zip(*points.values(), strict=True)
      axes.plot(x, y, style, color=color, ms=4, lw=1.6, label=name)
      dots += points.values()
      if is_longest:
        labels += [
          Label(f"{temperature:g}", *at, color)
          for temperature, at in points.items()
        ]
    axes.set_xlabel(f"{_PLANE[0]}; the numbers are temperatures")
    axes.set_ylabel(_PLANE[1])
    figure.legend(loc="outside right upper", fontsize=8)
    place(axes, labels, dots)
    return as_svg(figure)


def _points(
  lines: Lines, name: str, temperatures: Sequence[float]
) -> dict[float, tuple[float, float]]:
  """Return an entry's means in the picture's plane by temperature."""
  own = {t: hot_name(name, t) for t in temperatures}
  return {
    t: (mean_of(lines, entry, _PLANE[0]), mean_of(lines, entry, _PLANE[1]))
    for t, entry in own.items()
    if of_entry(lines, entry)
  }
