"""Pictures of runs: what metrics.jsonl holds, drawn as SVG.

A `draw_*` function takes all runs and returns an SVG document, or None where
no run logged what it shows. A run keeps its colour, by its place, in every
picture. Text is drawn as outlines and nothing depends on the date, so that
the same runs give the same bytes.
"""

from collections.abc import Iterable, Sequence
import functools
import io
from typing import Any, NamedTuple

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath
import numpy as np

from entrojax.entropy.law import fit_entropy_law, forecast, predict
from entrojax.metrics import ENTROPY_EDGES, ENTROPY_HISTOGRAM
from entrojax.reporting.run_logs import (
  Run,
  entropy_changes,
  evaluations,
  law_points,
  pass_at_k,
  printable,
  series,
)
from entrojax.reporting.summary import line_through_origin

OPTIMIZER_STEP = "optimizer step"
MAX_DOTS = 300  # shown per run; a fit uses them all

# Okabe and Ito's colours without the yellow, which a light page swallows: they
# stay apart for the colour-blind. Later runs repeat them, dotted.
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

  place: int | None  # of the run, for its colour; None: of all runs
  x: np.ndarray  # [K]
  y: np.ndarray  # [K], NaN = a gap
  band: np.ndarray | None = None  # [K], half width
  dashed: bool = False
  marker: str = ""


class Panel(NamedTuple):
  """The axes of one quantity."""

  label: str  # with its unit
  curves: Sequence[Curve]
  levels: Sequence[tuple[int, float]] = ()  # (place, y) of dashed lines


def histograms(run: Run) -> list[np.ndarray]:
  """Returns the first and the last histogram of token entropies, if any."""
  counts = [np.array(row.get(ENTROPY_HISTOGRAM, ())) for row in run.rows]
  bins = len(ENTROPY_EDGES) - 1
  counts = [c for c in counts if c.size == bins and c.sum() > 0]
  return [counts[0], counts[-1]] if counts else []


def draw_metric(
  runs: Sequence[Run],
  *,
  metric: str,
  label: str,
  smoothing: float = 0.0,
  targets: bool = False,
) -> str | None:
  """Draws one metric against the optimizer step.

  Args:
    runs: all runs.
    metric: its name in metrics.jsonl.
    label: of the y axis, with the unit.
    smoothing: part of a run that the running mean takes in; 0: none.
    targets: whether the entropy targets are drawn, dashed.
  """
  curves = _curves(runs, metric, smoothing=smoothing)
  levels = [(i, run.target) for i, run in enumerate(runs) if run.target]
  levels = levels if targets else []
  dashed = "entropy target" if levels else ""
  panel = Panel(label, curves, levels)
  return _panels(runs, [panel], x_label=OPTIMIZER_STEP, dashed=dashed)


def draw_control(runs: Sequence[Run]) -> str | None:
  """Draws what the controller fed back, one panel a quantity."""
  units = {"coefficient": "", "error": " (nats)", "integral": " (nats)"}
  panels = [
    Panel(name + unit, _curves(runs, f"control/{name}"))
    for name, unit in units.items()
  ]
  panels = [panel for panel in panels if panel.curves]
  return _panels(runs, panels, x_label=OPTIMIZER_STEP)


def draw_covariance(
  runs: Sequence[Run], *, smoothing: float = 0.05
) -> str | None:
  """Draws the mean covariance and its four parts, a panel for each likelihood.

  Dashed: the tokens without a positive advantage.
  """
  draw = functools.partial(_curves, runs, smoothing=smoothing)
  panels = [Panel("mean (nats)", draw("covariance/mean"))] + [
    Panel(
      f"{likelihood} tokens (nats)",
      draw(f"covariance/positive_{likelihood}")
      + draw(f"covariance/negative_{likelihood}", dashed=True),
    )
    for likelihood in ("probable", "rare")
  ]
  return _panels(
    runs,
    [panel for panel in panels if panel.curves],
    x_label=OPTIMIZER_STEP,
    dashed="negative advantage (solid: positive)",
  )


def draw_entropy_by_sign(
  runs: Sequence[Run], *, smoothing: float = 0.05
) -> str | None:
  """Draws the entropy of tokens of positive and, dashed, negative advantage."""
  curves = _curves(runs, "entropy/positive", smoothing=smoothing) + _curves(
    runs, "entropy/negative", smoothing=smoothing, dashed=True
  )
  return _panels(
    runs,
    [Panel("entropy (nats)", curves)],
    x_label=OPTIMIZER_STEP,
    dashed="negative advantage (solid: positive)",
  )


