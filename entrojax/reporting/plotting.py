"""Draw curves with axes, a legend and one style, as an SVG document.

figures.py decides what a picture shows; this file decides how it looks. A run
has the same look in every picture: it follows from the run's index among all
runs. After seven runs the colours repeat, with dotted lines. Text is drawn as
outlines and nothing depends on the date, so that the same data give the same
bytes.
"""

from collections.abc import Iterable, Sequence
import contextlib
import io
from typing import Any, NamedTuple

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath
import numpy as np

from entrojax.reporting.formatting import printable
from entrojax.reporting.run_logs import RunLog, series

OPTIMIZER_STEP = "optimizer step"
MAX_DOTS = 300  # shown per run; a fit uses all points

# Okabe and Ito's colours, which stay apart for the colour-blind, without the
# yellow, which is hard to see on a light page. Later runs repeat the colours
# with dotted lines.
PALETTE = (
  "#0072B2",
  "#D55E00",
  "#009E73",
  "#CC79A7",
  "#E69F00",
  "#56B4E9",
  "#000000",
)
FONT_SIZE = 11  # points
WIDTH = 5.6  # inches
GREY = "#555555"
STYLE: Any = {
  "axes.edgecolor": "#888888",
  "axes.axisbelow": True,
  "axes.grid": True,
  "axes.spines.right": False,
  "axes.spines.top": False,
  "font.size": FONT_SIZE,
  "grid.color": "#e4e4e4",
  "legend.frameon": False,
  "svg.fonttype": "path",
  "svg.hashsalt": "entrojax",
  "text.parse_math": False,  # a run may be called "$x"
}


class Curve(NamedTuple):
  """A line of one run."""

  run_index: int | None  # gives the colour; None: grey, a line of all runs
  x: np.ndarray  # [K]
  y: np.ndarray  # [K], NaN = a gap
  band: np.ndarray | None = None  # [K], half width of a shaded band
  dashed: bool = False
  marker: str = ""


class Panel(NamedTuple):
  """The axes of one quantity."""

  label: str  # of the y axis, with the unit
  curves: Sequence[Curve]
  levels: Sequence[tuple[int, float]] = ()  # (run_index, y) of dashed lines


def style() -> contextlib.AbstractContextManager[None]:
  """Set matplotlib's style within a `with` statement."""
  return matplotlib.rc_context(STYLE)


def look(run_index: int | None) -> tuple[str, Any]:
  """Return the colour and the line style of a run; grey for None."""
  if run_index is None:
    return GREY, "-"
  cycle, index = divmod(run_index, len(PALETTE))
  return PALETTE[index], "-" if cycle == 0 else (0, (1, 1))


def metric_curves(
  runs: Sequence[RunLog],
  metric: str,
  *,
  smoothing: float = 0.0,
  **options: Any,
) -> list[Curve]:
  """Return the curve of a metric over the optimizer step for each run.

  Runs that did not log the metric have no curve.

  Args:
    runs: all runs.
    metric: its name in metrics.jsonl.
    smoothing: the window of the running mean as a share of the run; 0: none.
    **options: further fields of `Curve`.
  """
  curves = []
  for run_index, run in enumerate(runs):
    steps, values = series(run, metric)
    if steps.size:
      values = running_mean(values, round(smoothing * values.size))
      curves.append(Curve(run_index, steps, values, **options))
  return curves


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
  """Average each value with its neighbours, ignoring NaN.

  At the ends the window is cut, not padded.

  Args:
    values: f64[K].
    window: the number of values in a mean; below 2, the values stay as they
      are.
  """
  if window < 2:
    return values
  finite = np.isfinite(values)
  totals, counts = (
    np.convolve(part, np.ones(window), "same")
    for part in (np.where(finite, values, 0.0), finite)
  )
  return np.where(counts > 0.5, totals / np.maximum(counts, 1), np.nan)


