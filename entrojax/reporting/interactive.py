"""Turn pictures into figures of Plotly.js, which a report draws in a browser.

A picture is a description of curves in panels (pictures.py). `panel_figure`
turns one panel into a figure, a JSON object {"data": traces, "layout": axes}.

A variant is a group of runs that differ only by their seed (variants.py). Each
trace names its variant in `meta`. The page's script (page/page.js) adds the
colours of the light or dark page, and hides the traces of a variant when the
reader clicks on its name. Numbers are rounded to five digits, and long curves
are thinned.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from entrojax.reporting.formatting import printable
from entrojax.reporting.pictures import Curve, Panel, Picture, color, pattern

_POINTS = 20_000  # of a panel's curves together, after thinning
_UNIFIED = 6  # with at most this many curves, hovering lists all of them
# the opacity of the grey band, and of bands of a few and of many variants
_GREY_BAND, _BAND, _FAINT_BAND = 0.3, 0.18, 0.08
_FEW = 7  # variants


def most_points(num_variants: int) -> int:
  """Return the most points that a curve keeps after thinning."""
  return int(np.clip(_POINTS // max(1, num_variants) // 4, 100, 500))


def panel_figure(
  picture: Picture, panel: Panel, names: Sequence[str]
) -> dict[str, Any]:
  """Return the figure of one panel.

  Args:
    picture: has the x axis.
    panel: one of its panels.
    names: the names of all variants.
  """
  most = most_points(len(names))
  curves = [_thin(curve, most) for curve in panel.curves]
  alpha = _BAND if len(names) <= _FEW else _FAINT_BAND
  bands = [
    _band(curve, _GREY_BAND if curve.variant is None else alpha)
    for curve in curves
    if curve.low is not None and curve.spread == "band"
  ]
  shown = [curve for curve in curves if curve.line or curve.dots]
  # with few lines, the pointer lists the values of all of them at one x
  unified = len(shown) <= _UNIFIED and all(curve.line for curve in shown)
  before = "" if unified else f"{_safe(picture.x_label)} %{{x:.4~g}}<br>"
  lines = [_trace(curve, names, before) for curve in shown]
  x_axis: dict[str, Any] = {"title": {"text": picture.x_label}}
  if picture.log_ticks:
    x_axis |= {
      "type": "log",
      "tickvals": list(picture.log_ticks),
      "ticktext": [str(tick) for tick in picture.log_ticks],
    }
  y_axis: dict[str, Any] = {"automargin": True}
  if panel.log_y:
    y_axis |= {"type": "log", "exponentformat": "power", "dtick": 1}
  if panel.ends and panel.ends[0] < panel.ends[1]:
    y_axis["range"] = list(panel.ends)
  layout = {
    "xaxis": x_axis,
    "yaxis": y_axis,
    "hovermode": "x unified" if unified else "closest",
    "hoverdistance": -1 if unified else 20,  # -1: the nearest x, however far
  }
  return {"data": bands + lines, "layout": layout}


def _trace(curve: Curve, names: Sequence[str], before: str) -> dict[str, Any]:
  """Return the trace of a line or of dots.

  Args:
    curve: has x, y and what the pointer shows.
    names: the names of all variants.
    before: what the pointer shows before the value.
  """
  name = "" if curve.variant is None else _safe(names[curve.variant])
  parts = [part for part in (name, _safe(curve.label)) if part]
  width = 1.2 if curve.thin or curve.dashed else 2.2
  trace: dict[str, Any] = {
    "type": "scatter",
    "mode": "+".join(["lines"] * curve.line + ["markers"] * curve.dots),
    "name": ", ".join(parts),
    "meta": curve.variant,
    "x": _numbers(curve.x),
    "y": _numbers(curve.y),
    "line": {
      "color": color(curve.variant),
      "width": width,
      "dash": "dash" if curve.dashed else pattern(curve.variant),
      "shape": "hv" if curve.steps else "linear",
    },
    "marker": {
      "color": color(curve.variant),
      "size": 4 if curve.thin else 6 if curve.line else 9,
      "opacity": 0.4 if curve.thin and not curve.rings else 1,
      "symbol": "circle-open" if curve.rings else "circle",
    },
  }
  values, custom = "%{y:.4~g}", []
  if curve.low is not None and curve.high is not None:
    custom += [curve.low, curve.high]
    values += " [%{customdata[0]:.4~g}, %{customdata[1]:.4~g}]"
  if curve.seeds is not None and (curve.seeds > 1).any():
    values += f" (%{{customdata[{len(custom)}]}} seeds)"
    custom.append(curve.seeds)
  if custom:
    columns = [_numbers(column) for column in custom]
    trace["customdata"] = [list(row) for row in zip(*columns, strict=True)]
  trace["hovertemplate"] = f"{before}{values}<extra>{trace['name']}</extra>"
  if not curve.hover:
    trace |= {"hoverinfo": "skip", "hovertemplate": None}
  if curve.spread == "bars":
    trace["error_y"] = _bars(curve.y, curve.low, curve.high)
    trace["error_x"] = _bars(curve.x, curve.x_low, curve.x_high)
  return trace


def _band(curve: Curve, alpha: float) -> dict[str, Any]:
  """Return the trace of a filled band; the pointer does not find it."""
  assert curve.low is not None and curve.high is not None
  kept = np.isfinite(curve.low) & np.isfinite(curve.high)
  x, low, high = curve.x[kept], curve.low[kept], curve.high[kept]
  return {
    "type": "scatter",
    "mode": "lines",
    "meta": curve.variant,
    "x": _numbers(np.concatenate([x, x[::-1]])),
    "y": _numbers(np.concatenate([high, low[::-1]])),
    "fill": "toself",
    "fillcolor": _transparent(color(curve.variant), alpha),
    "line": {"width": 0},
    "hoverinfo": "skip",
  }


def _bars(
  middle: np.ndarray, low: np.ndarray | None, high: np.ndarray | None
) -> dict[str, Any] | None:
  if low is None or high is None:
    return None
  return {
    "type": "data",
    "symmetric": False,
    "array": _numbers(high - middle),
    "arrayminus": _numbers(middle - low),
    "thickness": 1.2,
    "width": 0,
  }


def _thin(curve: Curve, most: int) -> Curve:
  """Keep every second point, or every third, ..., and the last one."""
  if not curve.line or curve.x.size <= most:
    return curve
  every = -(-curve.x.size // most)
  kept = np.unique([*range(0, curve.x.size, every), curve.x.size - 1])
  x, y, *others = (
    None if values is None else values[kept]
    for values in (curve.x, curve.y, curve.low, curve.high, curve.seeds)
  )
  assert x is not None and y is not None
  low, high, seeds = others
  return curve._replace(x=x, y=y, low=low, high=high, seeds=seeds)


def _numbers(values: np.ndarray) -> list[int | float | None]:
  """Round to five digits; NaN and infinity become null."""
  return [
    None
    if not np.isfinite(value)
    else int(value)
    if value == int(value)
    else float(f"{value:.5g}")
    for value in np.asarray(values, np.float64).tolist()
  ]


def _safe(text: str) -> str:
  """Return a text that Plotly shows as it is, without tags or templates."""
  return escape(printable(text, 60)).replace("%{", "% {")


def _transparent(hex_color: str, alpha: float) -> str:
  red, green, blue = (int(hex_color[i : i + 2], 16) for i in (1, 3, 5))
  return f"rgba({red},{green},{blue},{alpha})"
