"""The parts of a page of tables and pictures: cards, chapters and the frame.

A page is one file that needs nothing else. It holds Plotly.js and the data of
all figures, both as gzip in base64, and the style and script of the folder
`page`. A reader needs a browser of 2023 or later. The tables can be read
without scripts. A page contains no date: the same runs give the same bytes.
"""

import base64
from collections.abc import Sequence
import functools
import gzip
from html import escape
import json
from pathlib import Path
import re
from typing import Any, NamedTuple

from entrojax.reporting.formatting import listing
from entrojax.reporting.interactive import panel_figure
from entrojax.reporting.pictures import Picture, color, pattern
from entrojax.reporting.section import Section, Variants

_PAGE = Path(__file__).parent / "page"
_STYLES = ("style.css", "tokens.css")
_DASHES = {"dot": "2 2", "dashdot": "5 2 2 2", "longdashdot": "8 2 2 2"}


class Card(NamedTuple):
  """A picture or a table of a chapter."""

  title: str
  body: str  # HTML
  notes: Sequence[str] = ()
  narrow: bool = False  # takes half of the width, if there is room


class Figures:
  """Collects the figures of a page and returns the HTML of their places."""

  def __init__(self, names: Sequence[str]):
    self.names = names
    self.figures: list[dict[str, Any]] = []

  def html(self, title: str, picture: Picture, caption: str) -> str:
    """Return a <figure> whose panels the page's script fills."""
    kind = " multiples" if picture.wide else ""
    across = _across(len(picture.panels), 4 if picture.wide else 3)
    parts = [f'<figure><div class="panels{kind}" style="--across:{across}">']
    for panel in picture.panels:
      heading = escape(panel.title or panel.label)
      parts.append(
        f'<div class="panel"><h4>{heading}</h4><div class="plot" role="img" '
        f'aria-label="{escape(title)}: {heading}" '
        f'data-figure="{len(self.figures)}"></div></div>'
      )
      self.figures.append(panel_figure(picture, panel, self.names))
    parts.append("</div>")
    if picture.dashed:
      parts.append(f'<p class="key">dashed: {escape(picture.dashed)}</p>')
    parts.append(f"<figcaption>{escape(caption)}</figcaption></figure>")
    return "".join(parts)


def _across(number: int, most: int) -> int:
  """Return how many panels stand side by side, so that rows are full."""
  if number <= most:
    return number
  full = [n for n in (most, most - 1, 2) if number % n == 0]
  return full[0] if full else most


def sections_chapter(
  heading: str,
  sections: Sequence[Section],
  variants: Variants,
  figures: Figures,
) -> str:
  """Return a chapter; sections without data are named at its end."""
  cards, absent = [], []
  for section in sections:
    picture = section.draw(variants) if section.draw else None
    table = ""
    if section.table and (picture or not section.draw):
      table = section.table(variants)
    missing = _missing(section, variants)
    if not (picture or table):
      absent.append(f"{section.title}: {missing or 'nothing to show.'}")
      continue
    body = f"<p>{escape(section.caption)}</p>"
    if picture:
      body = figures.html(section.title, picture, section.caption)
    body += table
    narrow = (
      picture is not None
      and len(picture.panels) == 1
      and not (picture.wide or table)
    )
    notes = [missing] if missing else []
    cards.append(Card(section.title, body, notes, narrow))
  return chapter(heading, cards, absent)


def _missing(section: Section, variants: Variants) -> str:
  """Return which metrics of a section were not logged, and by whom."""
  absent: dict[tuple[str, ...], list[str]] = {}
  for metric in section.metrics:
    names = tuple(v.name for v in variants if not v.has(metric))
    if names:
      absent.setdefault(names, []).append(metric)
  sentences = []
  for names, metrics in absent.items():
    whom = "any run" if len(names) == len(variants) else listing(names)
    sentences.append(f"Not logged by {whom}: {', '.join(metrics)}.")
  return " ".join(sentences)


