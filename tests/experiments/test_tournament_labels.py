"""Labels in the tournament's pictures keep away from dots and each other."""

import itertools

from matplotlib.figure import Figure
from matplotlib.text import Text
import numpy as np
import pytest

from experiments.tournament.labels import Label, place


def boxes(dots, texts):
  """Place a text beside each dot; return the labels' boxes in pixels."""
  figure = Figure(figsize=(4, 3), layout="constrained")
  axes = figure.subplots()
  axes.set_xlim(0, 1)
  axes.set_ylim(0, 1)
  labels = [
    Label(text, *dot, "black") for text, dot in zip(texts, dots, strict=False)
  ]
  place(axes, labels, dots)
  figure.draw_without_rendering()
  # without the line that leads to the dot
  own = [Text.get_window_extent(text) for text in axes.texts]
  return own, axes.transData.transform(dots), axes.get_window_extent()


def test_labels_of_near_dots_cover_neither_each_other_nor_a_dot():
  dots = [(0.5, 0.5), (0.52, 0.5), (0.5, 0.53), (0.53, 0.53), (0.51, 0.47)]
  own, points, _ = boxes(dots, ["600", "10", "11", "400", "3000"])
  assert len(own) == len(dots)
  for one, two in itertools.combinations(own, 2):
    assert not one.overlaps(two)
  for box, point in itertools.product(own, points):
    assert not box.contains(*point)


@pytest.mark.parametrize("dot", [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1, 1)])
def test_a_label_in_a_corner_stays_within_the_axes(dot):
  (box,), _, axes = boxes([dot], ["base"])
  corners = box.get_points()
  assert np.all(axes.get_points()[0] <= corners[0])
  assert np.all(corners[1] <= axes.get_points()[1])


def test_a_label_with_room_is_at_the_upper_right_of_its_dot():
  (box,), ((x, y),), _ = boxes([(0.5, 0.5)], ["7"])
  assert box.x0 > x
  assert box.y0 > y


def test_a_line_leads_from_a_label_that_is_not_next_to_its_dot():
  figure = Figure(figsize=(4, 3), layout="constrained")
  axes = figure.subplots()
  axes.set_xlim(0, 1)
  axes.set_ylim(0, 1)
  near = [(0.5 + 0.03 * i, 0.5 + 0.03 * j) for i in range(5) for j in range(5)]
  alone, crowded = (0.1, 0.1), near[12]
  labels = [Label("1", *alone, "black"), Label("2", *crowded, "black")]
  place(axes, labels, [alone, *near])
  lines = [text.arrow_patch is not None for text in axes.texts]
  assert lines == [False, True]
