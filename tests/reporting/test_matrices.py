"""Matrices of methods on a page and as a picture; labels of pictures."""

import numpy as np

from entrojax.reporting.html_tables import matrix_html
from entrojax.reporting.pictures import Curve, Panel, Picture
from entrojax.reporting.static import matrix_to_svg, to_svg

MATRIX = np.array([[1.0, -0.5], [-0.5, np.nan]])


def test_cells_are_shaded_by_sign_and_size():
  html = matrix_html(["one", "<b>"], MATRIX)
  cells = html.partition("<tbody>")[2].split("<td")[1:]
  assert cells[0].startswith(' style="background: rgb(0 114 178 / 0.75)">1.00<')
  assert cells[1].startswith(' style="background: rgb(213 94 0 / 0.38)">-.50<')
  assert cells[3].startswith(">–<")
  assert "<b>" not in html and html.count("&lt;b&gt;") == 2


def test_a_matrix_has_the_same_picture_twice():
  names = ["one", "$x"]
  picture = matrix_to_svg(names, MATRIX)
  assert picture.startswith("<?xml") and "</svg>" in picture
  assert matrix_to_svg(names, MATRIX) == picture
  assert matrix_to_svg(names, -MATRIX) != picture


def test_a_logarithmic_axis_has_plain_numbers_and_chosen_ends():
  curve = Curve(0, np.array([1.0, 2.0]), np.array([1e-3, 1.0]))
  panel = Panel("error", [curve], log_y=True, ends=(1e-4, 10.0))
  drawing = to_svg(Picture([panel], "step"), ["one"])
  # text is drawn as outlines, below a comment with the text
  for label in ("0.0001", "0.01", "1", "10"):
    assert f"<!-- {label} -->" in drawing
  assert "mathdefault" not in drawing