def draw_entropy_changes(runs: Sequence[Run]) -> str | None:
  """Draws the measured against the predicted change of entropy, step by step.

  The lines are regressions through the origin.
  """
  points = {place: entropy_changes(run) for place, run in enumerate(runs)}
  points = {place: both for place, both in points.items() if both[0].size}
  if not points:
    return None
  with matplotlib.rc_context(STYLE):
    figure, axes = _figure()
    axes.axhline(0.0, color=GREY, lw=0.8)
    axes.axvline(0.0, color=GREY, lw=0.8)
    for place, (predicted, measured) in points.items():
      color, style = look(place)
      _dots(axes, predicted, measured, color)
      slope, *_ = line_through_origin(predicted, measured)
      ends = np.array([predicted.min(), predicted.max()])
      axes.plot(ends, slope * ends, color=color, ls=style, lw=2)
    axes.set_xlabel("predicted: −mean covariance (nats per unit of step)")
    axes.set_ylabel("measured change (nats)")
    return _svg(figure, _legend(runs, points))


def draw_pass_at_k(runs: Sequence[Run], *, data: str) -> str | None:
  """Draws pass@k against k: last evaluation with its errors, first dashed.

  Runs that start from one model with one evaluation share one dashed line.
  """
  first, last = [], []
  for place, run in enumerate(runs):
    start, end = evaluations(run, data)
    k, values, _ = pass_at_k(start, data)
    if k.size:
      first.append(Curve(place, k, values, dashed=True))
    k, values, errors = pass_at_k(end, data)
    if k.size:
      last.append(Curve(place, k, values, errors, marker="o"))
  if len({(*curve.x, *curve.y) for curve in first}) == 1:
    first = [first[0]._replace(place=None)]
  return _panels(
    runs,
    [Panel("pass@k (fraction of problems)", first + last)],
    x_label="k, samples per problem (log scale)",
    dashed="before training" if first else "",
    log_ticks=sorted({int(k) for curve in first + last for k in curve.x}),
  )


def draw_pass_over_steps(runs: Sequence[Run], *, data: str) -> str | None:
  """Draws pass@1 and a large pass@k against the step of the evaluation."""
  k = large_k(runs, data)
  curves = _curves(runs, f"val/{data}/pass@1", marker="o")
  if k > 1:
    curves += _curves(runs, f"val/{data}/pass@{k}", marker="o", dashed=True)
  return _panels(
    runs,
    [Panel("fraction of problems", curves)],
    x_label=OPTIMIZER_STEP,
    dashed=f"pass@{k} (solid: pass@1)" if k > 1 else "",
  )


def large_k(runs: Sequence[Run], data: str) -> int:
  """Returns the largest k up to 64 that any run evaluated; 1 if none."""
  ks = {int(k) for run in runs for r in run.rows for k in pass_at_k(r, data)[0]}
  return max((k for k in ks if k <= 64), default=1)


def draw_entropy_law(
  runs: Sequence[Run], *, fraction: float = 0.15
) -> str | None:
  """Draws reward against exp(entropy) with the fitted law as a line.

  Dashed, the law fitted to the first part of the run, whose points are ringed.
  """
  points = {place: law_points(run) for place, run in enumerate(runs)}
  points = {place: p for place, p in points.items() if p.reward.size}
  if not points:
    return None
  with matplotlib.rc_context(STYLE):
    figure, axes = _figure()
    for place, (entropy, reward, _) in points.items():
      color, style = look(place)
      u = np.exp(entropy)
      _dots(axes, u, reward, color)
      ends = np.array([0.0, entropy.max()])
      law = fit_entropy_law(entropy, reward)
      axes.plot(np.exp(ends), predict(law, ends), color=color, ls=style, lw=2)
      early = forecast(entropy, reward, fraction=fraction)
      first = slice(0, early.num_fitted)
      _dots(axes, u[first], reward[first], color, ms=5, alpha=1, mfc="none")
      axes.plot(
        np.exp(ends), predict(early.law, ends), color=color, ls="--", lw=1.3
      )
    axes.set_xlabel("exp(entropy), entropy in nats; 1 = no entropy left")
    axes.set_ylabel("reward")
    dashed = f"fitted to the first {100 * fraction:g} % (rings)"
    return _svg(figure, _legend(runs, points, dashed))


def draw_entropy_histograms(runs: Sequence[Run]) -> str | None:
  """Draws the distribution of token entropies of the first and last line."""
  counts = {place: histograms(run) for place, run in enumerate(runs)}
  counts = {place: both for place, both in counts.items() if both}
  if not counts:
    return None
  edges = np.array(ENTROPY_EDGES)
  with matplotlib.rc_context(STYLE):
    figure, axes = _figure()
    for place, (first, last) in counts.items():
      color, style = look(place)
      for count, line in ((first, "--"), (last, style)):
        share = count / count.sum() / np.diff(edges)
        share[share == 0] = np.nan
        axes.stairs(share, edges, color=color, ls=line, lw=1.6)
    filled = np.any([c > 0 for both in counts.values() for c in both], axis=0)
    axes.set(yscale="log", xlim=(0, edges[1:][filled].max()))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(lambda value, _: "")
    axes.set_xlabel("token entropy (nats)")
    axes.set_ylabel("share of tokens per nat (log scale)")
    return _svg(figure, _legend(runs, counts, "first logged step"))


