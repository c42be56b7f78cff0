"""One HTML page that compares runs: tables, pictures, and how to remake them.

    python -m entrojax.report runs/grpo runs/entropic --output report.html

The page is a single file without scripts or links to anything outside, and
depends on nothing but the runs: the same runs give the same bytes.
"""

import argparse
import base64
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
import functools
from html import escape
import math
from pathlib import Path
import shlex
from typing import NamedTuple

import numpy as np

from entrojax import figures
from entrojax.entropy_law import MIN_SPAN, EntropyLaw, fit_entropy_law
from entrojax.figures import Run

# what a reader calls a line of the summary -> its key, or the two that an
# arrow joins
SUMMARY = {
  "optimizer steps": ("step",),
  "entropy, first → last (nats)": ("entropy/first", "entropy/last"),
  "entropy, last third (nats)": ("entropy/last_third",),
  "entropy target (nats)": ("entropy/target",),
  "max deviation, last third (nats)": ("entropy/max_deviation",),
  "reward, first → last tenth": ("reward/first_tenth", "reward/last_tenth"),
  "length, first → last tenth (tokens)": (
    "length/first_tenth",
    "length/last_tenth",
  ),
  "sampled tokens": ("tokens",),
  "training steps, wall time (s)": ("wall_time_s",),
}
SummaryRows = dict[str, dict[str, float]]  # run -> key -> number, NaN = absent


class Section(NamedTuple):
  """A heading with a picture and the metrics that the picture needs."""

  title: str
  metrics: tuple[str, ...]  # names, * for anything
  caption: str
  draw: Callable[[Sequence[Run]], str | None]
  table: Callable[[Sequence[Run]], str] | None = None


def write_report(
  runs: Mapping[str, Path | str],
  path: Path | str,
  *,
  title: str = "Entropy report",
  commands: Mapping[str, str] | None = None,
) -> SummaryRows:
  """Writes the page.

  Args:
    runs: name -> run directory with metrics.jsonl and config.json, in the
      order in which they are shown.
    path: the HTML file.
    title: of the page.
    commands: name of a run -> the command that made it, shown beside it.

  Returns:
    run -> summary, for `format_table`.

  Raises:
    FileNotFoundError: a run has no metrics.jsonl.
    ValueError: a run's file is empty or malformed, there are no runs, or
      `commands` names another one.
  """
  if not runs:
    raise ValueError("a report needs at least one run")
  commands = commands or {}
  if unknown := commands.keys() - runs.keys():
    raise ValueError(f"commands for runs not in the report: {sorted(unknown)}")
  read = [figures.read_run(name, folder) for name, folder in runs.items()]
  rows = {run.name: summarize(run) for run in read}
  command = _own_command(runs, path, title)
  sections = _sections(datasets(read))
  page = PAGE.format(
    title=escape(title),
    style=STYLE,
    runs=_run_list(read, commands),
    summary=_table(["", *rows], table_cells(rows)),
    sections="\n".join(_section_html(s, read, command) for s in sections),
    last=_last_values(read),
  )
  path = Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(page, encoding="utf-8", errors="replace")
  return rows


def summarize(run: Run) -> dict[str, float]:
  """Returns the numbers of one run's column of the summary, NaN = absent.

  Beside the keys of `SUMMARY`: val/<data>/pass@<k>/start, .../start_stderr,
  .../end and .../end_stderr.
  """
  entropy, reward, length, seconds = (
    figures.series(run, metric)[1]
    for metric in (
      "actor/entropy",
      "critic/rewards/mean",
      "response_length/mean",
      "timing_s/step",
    )
  )
  target = math.nan if run.target is None else run.target
  settled = entropy[-math.ceil(entropy.size / 3) :]
  row = {
    "step": run.rows[-1]["step"],
    "entropy/first": entropy[0] if entropy.size else math.nan,
    "entropy/last": entropy[-1] if entropy.size else math.nan,
    "entropy/last_third": _mean(settled),
    "entropy/target": target,
    "entropy/max_deviation": max(
      (d for d in abs(settled - target) if math.isfinite(d)), default=math.nan
    ),
    "reward/first_tenth": _mean(reward[: math.ceil(reward.size / 10)]),
    "reward/last_tenth": _mean(reward[-math.ceil(reward.size / 10) :]),
    "length/first_tenth": _mean(length[: math.ceil(length.size / 10)]),
    "length/last_tenth": _mean(length[-math.ceil(length.size / 10) :]),
    "tokens": run.rows[-1].get("tokens", math.nan),
    "wall_time_s": seconds.size * _mean(seconds),
  }
  for data in datasets([run]):
    lines = zip(("start", "end"), figures.evaluations(run, data), strict=True)
    for when, line in lines:
      for k, value, error in zip(*figures.pass_at_k(line, data), strict=True):
        row[f"val/{data}/pass@{k}/{when}"] = value
        row[f"val/{data}/pass@{k}/{when}_stderr"] = error
  return {key: float(value) for key, value in row.items()}


