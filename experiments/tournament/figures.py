"""Draw the three planes of the tournament, with GRPO's curve in each.

A dot is the mean of an entry over its seeds, with bars of one standard
deviation. A hollow dot is of one seed alone. GRPO's runs of all budgets, from
the base to the longest, are joined by a line. Dots of entries above or below
the curve have a colour. The legend names up to _NUMBERED entries by a number
beside their dots: all of them if they are so few, and otherwise those above the
curve. Dots far from the curve are left out, and a line below the axes has their
number.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
from matplotlib.figure import Figure
import numpy as np

from entrojax.reporting.pictures import GREY, PALETTE
from entrojax.reporting.static import STYLE, as_svg
from experiments.tournament.labels import Label, place
from experiments.tournament.measures import Lines, of_entry, values
from experiments.tournament.rule import BASELINE

PLANES = (("entropy", "pass@1"), ("entropy", "pass@64"), ("pass@1", "pass@64"))
_LABELS = {"entropy": "held-out entropy, nats per token"}
# of a dot above the curve, on it, and below it
_SIDES = {1: PALETTE[2], 0: GREY, -1: PALETTE[1]}
_NUMBERED = 20  # entries that the legend can name
_MARGIN = 0.6  # of the curve's extent, on each of its sides


class Dot(NamedTuple):
  """An entry in a plane: mean and standard deviation over its n seeds."""

  name: str
  x: float
  y: float
  x_spread: float
  y_spread: float
  n: int


def file_name(base: str, plane: tuple[str, str]) -> str:
  """Return the name of a figure's file."""
  x, y = (axis.replace("@", "_") for axis in plane)
  return f"{base}_{x}_{y}.svg"


def draw(
  lines: Lines,
  names: Sequence[str],
  budgets: Sequence[str],
  plane: tuple[str, str],
  marked: Mapping[str, int],
  gentle: Sequence[str] = (),
) -> str:
  """Draw a plane as an SVG document.

  Args:
    lines: the kept lines.
    names: the entries, without GRPO's budgets.
    budgets: GRPO's entries by ascending budget.
    plane: the measures on the x and the y axis.
    marked: entry -> 1 if it lies above the curve, -1 if below. The legend names
      those above, in this order.
    gentle: the entries of GRPO with one update on a batch, by budget. They are
      joined by a line of their own if there are two.
  """
  dots = [dot for name in names if (dot := _dot(lines, name, plane))]
  path = [dot for name in budgets if (dot := _dot(lines, name, plane))]
  other = [dot for name in gentle if (dot := _dot(lines, name, plane))]
  if start := _start(lines, plane):
    path, other = [start, *path], [start, *other]
  with matplotlib.rc_context(STYLE):
    figure = Figure(figsize=(7.4, 4.4), layout="constrained")
    axes: Any = figure.subplots()
    _draw_curve(axes, path)
    if len(gentle) > 1:
      axes.plot(
        [dot.x for dot in other],
        [dot.y for dot in other],
        color=PALETTE[0],
        ls="--",
        lw=1.0,
        label=f"{BASELINE.upper()}, one update on a batch",
        zorder=2,
      )
    near = _limit(axes, path, dots)
    numbers = _numbers(near, marked)
    for dot in near:
      _draw_dot(axes, dot, _SIDES[marked.get(dot.name, 0)])
    _add_legend_entries(axes, marked, numbers, near)
    _label(axes, plane, outside=len(dots) - len(near))
    figure.legend(loc="outside right upper", fontsize=8)
    place(
      axes,
      [*_budget_labels(path), *_number_labels(near, marked, numbers)],
      [(dot.x, dot.y) for dot in (*path, *near)],
    )
    return as_svg(figure)


def _draw_curve(axes: Any, path: Sequence[Dot]) -> None:
  """Draw GRPO's runs, joined by a line, each with its budget beside it."""
  axes.plot(
    [dot.x for dot in path],
    [dot.y for dot in path],
    color=PALETTE[0],
    marker="o",
    ms=4,
    lw=1.6,
    label=f"{BASELINE.upper()}, by rollout steps",
    zorder=3,
  )
  for dot in path:
    _draw_dot(axes, dot, PALETTE[0])


def _budget_labels(path: Sequence[Dot]) -> list[Label]:
  """Return the labels of GRPO's runs, their rollout steps."""
  return [
    Label(dot.name.rpartition("=")[2], dot.x, dot.y, PALETTE[0]) for dot in path
  ]


def _numbers(dots: Sequence[Dot], marked: Mapping[str, int]) -> dict[str, int]:
  """Number the entries that the legend names, first those above the curve.

  Args:
    dots: the dots in the picture.
    marked: entry -> the side of the curve that it lies on; see `draw`.
  """
  inside = {dot.name for dot in dots}
  named = [x for x, side in marked.items() if side > 0 and x in inside]
  if len(dots) <= _NUMBERED:
    highest_first = sorted(dots, key=lambda dot: -dot.y)
    named += [dot.name for dot in highest_first if dot.name not in named]
  return {name: i for i, name in enumerate(named[:_NUMBERED], 1)}


