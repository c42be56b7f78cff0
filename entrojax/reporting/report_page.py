"""Assemble the HTML page of a report: one file that needs nothing else.

The page holds Plotly.js and the data of all figures, both as gzip in base64,
and the style and script of the folder `page`. A reader needs a browser of 2023
or later. The tables can be read without scripts. The page contains no date: the
same runs give the same bytes.
"""

import base64
from collections.abc import Sequence
import functools
import gzip
from html import escape
import json
from pathlib import Path
from typing import Any, NamedTuple

from entrojax.reporting.differences import Differences, all_differences
from entrojax.reporting.figures import draw_differences
from entrojax.reporting.formatting import listing
from entrojax.reporting.interactive import most_points, panel_figure
from entrojax.reporting.pictures import Picture, color, pattern
from entrojax.reporting.report_sections import (
  Section,
  Variants,
  report_sections,
)
from entrojax.reporting.report_tables import (
  differences_table,
  last_values_table,
  provenance_table,
  samples_html,
  settings_table,
  summary_table,
)
from entrojax.reporting.run_logs import datasets
from entrojax.reporting.summary import SummaryRows

_PAGE = Path(__file__).parent / "page"
_DASHES = {"dot": "2 2", "dashdot": "5 2 2 2", "longdashdot": "8 2 2 2"}


class _Card(NamedTuple):
  """A picture or a table of a chapter."""

  title: str
  body: str  # HTML
  notes: Sequence[str] = ()
  narrow: bool = False  # takes half of the width, if there is room


class _Figures:
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


def report_page(
  variants: Variants,
  rows: SummaryRows,
  *,
  title: str,
  baseline: str,
  command: str,
  notes: Sequence[str],
) -> str:
  """Return the page.

  Args:
    variants: all variants, in the order in which the page shows them.
    rows: their summaries, by name.
    title: the title of the page.
    baseline: the name of the variant that the others are compared with.
    command: the command that writes this page.
    notes: what a reader must know about the runs.
  """
  figures = _Figures([variant.name for variant in variants])
  data = datasets([run for variant in variants for run in variant.runs])
  differences = all_differences(variants, baseline)
  chapters = [
    _runs_chapter(variants, notes),
    _summary_chapter(variants, rows),
    _differences_chapter(variants, differences, figures),
  ]
  for heading, sections in report_sections(data, len(variants)).items():
    chapters.append(_sections_chapter(heading, sections, variants, figures))
  chapters += [
    _samples_chapter(variants),
    f'<h2>Provenance</h2><div class="text">{provenance_table(variants)}</div>',
    "<h2>Last value of every metric</h2><details><summary>all metrics"
    f"</summary>{last_values_table(variants)}</details>",
    f"<h2>This page</h2><p>It was written by</p><pre>{escape(command)}</pre>"
    "<p>A curve with more points than "
    f"{most_points(len(variants))} shows every second one, or every third, "
    "and so on.</p>",
  ]
  return _TEMPLATE.format(
    title=escape(title),
    style=(_PAGE / "style.css").read_text(encoding="utf-8"),
    legend=_legend(variants),
    chapters="\n".join(filter(None, chapters)),
    library=_library(),
    figures=_pack(json.dumps(figures.figures, allow_nan=False)),
    script=(_PAGE / "page.js").read_text(encoding="utf-8"),
  )


def _runs_chapter(variants: Variants, notes: Sequence[str]) -> str:
  """Return what the variants are, and what to know about their runs."""
  parts = ["<h2>Variants</h2>"]
  parts += [f'<p class="note">{escape(note)}</p>' for note in notes]
  parts.append(
    "<p>Runs that differ only by their seed are one variant. These are the "
    "settings in which the variants differ.</p>"
  )
  parts.append(settings_table(variants))
  return "".join(parts)


def _summary_chapter(variants: Variants, rows: SummaryRows) -> str:
  """Return a table for each task, as tasks cannot be ranked together."""
  tasks = list(dict.fromkeys(variant.task for variant in variants))
  parts = [
    "<h2>Summary</h2><p>A click on a heading ranks the variants by its column. "
    "An arrow stands between the first and the last value. With several seeds, "
    "± is the standard deviation over seeds, and a number in brackets the "
    "number of seeds that have the value, if not all. With one seed, ± is the "
    "standard error over problems.</p>"
  ]
  for task in tasks:
    own = {v.name: rows[v.name] for v in variants if v.task == task}
    if len(tasks) > 1:
      parts.append(f"<h3>{escape(task or 'task unknown')}</h3>")
    parts.append(summary_table(own))
  return "".join(parts)


def _differences_chapter(
  variants: Variants, results: Sequence[Differences], figures: _Figures
) -> str:
  """Return the differences to the baseline on each data set."""
  count = sum(len(c.intervals) for r in results for c in r.comparisons)
  cards = []
  for result in results:
    if result.baseline is None:
      notes = [f"No differences on {result.data}: {result.notes[0]}."]
      cards.append(_Card(f"Differences: {result.data}", "", notes))
      continue
    base = variants[result.baseline].name
    title = f"Difference to {base}: {result.data}"
    caption = (
      f"pass@k minus the pass@k of {base}, paired by seed and by prompt, at "
      "the last step at which both were evaluated. Bands and brackets are 95 % "
      "intervals over seeds and prompts, of a single seed over prompts only. "
      f"{count} comparisons were made on this page: if there were no "
      f"differences, {count / 20:.0f} of their intervals would be expected to "
      "exclude 0 by chance."
    )
    picture = draw_differences(result.comparisons)
    body = ""
    if picture:
      body = figures.html(title, picture, caption) + differences_table(
        result.comparisons, variants
      )
    notes = [f"Not compared on {result.data}: {n}." for n in result.notes]
    cards.append(_Card(title, body, notes))
  return _chapter("Differences", cards) if cards else ""


def _sections_chapter(
  heading: str,
  sections: Sequence[Section],
  variants: Variants,
  figures: _Figures,
) -> str:
  """Return a chapter of pictures; those without data are named at its end."""
  cards, absent = [], []
  for section in sections:
    picture = section.draw(variants)
    missing = _missing(section, variants)
    if picture is None:
      absent.append(f"{section.title}: {missing or 'nothing to show.'}")
      continue
    table = section.table(variants) if section.table else ""
    body = figures.html(section.title, picture, section.caption) + table
    narrow = len(picture.panels) == 1 and not picture.wide and not table
    notes = [missing] if missing else []
    cards.append(_Card(section.title, body, notes, narrow))
  return _chapter(heading, cards, absent)


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


def _chapter(
  heading: str,
  cards: Sequence[_Card],
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


def _samples_chapter(variants: Variants) -> str:
  samples = samples_html(variants)
  if not samples:
    return '<h2>Samples</h2><p class="note">No run has a samples.jsonl.</p>'
  return (
    "<h2>Samples</h2><p>Responses in the last evaluation of the first seed of "
    f'each variant.</p><div class="text">{samples}</div>'
  )


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
