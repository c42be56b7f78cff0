"""What the page says of other sampling temperatures (temperatures.py).

An entry is compared with GRPO's policy of the same rollout steps, and with that
of GRPO with one update on a batch, each sampled at each temperature: the points
(pass@1, pass@64) are its curve, with straight lines between neighbours, for
each seed. A policy that lies above the curve has more coverage than GRPO's at
the same accuracy, whatever GRPO's temperature.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure
import numpy as np

from entrojax.reporting.pictures import PALETTE
from entrojax.reporting.static import STYLE, as_svg
from experiments.tournament.curve import Curve
from experiments.tournament.field import Field
from experiments.tournament.formats import (
  format_heights,
  head,
  listed,
  row,
  spread,
)
from experiments.tournament.judging import compare, over_seeds
from experiments.tournament.measures import (
  ENTROPY,
  Lines,
  mean_of,
  of_entry,
  steps_of,
  values,
)
from experiments.tournament.rule import BASELINE, GENTLE, SEEDS
from experiments.tournament.temperatures import Heated, as_lines, hot_name

_MEASURES = (ENTROPY, "pass@1", "pass@8", "pass@64", "maj@64")
_PLANE = ("pass@1", "pass@64")  # of the curve and of the picture
_RIVALS = (BASELINE, GENTLE)  # the rows whose policies have a curve


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
  yield "### At other sampling temperatures\n"
  yield (
    "The policies of finished runs, trained at temperature 1 and evaluated at "
    "others (`python -m experiments.tournament.temperatures`). This comparison "
    "was added when the runs were known. The last columns compare with the "
    f"policies of GRPO and of `{GENTLE}` after as many rollout steps, each "
    "sampled at whatever temperature gives it the same pass@1; a dash stands "
    "for a pass@1 that it has at none. Runs whose policy was not kept were "
    "made again, so their values at 1 differ a little from the other tables.\n"
  )
  picture = f"figures/{file_name(base)}"
  yield f"![pass@64 over pass@1 at all temperatures]({picture})\n"
  yield from head(
    *("entry", "temperature", "n", *_MEASURES),
    "pass@64 at equal pass@1, over GRPO at any temperature",
    f"the same, over `{GENTLE}`",
  )
  lines = as_lines(field.lines, heated, base)
  for name in names:
    for temperature in temperatures_of(heated, base):
      entry = hot_name(name, temperature)
      if runs := of_entry(lines, entry):
        yield row(
          *(f"`{name}`", f"{temperature:g}", str(len(runs))),
          *(spread(values(runs, m)) for m in _MEASURES),
          *(_height(field, lines, name, entry, rival) for rival in _RIVALS),
        )
  yield ""


def heated_answer(
  field: Field, heated: Sequence[Heated], base: str
) -> Iterator[str]:
  """Yield a sentence on other temperatures; nothing without evaluations.

  Entries that lack one of the seeds are left out.
  """
  lines = as_lines(field.lines, heated, base)
  temperatures = temperatures_of(heated, base)
  best: list[str] = []
  over: dict[str, list[str]] = {rival: [] for rival in _RIVALS}
  for name in entries_of(field, heated, base):
    hot = {t: hot_name(name, t) for t in temperatures}
    whole = {
      t: n for t, n in hot.items() if len(of_entry(lines, n)) >= len(SEEDS)
    }
    if not whole:
      continue
    most = max(whole, key=lambda t: mean_of(lines, whole[t], "pass@1"))
    best.append(
      f"`{name}` {mean_of(lines, whole[most], 'pass@1'):.3f} at {most:g} "
      f"({mean_of(lines, whole[most], 'pass@64'):.3f} in pass@64)"
    )
    if name == field.grpo_beside(name):
      continue
    for rival, texts in over.items():
      if text := _over(field, lines, name, whole, rival):
        texts.append(text)
  if not best:
    return
  yield (
    f"- **At other sampling temperatures.** The most pass@1 at one of "
    f"{len(temperatures)} temperatures: {listed(best)}."
    + "".join(
      f" Compared with the policy of `{rival}` after as many rollout steps, at "
      "the temperature at which it has the same pass@1, the difference in "
      f"pass@64 is: {'; '.join(texts)}."
      for rival, texts in over.items()
      if texts
    )
  )


def _over(
  field: Field, lines: Lines, name: str, hot: Mapping[float, str], rival: str
) -> str:
  """Say how an entry's policy lies to a rival's over temperatures.

  Args:
    field: what is compared.
    lines: the lines of `as_lines`.
    name: the entry.
    hot: temperature -> the entry at it, with all seeds.
    rival: the row of the rival.
  """
  own = {
    t: heights(field, lines, name, entry, rival) for t, entry in hot.items()
  }
  whole = {
    t: x for t, x in own.items() if x is not None and np.isfinite(x).all()
  }
  if not whole:
    return ""
  means = [float(x.mean()) for x in whole.values()]
  sides = {t: compare(over_seeds(x)) for t, x in whole.items()}
  words = [
    f"{word} at {listed(f'{t:g}' for t, own in sides.items() if own == side)}"
    for word, side in (("more", 1), ("less", -1), ("undecided", 0))
    if side in sides.values()
  ]
  return f"`{name}` {min(means):+.3f} to {max(means):+.3f}, {', '.join(words)}"


def _height(
  field: Field, lines: Lines, name: str, entry: str, rival: str
) -> str:
  """Format the heights above a rival's curve over its temperatures."""
  own = heights(field, lines, name, entry, rival)
  if own is None:
    return ""
  word = ""
  if np.isfinite(own).all():
    word = {1: " above", -1: " below"}.get(compare(over_seeds(own)), "")
  return format_heights(own) + word


def heights(
  field: Field, lines: Lines, name: str, entry: str, rival: str = BASELINE
) -> np.ndarray | None:
  """Return the heights above a curve over temperatures, f64[seeds].

  Args:
    field: what is compared.
    lines: the lines of `as_lines`.
    name: the entry.
    entry: the entry at a temperature.
    rival: the row whose policy of the same budget has the curve.

  Returns:
    The heights; None for the rival itself, or if its policy was not evaluated.
  """
  other = field.beside(name, rival)
  if other is None or name == other:
    return None
  budgets = [
    x for x in {line.entry for line in lines.values()} if _is(x, other)
  ]
  if not budgets:
    return None
  return Curve(lines, budgets, _PLANE[1], along=_PLANE[0]).heights(
    of_entry(lines, entry)
  )


def _is(entry: str, name: str) -> bool:
  """Return whether an entry is this one at a temperature."""
  return entry.rpartition(",temperature=")[0] == name


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
    for name in names:
      color = PALETTE[rows.index(_row(name)) % len(PALETTE)]
      is_longest = steps_of(field.lines, name) == longest
      own = [
        (temperature, hot_name(name, temperature))
        for temperature in temperatures_of(heated, base)
        if of_entry(lines, hot_name(name, temperature))
      ]
      x, y = (
        [mean_of(lines, entry, measure) for _, entry in own]
        for measure in _PLANE
      )
      style = "o-" if is_longest else "o:"
      axes.plot(x, y, style, color=color, ms=4, lw=1.6, label=name)
      for (temperature, _), *at in zip(own, x, y, strict=True):
        axes.annotate(
          f"{temperature:g}" if is_longest else "",
          at,
          xytext=(4, 4),
          textcoords="offset points",
          fontsize=8,
          color=color,
        )
    axes.set_xlabel(f"{_PLANE[0]}; the numbers are temperatures")
    axes.set_ylabel(_PLANE[1])
    figure.legend(loc="outside right upper", fontsize=8)
    return as_svg(figure)
