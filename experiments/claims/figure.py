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
from experiments.tournament.judging import HELD, NOT_HELD, OPEN

_COLORS = {HELD: PALETTE[2], NOT_HELD: PALETTE[1], OPEN: GREY}
FARTHEST = 8.0  # margins; longer intervals are cut


def draw(results: Sequence[tuple[Claim, str, Interval]]) -> str:
  """Draw one row for each claim that has a margin, as an SVG document.

  Args:
    results: claims with their verdicts and their effects, which are finite.
  """
  rows = [result for result in results if result[0].margin > 0]
  with matplotlib.rc_context(STYLE):
    height = 1.2 + 0.19 * len(rows)
    figure = Figure(figsize=(7.4, height), layout="constrained")
    axes: Any = figure.subplots()
    for y, (claim, own, effect) in enumerate(rows):
      mean, low, high = np.clip(
        np.array(effect) / claim.margin, -FARTHEST, FARTHEST
      )
      axes.plot([low, high], [y, y], color=_COLORS[own], lw=1.4)
      axes.plot([mean], [y], "o", color=_COLORS[own], ms=4)
    axes.set_yticks(
      range(len(rows)), [claim.name for claim, _, _ in rows], fontsize=8
    )
    axes.set_ylim(len(rows) - 0.5, -0.5)
    for x in (-1, 0, 1):
      axes.axvline(x, color=GREY, lw=0.8, ls="-" if x == 0 else "--")
    axes.set_xlabel("effect and its 95 % interval, in units of the margin")
    for own, color in _COLORS.items():
      axes.plot([], [], "o-", color=color, label=own)
    figure.legend(loc="outside upper right", ncols=3, fontsize=9)
    return as_svg(figure)
