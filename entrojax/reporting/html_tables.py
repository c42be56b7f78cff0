"""Format tables as HTML; all text is escaped.

A table scrolls in its own box when it is wide. A reader sorts it by a click on
a heading (page/page.js): by the last number in each cell, or by the text.
"""

from collections.abc import Sequence
from html import escape


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
