"""Format tables as HTML; all text is escaped.

A table scrolls in its own box when it is wide. A reader sorts it by a click on
a heading (page/page.js): by the last number in each cell, or by the text.
"""

from collections.abc import Sequence
from html import escape
import math

import numpy as np


def html_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
  """Format an HTML table.

  Args:
    head: the headings of the columns.
    lines: the cells of each line, its label first.
  """
  cell = lambda tag, text: f"<{tag}>{escape(text)}</{tag}>"
  top = "".join(cell("th", text) for text in head)
  rest = (
    "<tr>" + cell("th", line[0]) + "".join(cell("td", c) for c in line[1:])
    for line in lines
  )
  return (
    f'<div class="wide"><table><thead><tr>{top}</tr></thead>'
    f"<tbody>{''.join(rest)}</tbody></table></div>"
  )


def matrix_html(names: Sequence[str], matrix: np.ndarray) -> str:
  """Format a matrix as a table whose cells are shaded by their values.

  Args:
    names: of the rows and of the columns.
    matrix: f64[N, N], between -1 (orange) and 1 (blue); NaN = no value.
  """
  top = "".join(f"<th><span>{escape(name)}</span></th>" for name in names)
  lines = (
    f"<tr><th>{escape(name)}</th>{''.join(map(_shaded_cell, row))}</tr>"
    for name, row in zip(names, matrix, strict=True)
  )
  return (
    '<div class="wide matrix"><table><thead><tr><th></th>'
    f"{top}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
  )


def _shaded_cell(value: float) -> str:
  if not math.isfinite(value):
    return "<td>–</td>"
  shade = "0 114 178" if value > 0 else "213 94 0"
  strength = 0.75 * min(abs(value), 1.0)
  text = f"{value:.2f}".replace("0.", ".", 1)
  return f'<td style="background: rgb({shade} / {strength:.2f})">{text}</td>'
