"""Draw the effects of all claims with their intervals, in units of margins."""

from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure
import numpy as np

from entrojax.reporting.differences import Interval
from entrojax.reporting.pictures import GREY, PALETTE
from entrojax.reporting.static import STYLE, as_svg
from experiments.claims.verdicts import Claim
from experiments.tournament.judging import HELD, NOT_HELD, OPEN, within

_COLORS = {HELD: PALETTE[2], OPEN: GREY, NOT_HELD: PALETTE[1]}
FARTHEST = 8.0  # margins; longer intervals are cut

Result = tuple[Claim, str, Interval]


def draw(results: Sequence[Result]) -> str:
  """Draw one row for each claim, as an SVG document.

  Claims of a change are above claims of no change, each by their verdicts and
  then by their effects.

  Args:
    results: claims with margins above zero, their verdicts, and their effects,
      which are finite; at least one.
  """
  change = [result for result in results if result[0].test is not within]
  no_change = [result for result in results if result[0].test is within]
  panels = {
    "A change: held if above 0, with a mean of at least 1": change,
    "No change: held if between -1 and 1": no_change,
  }
  panels = {title: own for title, own in panels.items() if own}
  with matplotlib.rc_context(STYLE):
    height = 1.8 + 0.19 * len(results)
    figure = Figure(figsize=(7.4, height), layout="constrained")
    parts: Any = figure.subplots(
      len(panels),
      sharex=True,
      squeeze=False,
      height_ratios=[len(own) + 1 for own in panels.values()],
    )
    for axes, (title, own) in zip(parts[:, 0], panels.items(), strict=True):
      _draw_panel(axes, title, own)
    parts[-1, 0].set_xlabel("effect and its 95 % interval, in margins")
    lines = [
      parts[-1, 0].plot([], [], "o-", color=color, label=own)[0]
      for own, color in _COLORS.items()
    ]
    figure.legend(
      lines, list(_COLORS), loc="outside upper right", ncols=3, fontsize=9
    )
    return as_svg(figure)


def _draw_panel(axes: Any, title: str, results: Sequence[Result]) -> None:
  """Draw the claims of one kind below each other."""
  order = list(_COLORS)
  rows = sorted(
    results, key=lambda x: (order.index(x[1]), -x[2].mean / x[0].margin)
  )
  for y, (claim, own, effect) in enumerate(rows):
    whole = np.array(effect) / claim.margin
    mean, low, high = np.clip(whole, -FARTHEST, FARTHEST)
    color = _COLORS[own]
    axes.plot([low, high], [y, y], color=color, lw=1.4)
    # an arrow stands for a mean that lies outside of the picture
    marker = {1: ">", -1: "<"}.get(int(np.sign(whole[0] - mean)), "o")
    axes.plot([mean], [y], marker, color=color, ms=4)
  names = [claim.name for claim, _, _ in rows]
  axes.set_yticks(range(len(rows)), names, fontsize=8)
  axes.set_ylim(len(rows) - 0.5, -0.5)
  limits = {0: "-", 1: "--"}
  if rows[0][0].test is within:
    limits = {-1: "--", 1: "--"}
  for x, style in limits.items():
    axes.axvline(x, color=GREY, lw=0.8, ls=style)
  axes.set_title(title, fontsize=9, loc="left")