def _number_labels(
  dots: Sequence[Dot], marked: Mapping[str, int], numbers: Mapping[str, int]
) -> list[Label]:
  """Return the numbers of the entries that the legend names.

  Args:
    dots: the dots of all entries.
    marked: entry -> the side of the curve that it lies on; see `draw`.
    numbers: entry -> its number in the legend.
  """
  return [
    Label(
      *(str(numbers[dot.name]), dot.x, dot.y),
      *(_SIDES[marked.get(dot.name, 0)], 9.0),
    )
    for dot in dots
    if dot.name in numbers
  ]


def _add_legend_entries(
  axes: Any,
  marked: Mapping[str, int],
  numbers: Mapping[str, int],
  dots: Sequence[Dot],
) -> None:
  """Add the lines of the legend that explain the dots of the entries.

  Args:
    axes: whose legend.
    marked: entry -> the side of the curve that it lies on; see `draw`.
    numbers: entry -> its number, in the order of the legend.
    dots: the dots in the picture.
  """
  for name, number in numbers.items():
    side = marked.get(name, 0)
    where = ", below the curve" if side < 0 else ""
    axes.plot([], [], "o", color=_SIDES[side], label=f"{number} {name}{where}")
  labels = {1: "also above the curve", -1: "below the curve", 0: "others"}
  sides = {marked.get(dot.name, 0) for dot in dots if dot.name not in numbers}
  for side, label in labels.items():
    if side in sides:
      axes.plot([], [], "o", color=_SIDES[side], label=label)
  if any(dot.n == 1 for dot in dots):
    axes.plot(
      [], [], "o", color=GREY, markerfacecolor="none", label="one seed alone"
    )


def _label(axes: Any, plane: tuple[str, str], *, outside: int) -> None:
  """Label the axes, and say how many entries lie outside of the picture."""
  label = _LABELS.get(plane[0], plane[0])
  if outside:
    label += f"\n({outside} {'entry lies' if outside == 1 else 'entries lie'}"
    label += " outside of the picture)"
  axes.set_xlabel(label)
  axes.set_ylabel(plane[1])


def _dot(lines: Lines, name: str, plane: tuple[str, str]) -> Dot | None:
  """Return an entry's dot; None if no line of it is kept."""
  runs = of_entry(lines, name)
  if not runs:
    return None
  x, y = (values(runs, measure) for measure in plane)
  spread = lambda v: float(v.std(ddof=1)) if v.size > 1 else 0.0
  means = float(x.mean()), float(y.mean())
  return Dot(name, *means, spread(x), spread(y), len(runs))


def _limit(axes: Any, path: Sequence[Dot], dots: list[Dot]) -> list[Dot]:
  """Limit the axes to the neighbourhood of the curve; return the dots in it."""
  if len(path) < 2:
    return dots
  axis = (lambda dot: dot.x, lambda dot: dot.y)
  curve = np.array([[of(dot) for of in axis] for dot in path])
  own = np.array([[of(dot) for of in axis] for dot in dots]).reshape(-1, 2)
  margin = _MARGIN * np.ptp(curve, axis=0)
  low, high = curve.min(axis=0) - margin, curve.max(axis=0) + margin
  inside = ((low <= own) & (own <= high)).all(axis=1)
  near = [dot for dot, is_near in zip(dots, inside, strict=True) if is_near]
  ends = np.array(
    [
      (dot.x + side * dot.x_spread, dot.y + side * dot.y_spread)
      for dot in (*path, *near)
      for side in (-1, 1)
    ]
  )
  # a bar may be far longer than the curve, and ends at the axes then
  ends = np.clip(ends, low, high)
  margin = 0.05 * np.ptp(ends, axis=0)
  bottom, top = ends.min(axis=0) - margin, ends.max(axis=0) + margin
  axes.set_xlim(bottom[0], top[0])
  axes.set_ylim(bottom[1], top[1])
  return near


def _start(lines: Lines, plane: tuple[str, str]) -> Dot | None:
  """Return the dot of the base, from the evaluations before the first step."""
  points = [
    [line.start.get(measure) for measure in plane]
    for line in lines.values()
    if line.method == BASELINE
  ]
  if not points:
    return None
  x, y = np.array(points, np.float64).mean(axis=0)
  return Dot("base", float(x), float(y), 0.0, 0.0, len(points))


def _draw_dot(axes: Any, dot: Dot, color: str) -> None:
  axes.errorbar(
    dot.x,
    dot.y,
    xerr=dot.x_spread,
    yerr=dot.y_spread,
    fmt="o",
    ms=4,
    lw=0.7,
    color=color,
    markerfacecolor="none" if dot.n == 1 else color,
  )
