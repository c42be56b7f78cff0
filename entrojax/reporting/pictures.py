"""Describe pictures: curves in panels, before any library draws them.

figures.py turns the logs of runs into a `Picture`. What it looks like on a page
is decided elsewhere: interactive.py for the report, static.py for
the pictures of the README. A variant has the same colour in every picture,
which follows from its index among all variants.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from entrojax.reporting.variants import Band, Variant, metric_band

OPTIMIZER_STEP = "optimizer step"

# Okabe and Ito's colours, which stay apart for the colour-blind, without yellow
# and black, which are hard to see on a light and on a dark page. Later variants
# repeat the colours with another pattern.
PALETTE = (
  "#0072B2",
  "#D55E00",
  "#009E73",
  "#CC79A7",
  "#E69F00",
  "#56B4E9",
  "#9467BD",
)
PATTERNS = ("solid", "dot", "dashdot", "longdashdot")  # dash has a meaning
GREY = "#808080"

Spread = Literal["band", "bars"]


class Curve(NamedTuple):
  """A line or dots of one variant."""

  variant: int | None  # gives the colour; None: grey, shared by all variants
  x: np.ndarray  # [K]
  y: np.ndarray  # [K], NaN = a gap
  low: np.ndarray | None = None  # [K], the lower end of a band or of error bars
  high: np.ndarray | None = None  # [K], the upper end
  seeds: np.ndarray | None = None  # i64[K], the number of seeds in each mean
  label: str = ""  # what the curve shows, if not what its panel's label says
  dashed: bool = False
  thin: bool = False  # a line in the background
  line: bool = True
  dots: bool = False
  rings: bool = False  # hollow dots
  steps: bool = False  # a stairs line: y holds from x to the next x
  hover: bool = True  # whether the pointer shows its values
  spread: Spread = "band"  # what low and high are drawn as
  x_low: np.ndarray | None = None  # [K], the left end of a horizontal error bar
  x_high: np.ndarray | None = None  # [K], the right end


class Panel(NamedTuple):
  """The axes of one quantity."""

  label: str  # of the y axis, with the unit
  curves: Sequence[Curve]
  title: str = ""  # above the panel, if not its label
  log_y: bool = False
  ends: tuple[float, float] | None = None  # of the y axis; None: of the curves


class Picture(NamedTuple):
  """One or more panels with one kind of x axis."""

  panels: Sequence[Panel]
  x_label: str
  dashed: str = ""  # what a dashed line means; "" without one
  log_ticks: Sequence[int] = ()  # of a logarithmic x axis; (): a linear one
  wide: bool = False  # takes the width of the page even with a single panel


def color(variant: int | None) -> str:
  """Return the colour of a variant; grey for None."""
  return GREY if variant is None else PALETTE[variant % len(PALETTE)]


def pattern(variant: int | None) -> str:
  """Return the pattern of a variant's solid lines, a name of PATTERNS."""
  cycle = 0 if variant is None else variant // len(PALETTE)
  return PATTERNS[cycle % len(PATTERNS)]


def picture(panels: Sequence[Panel], x_label: str, **options) -> Picture | None:
  """Build a picture of the panels that have curves; None if no panel has."""
  panels = [panel for panel in panels if panel.curves]
  return Picture(panels, x_label, **options) if panels else None


def same_scale(panels: Sequence[Panel]) -> list[Panel]:
  """Give panels one y axis, which contains 0, so that they can be compared."""
  values = [curve.y for panel in panels for curve in panel.curves]
  all_values = np.concatenate([[0.0], *values])
  low, high = float(np.nanmin(all_values)), float(np.nanmax(all_values))
  margin = 0.05 * (high - low)
  return [
    panel._replace(ends=(low - margin, high + margin)) for panel in panels
  ]


def metric_curves(
  variants: Sequence[Variant],
  metric: str,
  *,
  smoothing: float = 0.0,
  **options,
) -> list[Curve]:
  """Return the mean over seeds of a metric for each variant that logged it.

  Args:
    variants: all variants.
    metric: its name in metrics.jsonl.
    smoothing: the window of each run's running mean, as a share of the run; 0:
      none.
    **options: further fields of `Curve`.
  """
  curves = []
  for index, variant in enumerate(variants):
    band = metric_band(variant, metric, smoothing=smoothing)
    if band.x.size:
      curves.append(band_curve(index, band, **options))
  return curves


def band_curve(variant: int, band: Band, **options) -> Curve:
  """Return the curve of a band; without several seeds it has no band."""
  several = bool((band.seeds > 1).any())
  return Curve(
    variant,
    band.x,
    band.mean,
    low=band.low if several else None,
    high=band.high if several else None,
    seeds=band.seeds,
    **options,
  )