def table_cells(rows: SummaryRows) -> list[list[str]]:
  """Returns the summary as text: a line a quantity, a column a run."""
  passes = dict.fromkeys(
    key.rpartition("/")[0] for row in rows.values() for key in row if "@" in key
  )
  lines = SUMMARY | {
    name.removeprefix("val/").replace("/pass@", ": pass@"): (
      f"{name}/start",
      f"{name}/end",
    )
    for name in passes
  }
  return [
    [
      label,
      *(" → ".join(_cell(row, key) for key in keys) for row in rows.values()),
    ]
    for label, keys in lines.items()
  ]


def format_table(rows: SummaryRows, width: int = 100) -> str:
  """Formats the summary for a terminal; runs that do not fit follow below."""
  head = ["", *(figures.printable(name, 24) for name in rows)]
  columns = list(zip(head, *table_cells(rows), strict=True))
  sizes = [max(map(len, column)) for column in columns]
  labels = [figures.printable(c).ljust(sizes[0]) for c in columns[0]]
  blocks = [[labels]]
  for column, size in zip(columns[1:], sizes[1:], strict=True):
    used = sum(len(other[0]) + 2 for other in blocks[-1])
    if len(blocks[-1]) > 1 and used + size > width:
      blocks.append([labels])
    blocks[-1].append([cell.rjust(size) for cell in column])
  return "\n\n".join(
    "\n".join("  ".join(line).rstrip() for line in zip(*block, strict=True))
    for block in blocks
  )


def datasets(runs: Sequence[Run]) -> list[str]:
  """Returns the data sets that any run was evaluated on, sorted."""
  names = {name for run in runs for row in run.rows for name in row}
  return sorted(
    name.removeprefix("val/").removesuffix("/pass@1")
    for name in names
    if fnmatchcase(name, "val/*/pass@1")
  )


def number(value: float) -> str:
  """Formats a number for a table; a dash where there is none."""
  if not math.isfinite(value):
    return "–"
  if value == int(value):
    return f"{int(value):,}"
  return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"


def with_error(value: float, error: float = math.nan) -> str:
  """Formats a number of order one with its standard error, if it has one."""
  if not math.isfinite(value):
    return "–"
  return f"{value:.3f}±{error:.3f}" if error >= 0 else f"{value:.3f}"


def _mean(values: np.ndarray) -> float:
  finite = values[np.isfinite(values)]
  return float(finite.mean()) if finite.size else math.nan


def _cell(row: Mapping[str, float], key: str) -> str:
  value, error = row.get(key, math.nan), row.get(f"{key}_stderr")
  return number(value) if error is None else with_error(value, error)


def _sections(data: Sequence[str]) -> list[Section]:
  """Lists the pictures in their order; two for each data set."""
  evaluation = []
  for name in data or ["*"]:
    metrics, suffix = (f"val/{name}/pass@1",), f": {name}" if data else ""
    evaluation += [
      Section(
        f"pass@k{suffix}",
        metrics,
        "Unbiased pass@k of each run's last evaluation; the band is one "
        "standard error over problems.",
        functools.partial(figures.draw_pass_at_k, data=name),
      ),
      Section(
        f"pass@k during training{suffix}",
        metrics,
        "Every evaluation of the run.",
        functools.partial(figures.draw_pass_over_steps, data=name),
      ),
    ]
  return [
    Section(
      "Policy entropy",
      ("actor/entropy",),
      "Token-mean entropy of the mini-batch of each update.",
      lambda runs: figures.draw_metric(
        runs, metric="actor/entropy", label="entropy (nats)", targets=True
      ),
    ),
    Section(
      "Training reward",
      ("critic/rewards/mean",),
      "Mean reward of the rollouts; running mean over 5 % of the run.",
      lambda runs: figures.draw_metric(
        runs, metric="critic/rewards/mean", label="mean reward", smoothing=0.05
      ),
    ),
    *evaluation,
    Section(
      "Response length",
      ("response_length/mean",),
      "Mean length of the rollouts; running mean over 5 % of the run.",
      lambda runs: figures.draw_metric(
        runs, metric="response_length/mean", label="tokens", smoothing=0.05
      ),
    ),
    Section(
      "Distribution of token entropy",
      ("actor/entropy_histogram",),
      "Tokens of the first and of the last logged step.",
      figures.draw_entropy_histograms,
    ),
    Section(
      "Controller",
      ("control/coefficient", "control/error", "control/integral"),
      "What the controller fed back; error = entropy − target.",
      figures.draw_control,
    ),
    Section(
      "Entropy law",
      ("actor/entropy", "critic/rewards/mean"),
      "Training reward R against entropy H with R = −a exp(H) + b (Cui et "
      "al., arXiv 2505.22617, who fit validation accuracy). The law is for "
      "runs without intervention on the entropy; the ceiling is R at H = 0.",
      figures.draw_entropy_law,
      _law_table,
    ),
  ]


