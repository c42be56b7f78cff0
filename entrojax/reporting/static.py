"""Draw a picture of a report as SVG or PNG, where no script can run.

The report itself is interactive (interactive.py). A page on a code host runs no
scripts, so the pictures of the repository's front page (SVG) and those that
notebooks store (PNG) are drawn here. Text is drawn as outlines and nothing
depends on the date, so that the same data give the same bytes.

Matplotlib is needed here only; it is not among the package's dependencies.
"""

from collections.abc import Sequence
import io
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
import numpy as np

from entrojax.reporting.formatting import printable
from entrojax.reporting.pictures import (
  GREY,
  OPTIMIZER_STEP,
  Curve,
  Panel,
  Picture,
  color,
)

_SVG: Any = {"format": "svg", "metadata": {"Date": None}}
_FONT_SIZE = 11  # points
_WIDTH = 5.6  # inches
STYLE: Any = {
  "axes.edgecolor": "#888888",
  "axes.axisbelow": True,
  "axes.grid": True,
  "axes.spines.right": False,
  "axes.spines.top": False,
  "font.size": _FONT_SIZE,
  "grid.color": "#e4e4e4",
  "legend.frameon": False,
  "svg.fonttype": "path",
  "svg.hashsalt": "entrojax",
  "text.parse_math": False,  # a variant may be called "$x"
}


def to_svg(picture: Picture, names: Sequence[str]) -> str:
  """Draw the panels above each other, with a legend on top, as SVG.

  Args:
    picture: of lines, with or without bands and dots. Error bars and stairs are
      for the interactive report only.
    names: the names of all variants.
  """
  return _draw(picture, names, **_SVG).decode()


def to_png(picture: Picture, names: Sequence[str]) -> bytes:
  """Draw the panels above each other, with a legend on top, as PNG.

  `to_svg` describes the arguments.
  """
  return _draw(picture, names, format="png", dpi=100, facecolor="white")


def matrix_to_svg(names: Sequence[str], matrix: np.ndarray) -> str:
  """Draw a matrix f64[N, N] between -1 and 1 as shaded cells, as SVG.

  Args:
    names: of the rows and of the columns.
    matrix: NaN = no value, an empty cell.
  """
  size = 1.8 + 0.155 * len(names)
  with matplotlib.rc_context(STYLE | {"axes.grid": False, "font.size": 8}):
    figure = Figure(figsize=(size + 0.5, size), layout="constrained")
    axes: Any = figure.subplots()
    image = axes.imshow(matrix, cmap="RdBu", vmin=-1, vmax=1)
    places = range(len(names))
    labels = [printable(name) for name in names]
    axes.set_xticks(places, labels, rotation=90)
    axes.set_yticks(places, labels)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, shrink=0.5)
    return as_svg(figure)


def _draw(picture: Picture, names: Sequence[str], **options: Any) -> bytes:
  """Draw a picture; the options go to matplotlib's savefig."""
  curves = [curve for panel in picture.panels for curve in panel.curves]
  indices = sorted({c.variant for c in curves if c.variant is not None})
  entries = [(printable(names[i]), _line(color(i), "-")) for i in indices]
  if picture.dashed:
    entries.append((f"dashed: {picture.dashed}", _line(GREY, "--")))
  number = len(picture.panels)
  with matplotlib.rc_context(STYLE):
    figure = Figure(figsize=(_WIDTH, 2.0 + 1.8 * number), layout="constrained")
    rows = figure.subplots(number, sharex=True, squeeze=False)[:, 0]
    for axes, panel in zip(rows, picture.panels, strict=True):
      _draw_panel(axes, panel)
    if picture.log_ticks:
      rows[-1].set_xscale("log", base=2)
      rows[-1].set_xticks(
        picture.log_ticks, [str(tick) for tick in picture.log_ticks]
      )
      rows[-1].minorticks_off()
    if picture.x_label == OPTIMIZER_STEP:
      rows[-1].xaxis.get_major_locator().set_params(integer=True)
    rows[-1].set_xlabel(picture.x_label)
    labels, lines = zip(*entries, strict=True)
    columns = legend_columns(labels)
    figure.legend(lines, labels, loc="outside upper left", ncols=columns)
    return _save(figure, **options)


def legend_columns(labels: Sequence[str]) -> int:
  """Return how many columns of a legend fit into a picture's width."""
  widths = [0.72 + 0.007 * _FONT_SIZE * len(label) for label in labels]
  for count in range(len(labels), 1, -1):
    # the first columns of Matplotlib's legends are the longer ones
    columns = np.array_split(np.array(widths), count)
    if sum(column.max() for column in columns) <= _WIDTH:
      return count
  return 1


def as_svg(figure: Figure) -> str:
  """Return a figure, drawn with STYLE, as an SVG document."""
  return _save(figure, **_SVG).decode()


def _save(figure: Figure, **options: Any) -> bytes:
  """Return a figure as a file; the options go to savefig."""
  buffer = io.BytesIO()
  figure.savefig(buffer, **options)
  return buffer.getvalue()


def _line(line_color: str, style: str) -> Line2D:
  return Line2D([], [], color=line_color, ls=style, lw=2)


def _draw_panel(axes: Any, panel: Panel) -> None:
  for curve in panel.curves:
    _draw_curve(axes, curve)
  axes.set_ylabel(panel.label)
  if panel.log_y:
    axes.set_yscale("log")
    # the default labels are formulas, which STYLE does not parse
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
  if panel.ends and panel.ends[0] < panel.ends[1]:
    axes.set_ylim(panel.ends)


def _draw_curve(axes: Any, curve: Curve) -> None:
  own = color(curve.variant)
  if curve.line or curve.dots:
    axes.plot(
      curve.x,
      curve.y,
      color=own,
      ls=("--" if curve.dashed else "-") if curve.line else "",
      lw=1.3 if curve.dashed else 1.8,
      marker="o" if curve.dots else "",
      ms=4,
    )
  if curve.low is not None:
    axes.fill_between(
      curve.x, curve.low, curve.high, color=own, alpha=0.15, lw=0
    )
