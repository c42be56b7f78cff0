"""Assemble the HTML page of a report from its chapters (page_parts.py)."""

from collections.abc import Sequence
from html import escape

from entrojax.reporting.differences import Differences, all_differences
from entrojax.reporting.entropy_account import CLEAR, account_html
from entrojax.reporting.figures import draw_differences
from entrojax.reporting.interactive import most_points
from entrojax.reporting.page_parts import (
  Card,
  Figures,
  chapter,
  frame,
  sections_chapter,
)
from entrojax.reporting.report_sections import report_sections
from entrojax.reporting.report_tables import (
  differences_table,
  last_values_table,
  provenance_table,
  samples_html,
  settings_table,
  summary_table,
)
from entrojax.reporting.run_logs import datasets
from entrojax.reporting.section import Variants
from entrojax.reporting.summary import SummaryRows
from entrojax.reporting.token_sections import token_sections
from entrojax.reporting.token_view import token_view


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
  figures = Figures([variant.name for variant in variants])
  data = datasets([run for variant in variants for run in variant.runs])
  differences = all_differences(variants, baseline)
  chapters = [
    _runs_chapter(variants, notes),
    _summary_chapter(variants, rows),
    _differences_chapter(variants, differences, figures),
    _account_chapter(variants),
  ]
  for heading, sections in report_sections(data, len(variants)).items():
    chapters.append(sections_chapter(heading, sections, variants, figures))
  chapters += [
    tokens_chapter(variants, data, figures),
    _samples_chapter(variants),
    f'<h2>Provenance</h2><div class="text">{provenance_table(variants)}</div>',
    "<h2>Last value of every metric</h2><details><summary>all metrics"
    f"</summary>{last_values_table(variants)}</details>",
    f"<h2>This page</h2><p>It was written by</p><pre>{escape(command)}</pre>"
    "<p>A curve with more points than "
    f"{most_points(len(variants))} shows every second one, or every third, "
    "and so on.</p>",
  ]
  return frame(variants, title, chapters, figures)


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
  variants: Variants, results: Sequence[Differences], figures: Figures
) -> str:
  """Return the differences to the baseline on each data set."""
  count = sum(len(c.intervals) for r in results for c in r.comparisons)
  cards = []
  for result in results:
    if result.baseline is None:
      notes = [f"No differences on {result.data}: {result.notes[0]}."]
      cards.append(Card(f"Differences: {result.data}", "", notes))
      continue
    base = variants[result.baseline].name
    title = f"Difference to {base}: {result.data}"
    caption = (
      f"pass@k minus the pass@k of {base}, paired by seed and by prompt, at "
      "the last step at which both were evaluated. Bands and brackets are 95 % "
      "intervals over seeds and prompts, of a single seed over prompts only. "
      f"{count} comparisons were made on this page: if there were no "
      f"differences, {count / 20:.2g} of their intervals would be expected to "
      "exclude 0 by chance."
    )
    picture = draw_differences(result.comparisons)
    body = ""
    if picture:
      body = figures.html(title, picture, caption) + differences_table(
        result.comparisons, variants
      )
    notes = [f"Not compared on {result.data}: {n}." for n in result.notes]
    cards.append(Card(title, body, notes))
  return chapter("Differences", cards) if cards else ""


def _account_chapter(variants: Variants) -> str:
  """Return what the ledgers of the runs say in words; "" without one."""
  account = account_html(variants)
  if not account:
    return ""
  caption = (
    "The ledger measures single optimizer steps of a run. Changes are in 1e-4 "
    "nats per token and step, ± their standard error over the measured steps. "
    f"A change is called clear if it is at least {CLEAR:g} standard errors "
    "from 0. A response is better or worse than the mean of its group. A token "
    "is probable if its probability is at or above the median, and rare "
    "otherwise. Own tokens are those that the step was trained on; held-back "
    "tokens are others of the same rollout, and fresh tokens are of the next "
    "one. A step changes its own tokens more than others, so that a run is not "
    "the sum of such changes. The chapters on entropy and on tokens have all "
    "numbers."
  )
  card = Card("In words", f"<p>{escape(caption)}</p>{account}")
  return chapter("Where the entropy went", [card])


def tokens_page(variants: Variants, data: Sequence[str], *, title: str) -> str:
  """Return a page of the tokens alone.

  Args:
    variants: all variants.
    data: the evaluation sets whose tokens any run has kept.
    title: the title of the page.
  """
  figures = Figures([variant.name for variant in variants])
  chapters = [tokens_chapter(variants, data, figures)]
  return frame(variants, title, chapters, figures)


def tokens_chapter(
  variants: Variants, data: Sequence[str], figures: Figures
) -> str:
  """Return the pictures and the texts of tokens; "" if no run kept tokens."""
  sections = token_sections(variants, data)
  if not sections:
    return ""
  return sections_chapter("Tokens", sections, variants, figures) + token_view(
    variants
  )


def _samples_chapter(variants: Variants) -> str:
  samples = samples_html(variants)
  if not samples:
    return '<h2>Samples</h2><p class="note">No run has a samples.jsonl.</p>'
  return (
    "<h2>Samples</h2><p>Responses in the last evaluation of the first seed of "
    f'each variant.</p><div class="text">{samples}</div>'
  )
