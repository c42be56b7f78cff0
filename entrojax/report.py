"""Compare runs on one HTML page of tables and figures.

    python -m entrojax.report runs/grpo runs/entropic --output report.html

The page is a single file without scripts and without links to other files.
Every section ends with the command that writes the whole page again. The page
contains no date: the same command on the same runs writes the same bytes.
"""

import base64
from collections.abc import Mapping, Sequence
from html import escape
import math
from pathlib import Path
import shlex

from absl import flags

from entrojax.reporting.formatting import number
from entrojax.reporting.plotting import look
from entrojax.reporting.report_sections import (
  Section,
  html_table,
  report_sections,
)
from entrojax.reporting.run_logs import RunLog, datasets, read_run
from entrojax.reporting.summary import (
  SummaryRows,
  format_table,
  summarize,
  table_cells,
)
from entrojax.system.command_line import command

_TITLE_DEFAULT = "Entropy report"

FLAGS = flags.FlagValues()
_OUTPUT = flags.DEFINE_string(
  "output", "", "the HTML file to write", flag_values=FLAGS
)
_TITLE = flags.DEFINE_string(
  "title", _TITLE_DEFAULT, "the title of the page", flag_values=FLAGS
)


def write_report(
  runs: Mapping[str, Path | str],
  path: Path | str,
  *,
  title: str = _TITLE_DEFAULT,
  commands: Mapping[str, str] | None = None,
) -> SummaryRows:
  """Write the page.

  Args:
    runs: name -> run directory with metrics.jsonl and config.json, in the
      order in which the page shows them.
    path: the HTML file to write.
    title: the title of the page.
    commands: name of a run -> the command that started it, shown beside it.

  Returns:
    The summary of each run by name, for `format_table`.

  Raises:
    FileNotFoundError: a run has no metrics.jsonl.
    ValueError: a run's file is empty or malformed, there are no runs, or
      `commands` names a run that is not in `runs`.
  """
  if not runs:
    raise ValueError("a report needs at least one run")
  commands = commands or {}
  if unknown := commands.keys() - runs.keys():
    raise ValueError(f"commands for runs not in the report: {sorted(unknown)}")
  read = [read_run(name, folder) for name, folder in runs.items()]
  rows = {run.name: summarize(run) for run in read}
  command = _own_command(runs, path, title)
  sections = report_sections(datasets(read))
  page = PAGE.format(
    title=escape(title),
    style=STYLE,
    runs=_run_list(read, commands),
    summary=html_table(["", *rows], table_cells(rows)),
    sections="\n".join(_section_html(s, read, command) for s in sections),
    last=_last_values(read),
  )
  path = Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(page, encoding="utf-8", errors="replace")
  return rows


def _section_html(
  section: Section, runs: Sequence[RunLog], command: str
) -> str:
  """Return a section: its figure and table, and the command that draws it."""
  drawing = section.draw(runs)
  parts = [f"<section><h2>{escape(section.title)}</h2>"]
  if drawing:
    data = base64.b64encode(drawing.encode()).decode()
    parts += [
      f'<figure><img alt="{escape(section.title)}" '
      f'src="data:image/svg+xml;base64,{data}">'
      f"<figcaption>{escape(section.caption)}</figcaption></figure>",
      section.table(runs) if section.table else "",
    ]
  if missing := _missing(section, runs):
    left_out = "" if drawing else "This picture is left out. "
    parts.append(f'<p class="note">{escape(left_out + missing)}</p>')
  parts.append(f"<pre>{escape(command)}</pre></section>")
  return "\n".join(parts)


def _missing(section: Section, runs: Sequence[RunLog]) -> str:
  """Return which metrics of a section were not logged, and by which runs."""
  absent: dict[tuple[str, ...], list[str]] = {}
  for metric in section.metrics:
    names = tuple(run.name for run in runs if not run.has(metric))
    if names:
      absent.setdefault(names, []).append(metric)
  sentences = []
  for names, metrics in absent.items():
    whom = "any run" if len(names) == len(runs) else ", ".join(names)
    sentences.append(f"Not logged by {whom}: {', '.join(metrics)}.")
  return " ".join(sentences)


