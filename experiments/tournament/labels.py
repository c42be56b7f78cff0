"""Place small labels beside dots so that they cover neither dots nor labels.

A thin line leads from a label that is not next to its dot to the dot.
"""

from collections.abc import Sequence
import itertools
from typing import Any, NamedTuple

import numpy as np

_WIDTH, _HEIGHT = 0.62, 1.1  # of a character, in units of the font's size
_GAPS = (4.0, 10.0, 18.0, 28.0)  # points between a dot and its label
# the directions in which a label may lie, best first
_SIDES = ((1, 1), (-1, 1), (1, -1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1))
_DOT = 2.5  # points, half of a dot's width
_FAR = 1.0  # points squared that may be covered to be a point nearer


class Label(NamedTuple):
  """A text beside a point.

  Attributes:
    text: what is written.
    x: the point, in units of the axes.
    y: the point, in units of the axes.
    color: the text's color, a name or "#rrggbb".
    size: the font's size, points.
  """

  text: str
  x: float
  y: float
  color: str
  size: float = 8.0


def place(
  axes: Any, labels: Sequence[Label], dots: Sequence[tuple[float, float]]
) -> None:
  """Write labels, each at the place where it covers least.

  The limits of the axes and the legend must be final.

  Args:
    axes: where to write.
    labels: the labels, the most important first.
    dots: all points that labels should not cover, in units of the axes.
  """
  figure = axes.figure
  figure.draw_without_rendering()
  scale = 72 / figure.dpi  # points per pixel
  to_points = lambda own: axes.transData.transform(own) * scale
  points = to_points(np.reshape(dots, (-1, 2)))
  taken = [_box(point, (0.0, 0.0), (_DOT, _DOT)) for point in points]
  inside = axes.get_window_extent().get_points() * scale
  for label in labels:
    half = np.array([_WIDTH * len(label.text), _HEIGHT]) * label.size / 2
    at = to_points((label.x, label.y))
    ways = [*itertools.product(_GAPS, _SIDES)]
    shifts = [np.array(side) * (half + gap) for gap, side in ways]
    boxes = [_box(at, shift, half) for shift in shifts]
    costs = [
      _covered(box, taken, inside) + _FAR * gap
      for box, (gap, _) in zip(boxes, ways, strict=True)
    ]
    best = int(np.argmin(costs))
    taken.append(boxes[best])
    axes.annotate(
      label.text,
      (label.x, label.y),
      xytext=tuple(shifts[best]),
      textcoords="offset points",
      ha="center",
      va="center",
      fontsize=label.size,
      color=label.color,
      arrowprops=_leader(label, ways[best][0]),
      zorder=5,
    )


def _leader(label: Label, gap: float) -> dict[str, Any] | None:
  """Describe the line from a label to its dot; None if it is next to it."""
  if gap == _GAPS[0]:
    return None
  return {
    "arrowstyle": "-",
    "color": label.color,
    "linewidth": 0.5,
    "shrinkA": 0,
    "shrinkB": _DOT,
  }


def _box(at: Any, shift: Any, half: Any) -> np.ndarray:
  """Return the corners of a box, points, f64[2, 2]."""
  center = np.add(at, shift)
  return np.array([center - half, center + half])


def _covered(
  box: np.ndarray, taken: Sequence[np.ndarray], inside: np.ndarray
) -> float:
  """Return the area of other boxes that a box covers, and that lies outside."""
  own = np.prod(box[1] - box[0])
  area = float(own - _common(box, inside))
  return area + sum(_common(box, other) for other in taken)


def _common(box: np.ndarray, other: np.ndarray) -> float:
  """Return the area that two boxes have in common."""
  low, high = np.maximum(box[0], other[0]), np.minimum(box[1], other[1])
  return float(np.prod(np.maximum(high - low, 0.0)))