def draw_panels(
  runs: Sequence[RunLog],
  panels: Sequence[Panel],
  *,
  x_label: str,
  dashed: str = "",
  log_ticks: Sequence[int] = (),
) -> str | None:
  """Draw panels above each other over one x axis.

  Args:
    runs: all runs; the legend names those that have a curve.
    panels: from top to bottom.
    x_label: the label of the x axis.
    dashed: what a dashed line means, for the legend; "" without one.
    log_ticks: the ticks of a logarithmic x axis; (): a linear one.

  Returns:
    The SVG document; None if there is no curve.
  """
  curves = [curve for panel in panels for curve in panel.curves]
  if not curves:
    return None
  indices = sorted({c.run_index for c in curves if c.run_index is not None})
  with style():
    figure, rows = new_figure(len(panels))
    rows = np.atleast_1d(rows)
    for axes, panel in zip(rows, panels, strict=True):
      _draw_panel(axes, panel)
    if log_ticks:
      rows[-1].set_xscale("log", base=2)
      rows[-1].set_xticks(log_ticks, [str(tick) for tick in log_ticks])
      rows[-1].minorticks_off()
    if x_label == OPTIMIZER_STEP:
      rows[-1].xaxis.get_major_locator().set_params(integer=True)
    rows[-1].set_xlabel(x_label)
    return to_svg(figure, runs, indices, dashed)


def new_figure(panels: int = 1) -> tuple[Figure, Any]:
  """Create a figure with axes above each other.

  Returns:
    The figure, and its axes: one, or an array of several.
  """
  figure = Figure(figsize=(WIDTH, 1.8 + 1.8 * panels), layout="constrained")
  return figure, figure.subplots(panels, sharex=True)


def draw_dots(
  axes: Any, x: np.ndarray, y: np.ndarray, color: str, **options: Any
) -> None:
  """Draw at most MAX_DOTS dots: all, or every second, or every third, ..."""
  thin = slice(0, None, max(1, -(-x.size // MAX_DOTS)))
  many = x.size > 50
  options = {"ms": 3 if many else 4, "alpha": 0.3 if many else 0.8} | options
  axes.plot(x[thin], y[thin], "o", color=color, **options)


def to_svg(
  figure: Figure,
  runs: Sequence[RunLog],
  indices: Iterable[int],
  dashed: str = "",
) -> str:
  """Put a legend above a figure and return it as an SVG document.

  Args:
    figure: grows by the height of its legend.
    runs: all runs.
    indices: the runs that the legend names.
    dashed: what a dashed line means, for the legend; "" without one.
  """
  labels, lines = zip(*_legend(runs, indices, dashed), strict=True)
  columns = _legend_columns(labels)
  legend_rows = -(-len(labels) // columns)
  figure.set_figheight(figure.get_figheight() + 0.23 * legend_rows)
  figure.legend(lines, labels, loc="outside upper left", ncols=columns)
  buffer = io.StringIO()
  figure.savefig(buffer, format="svg", metadata={"Date": None})
  return buffer.getvalue()


def _draw_panel(axes: Any, panel: Panel) -> None:
  for curve in panel.curves:
    color, line = look(curve.run_index)
    axes.plot(
      curve.x,
      curve.y,
      color=color,
      ls="--" if curve.dashed else line,
      lw=1.3 if curve.dashed else 1.8,
      marker=curve.marker,
      ms=4,
    )
    if curve.band is not None:
      axes.fill_between(
        curve.x,
        curve.y - curve.band,
        curve.y + curve.band,
        color=color,
        alpha=0.15,
        lw=0,
      )
  for run_index, level in panel.levels:
    axes.axhline(level, color=look(run_index)[0], ls="--", lw=1.2)
  axes.set_ylabel(panel.label)


def _legend(
  runs: Sequence[RunLog], indices: Iterable[int], dashed: str
) -> list[tuple[str, Line2D]]:
  """Pair each run's name with its line, and add the meaning of dashed lines."""
  entries = []
  for run_index in indices:
    color, line = look(run_index)
    entries.append(
      (
        printable(runs[run_index].name),
        Line2D([], [], color=color, ls=line, lw=2),
      )
    )
  if dashed:
    grey = Line2D([], [], color=GREY, ls="--", lw=1.3)
    entries.append((f"dashed: {dashed}", grey))
  return entries


def _legend_columns(labels: Sequence[str]) -> int:
  """Return the number of legend columns that fit into a figure's width."""
  room = 72 * WIDTH - 1.8 * FONT_SIZE  # points, without the margins
  beside = 5 * FONT_SIZE  # line, gap and the space between columns
  paths = (TextPath((0, 0), label, size=FONT_SIZE) for label in labels)
  widths = [max(0.0, path.get_extents().width) + beside for path in paths]
  if sum(widths) <= room:
    return len(labels)
  return max(1, int(room // max(widths)))