def _last_values(runs: Sequence[RunLog]) -> str:
  """Return the table of the last value of every metric."""
  last = [{k: v for row in run.rows for k, v in row.items()} for run in runs]
  lines = [
    [name, *(_value(row.get(name, math.nan)) for row in last)]
    for name in sorted(set().union(*last))
  ]
  return html_table(["metric", *(run.name for run in runs)], lines)


def _value(value: float | list[float]) -> str:
  if isinstance(value, list):
    return f"{len(value)} bins, sum {number(math.fsum(value))}"
  return number(value)


def _run_list(runs: Sequence[RunLog], commands: Mapping[str, str]) -> str:
  """List the runs with their colour, target and the command of each."""
  items = []
  for place, run in enumerate(runs):
    color, _ = look(place)
    target = "" if run.target is None else f", target {run.target:g} nats"
    command = commands.get(run.name)
    items.append(
      f'<li><span style="background:{color}"></span>{escape(run.name)}{target}'
      + (f"<pre>{escape(command)}</pre>" if command else "")
    )
  return f'<ul class="runs">{"".join(items)}</ul>'


def _own_command(
  runs: Mapping[str, Path | str], path: Path | str, title: str
) -> str:
  """Return the command that writes this page."""
  words = [*(_shown_path(folder) for folder in runs.values()), "--output"]
  words += [_shown_path(path), "--title", title]
  return shlex.join(["python", "-m", "entrojax.report", *words])


def _shown_path(path: Path | str) -> str:
  """Return a path, relative to the working directory if it lies below it."""
  path, here = Path(path), Path.cwd()
  return str(path.relative_to(here) if path.is_relative_to(here) else path)


STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 1180px; color: #1b1b1b;
  background: #fff; font: 16px/1.45 system-ui, sans-serif;
  overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: .4rem 0; }
h2 { font-size: 1.15rem; margin: .2rem 0 .6rem; }
.runs li { min-width: 0; max-width: 100%; }
.runs { list-style: none; padding: 0; display: flex; flex-wrap: wrap;
  gap: .3rem 1.4rem; }
.runs span { display: inline-block; width: .9em; height: .9em;
  margin-right: .4em; border-radius: 2px; vertical-align: -.08em; }
main { display: grid; gap: 1rem; margin: 1.4rem 0; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 500px), 1fr)); }
section { min-width: 0; border: 1px solid #ddd; border-radius: 6px;
  padding: .8rem; }
figure { margin: 0; }
img { display: block; width: 100%; height: auto; }
figcaption, .note { color: #444; font-size: .88rem; margin: .4rem 0; }
.note { color: #7a4a00; }
pre { margin: .6rem 0 0; padding: .5rem; background: #f4f4f4; font-size: .78rem;
  border-radius: 4px; overflow-x: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .22rem .55rem; border-bottom: 1px solid #e4e4e4;
  text-align: right; white-space: nowrap; }
th { font-weight: 600; }
tr > th:first-child { text-align: left; font-weight: 400; }
"""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
{runs}
<h2>Summary</h2>
{summary}
<main>
{sections}
</main>
<h2>Last value of every metric</h2>
{last}
</body>
</html>
"""


@command(
  FLAGS,
  arguments={"RUN...": "the directories of one or more runs"},
  required=("output",),
)
def main(*folders: str) -> None:
  """Write the page and print its summary."""
  names = [Path(folder).resolve().name for folder in folders]
  unique = len(set(names)) == len(names)
  runs = dict(zip(names if unique else folders, folders, strict=True))
  rows = write_report(runs, _OUTPUT.value, title=_TITLE.value)
  print(format_table(rows))
  print(f"\nreport: {_OUTPUT.value}")


if __name__ == "__main__":
  main()