def look(place: int | None) -> tuple[str, Any]:
  """Returns the colour and the line style of the run at a place."""
  if place is None:
    return GREY, "-"
  cycle, index = divmod(place, len(PALETTE))
  return PALETTE[index], "-" if cycle == 0 else (0, (1, 1))


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
  """Averages each value with its neighbours, NaN left out.

  At the ends the window is cut, not padded. A window below 2 changes nothing.
  """
  if window < 2:
    return values
  finite = np.isfinite(values)
  totals, counts = (
    np.convolve(part, np.ones(window), "same")
    for part in (np.where(finite, values, 0.0), finite)
  )
  return np.where(counts > 0.5, totals / np.maximum(counts, 1), np.nan)


def _curves(
  runs: Sequence[Run], metric: str, *, smoothing: float = 0.0, **options: Any
) -> list[Curve]:
  found = ((place, *series(run, metric)) for place, run in enumerate(runs))
  return [
    Curve(p, x, running_mean(y, round(smoothing * y.size)), **options)
    for p, x, y in found
    if x.size
  ]


def _dots(
  axes: Any, x: np.ndarray, y: np.ndarray, color: str, **options: Any
) -> None:
  """Draws at most MAX_DOTS dots: all, or every second, or every third, ..."""
  thin = slice(0, None, max(1, -(-x.size // MAX_DOTS)))
  many = x.size > 50
  options = {"ms": 3 if many else 4, "alpha": 0.3 if many else 0.8} | options
  axes.plot(x[thin], y[thin], "o", color=color, **options)


def _panels(
  runs: Sequence[Run],
  panels: Sequence[Panel],
  *,
  x_label: str,
  dashed: str = "",
  log_ticks: Sequence[int] = (),
) -> str | None:
  """Draws panels above each other over one x axis; None without a curve."""
  curves = [curve for panel in panels for curve in panel.curves]
  if not curves:
    return None
  places = sorted({c.place for c in curves if c.place is not None})
  with matplotlib.rc_context(STYLE):
    figure, rows = _figure(len(panels))
    rows = np.atleast_1d(rows)
    for axes, panel in zip(rows, panels, strict=True):
      _panel(axes, panel)
    if log_ticks:
      rows[-1].set_xscale("log", base=2)
      rows[-1].set_xticks(log_ticks, [str(tick) for tick in log_ticks])
      rows[-1].minorticks_off()
    if x_label == OPTIMIZER_STEP:
      rows[-1].xaxis.get_major_locator().set_params(integer=True)
    rows[-1].set_xlabel(x_label)
    return _svg(figure, _legend(runs, places, dashed))


def _figure(panels: int = 1) -> tuple[Figure, Any]:
  """Makes a figure of axes above each other: one, or an array of several."""
  figure = Figure(figsize=(WIDTH, 1.8 + 1.8 * panels), layout="constrained")
  return figure, figure.subplots(panels, sharex=True)


def _panel(axes: Any, panel: Panel) -> None:
  for curve in panel.curves:
    color, style = look(curve.place)
    axes.plot(
      curve.x,
      curve.y,
      color=color,
      ls="--" if curve.dashed else style,
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
  for place, level in panel.levels:
    axes.axhline(level, color=look(place)[0], ls="--", lw=1.2)
  axes.set_ylabel(panel.label)


def _legend(
  runs: Sequence[Run], places: Iterable[int], dashed: str = ""
) -> list[tuple[str, Line2D]]:
  """Pairs each run's name with its line, and the dashed line's meaning."""
  entries = []
  for place in places:
    color, style = look(place)
    line = Line2D([], [], color=color, ls=style, lw=2)
    entries.append((printable(runs[place].name), line))
  if dashed:
    line = Line2D([], [], color=GREY, ls="--", lw=1.3)
    entries.append((f"dashed: {dashed}", line))
  return entries


def _svg(figure: Figure, legend: list[tuple[str, Line2D]]) -> str:
  labels, lines = zip(*legend, strict=True)
  columns = _legend_columns(labels)
  legend_rows = -(-len(labels) // columns)
  figure.set_figheight(figure.get_figheight() + 0.23 * legend_rows)
  figure.legend(lines, labels, loc="outside upper left", ncols=columns)
  buffer = io.StringIO()
  figure.savefig(buffer, format="svg", metadata={"Date": None})
  return buffer.getvalue()


def _legend_columns(labels: Sequence[str]) -> int:
  """Returns how many legend columns fit into the width of a figure."""
  room = 72 * WIDTH - 1.8 * FONT_SIZE  # points, less the margins
  beside = 5 * FONT_SIZE  # line, gap and the space between columns
  paths = (TextPath((0, 0), label, size=FONT_SIZE) for label in labels)
  widths = [max(0.0, path.get_extents().width) + beside for path in paths]
  if sum(widths) <= room:
    return len(labels)
  return max(1, int(room // max(widths)))