def _section_html(section: Section, runs: Sequence[Run], command: str) -> str:
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


def _missing(section: Section, runs: Sequence[Run]) -> str:
  """Says which metrics of a section were not logged, and by which runs."""
  absent: dict[tuple[str, ...], list[str]] = {}
  for metric in section.metrics:
    names = tuple(run.name for run in runs if not _logged(run, metric))
    if names:
      absent.setdefault(names, []).append(metric)
  sentences = []
  for names, metrics in absent.items():
    whom = "any run" if len(names) == len(runs) else ", ".join(names)
    sentences.append(f"Not logged by {whom}: {', '.join(metrics)}.")
  return " ".join(sentences)


def _logged(run: Run, metric: str) -> bool:
  names = {name for row in run.rows for name in row}
  return metric in names or any(fnmatchcase(name, metric) for name in names)


def _law_table(runs: Sequence[Run]) -> str:
  lines = []
  for run in runs:
    law = fit_entropy_law(*figures.law_points(run))
    lines.append(
      [
        run.name,
        with_error(law.a, law.stderr_a),
        with_error(law.b, law.stderr_b),
        with_error(law.ceiling, law.stderr_ceiling),
        with_error(law.rmse),
        with_error(law.r_squared),
        _law_note(law),
      ]
    )
  head = ["run", "a", "b", "ceiling b − a", "RMSE", "R²", ""]
  return _table(head, lines)


def _law_note(law: EntropyLaw) -> str:
  if math.isnan(law.a):
    return "fewer than 3 distinct entropies"
  if law.ill_conditioned:
    return f"ill-conditioned: entropies span less than {MIN_SPAN} nats"
  return "a < 0: no ceiling" if law.a < 0 else ""


def _last_values(runs: Sequence[Run]) -> str:
  names = sorted({name for run in runs for row in run.rows for name in row})
  last = [{k: v for row in run.rows for k, v in row.items()} for run in runs]
  lines = []
  for name in names:
    values = [row.get(name, math.nan) for row in last]
    lines.append([name, *(_value(value) for value in values)])
  return _table(["metric", *(run.name for run in runs)], lines)


def _value(value: float | list[float]) -> str:
  if isinstance(value, list):
    return f"{len(value)} bins, sum {number(math.fsum(value))}"
  return number(value)


def _run_list(runs: Sequence[Run], commands: Mapping[str, str]) -> str:
  """Lists the runs with their colour, target and the command that made them."""
  items = []
  for place, run in enumerate(runs):
    color, _ = figures.look(place)
    target = "" if run.target is None else f", target {run.target:g} nats"
    command = commands.get(run.name)
    items.append(
      f'<li><span style="background:{color}"></span>{escape(run.name)}{target}'
      + (f"<pre>{escape(command)}</pre>" if command else "")
    )
  return f'<ul class="runs">{"".join(items)}</ul>'


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
  """Returns an HTML table, all text escaped, that scrolls when it is wide."""
  cell = lambda tag, text: f"<{tag}>{escape(text)}</{tag}>"
  top = "".join(cell("th", text) for text in head)
  rest = (
    "<tr>" + cell("th", line[0]) + "".join(cell("td", c) for c in line[1:])
    for line in lines
  )
  return f'<div class="wide"><table><tr>{top}{"".join(rest)}</table></div>'


def _own_command(
  runs: Mapping[str, Path | str], path: Path | str, title: str
) -> str:
  words = [*(_shown_path(folder) for folder in runs.values()), "--output"]
  words += [_shown_path(path), "--title", title]
  return shlex.join(["python", "-m", "entrojax.report", *words])


def _shown_path(path: Path | str) -> str:
  """Returns a path relative to the working directory if it lies below it."""
  path = Path(path)
  here = Path.cwd()
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


def main(arguments: Sequence[str] | None = None) -> None:
  """Runs the command line; a run that cannot be read ends it with status 2."""
  parser = argparse.ArgumentParser(
    prog="python -m entrojax.report",
    description="Compares runs on one HTML page.",
  )
  parser.add_argument("runs", nargs="+", metavar="RUN", help="run directory")
  parser.add_argument("--output", required=True, help="HTML file to write")
  parser.add_argument("--title", default="Entropy report")
  options = parser.parse_args(arguments)
  names = [Path(folder).resolve().name for folder in options.runs]
  unique = len(set(names)) == len(names)
  runs = dict(zip(names if unique else options.runs, options.runs, strict=True))
  try:
    rows = write_report(runs, options.output, title=options.title)
  except (OSError, ValueError) as error:
    parser.error(str(error))
  print(format_table(rows))
  print(f"\nreport: {options.output}")


if __name__ == "__main__":
  main()