def chapter(
  heading: str,
  cards: Sequence[Card],
  absent: Sequence[str] = (),
) -> str:
  """Return a chapter as a grid without holes.

  Args:
    heading: the heading of the chapter.
    cards: in their order; a narrow one without a neighbour becomes wide.
    absent: the pictures that are left out, and why.
  """
  narrow = [number for number, card in enumerate(cards) if card.narrow]
  last_alone = narrow[-1] if len(narrow) % 2 else None
  parts = [f'<h2>{escape(heading)}</h2><div class="chapter">']
  for number, card in enumerate(cards):
    span = "" if card.narrow and number != last_alone else " span"
    heading = f"<h3>{escape(card.title)}</h3>"
    parts.append(f'<section class="card{span}">{heading}{card.body}')
    parts += [f'<p class="note">{escape(note)}</p>' for note in card.notes]
    parts.append("</section>")
  parts.append("</div>")
  if absent:
    items = "".join(f"<li>{escape(text)}</li>" for text in absent)
    parts.append(f'<p class="note">Pictures left out:</p><ul>{items}</ul>')
  return "".join(parts)


def frame(
  variants: Variants, title: str, chapters: Sequence[str], figures: Figures
) -> str:
  """Return the page.

  Args:
    variants: all variants, in the order of the legend.
    title: the title of the page.
    chapters: their HTML, in order; empty ones are left out.
    figures: the figures of the chapters.
  """
  body, contents = _with_contents("\n".join(filter(None, chapters)))
  return _TEMPLATE.format(
    title=escape(title),
    style="".join(
      (_PAGE / name).read_text(encoding="utf-8") for name in _STYLES
    ),
    legend=_legend(variants),
    contents=contents,
    chapters=body,
    library=_library(),
    figures=_pack(json.dumps(figures.figures, allow_nan=False)),
    script=(_PAGE / "page.js").read_text(encoding="utf-8"),
  )


def _with_contents(body: str) -> tuple[str, str]:
  """Give the headings of chapters anchors.

  Returns:
    The body with them, and a line of links; "" for a page of one chapter.
  """
  headings: list[str] = []

  def anchored(match: re.Match) -> str:
    headings.append(match[1])
    return f'<h2 id="chapter-{len(headings)}">{match[1]}</h2>'

  body = re.sub(r"<h2>([^<]*)</h2>", anchored, body)
  links = " · ".join(
    f'<a href="#chapter-{place}">{heading}</a>'
    for place, heading in enumerate(headings, 1)
  )
  several = len(headings) > 1
  return body, f'<p class="contents">{links}</p>' if several else ""


def _legend(variants: Variants) -> str:
  """Return a button for each variant, which hides it in all pictures."""
  buttons = []
  if len(variants) > 2:
    buttons += [f'<button class="{x}">{x}</button>' for x in ("all", "none")]
  for index, variant in enumerate(variants):
    dashes = _DASHES.get(pattern(index), "")
    seeds = f" ({len(variant.runs)} seeds)" if len(variant.runs) > 1 else ""
    buttons.append(
      f'<button data-variant="{index}" aria-pressed="true" '
      'title="click: hide or show; double click: show only this one">'
      '<svg viewBox="0 0 16 6"><line x1="0" y1="3" x2="16" y2="3" '
      f'stroke="{color(index)}" stroke-width="3" stroke-dasharray="{dashes}"/>'
      f"</svg>{escape(variant.name)}{seeds}</button>"
    )
  return f"<nav>{''.join(buttons)}</nav>"


@functools.cache
def _library() -> str:
  """Return Plotly.js, packed."""
  # imported here, so that other commands do not wait for it
  from plotly.offline import get_plotlyjs

  return _pack(get_plotlyjs())


def _pack(text: str) -> str:
  """Compress a text with gzip, without a date, as base64."""
  data = gzip.compress(text.encode(), compresslevel=6, mtime=0)
  return base64.b64encode(data).decode()


_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<h1>{title}</h1>
{legend}
{contents}
<p class="note" id="failed" hidden>The pictures need a browser of 2023 or
later.</p>
<noscript><p class="note">The pictures need JavaScript.</p></noscript>
<main>
{chapters}
</main>
<script type="text/plain" id="library">{library}</script>
<script type="text/plain" id="figures">{figures}</script>
<script>
{script}</script>
</body>
</html>
"""
