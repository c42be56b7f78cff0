"""One HTML page that compares runs: tables, pictures, and how to remake them.

    python -m entrojax.report runs/grpo runs/entropic --output report.html

The page is a single file without scripts or links to anything outside, and
depends on nothing but the runs: the same runs give the same bytes.
"""

import argparse
import base64
from collections.abc import Callable, Mapping, Sequence
import functools
from html import escape
import math
from pathlib import Path
import shlex
from typing import NamedTuple

from entrojax import figures
from entrojax.entropy_law import (
  MIN_SPAN,
  EntropyLaw,
  confidence,
  fit_entropy_law,
  forecast,
  predict,
  sensitivity,
)
from entrojax.runs import (
  MIN_EVALUATIONS,
  Run,
  datasets,
  entropy_changes,
  law_points,
  read_run,
)
from entrojax.summary import (
  SummaryRows,
  format_table,
  line_through_origin,
  number,
  summarize,
  table_cells,
  with_error,
  with_interval,
)

FIRST_PART = 0.15  # of a run, from which its law is forecast; as in the paper


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
  read = [read_run(name, folder) for name, folder in runs.items()]
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
      "Entropy by sign of advantage",
      ("entropy/positive", "entropy/negative"),
      "Token-mean entropy of responses better and (dashed) worse than their "
      "group's mean; running mean over 5 % of the run. Groups of one reward "
      "are in neither.",
      figures.draw_entropy_by_sign,
    ),
    Section(
      "Covariance of log-probability and advantage",
      (
        "covariance/mean",
        "covariance/positive_probable",
        "covariance/positive_rare",
        "covariance/negative_probable",
        "covariance/negative_rare",
      ),
      "Mean over the tokens of an update of (log π − mean)(A − mean), and what "
      "tokens of probability 0.5 or more and the others add to it, by sign of "
      "the advantage A; the four parts add up to the mean. Above 0 an update "
      "lowers the entropy, to first order; below 0 it raises it (arXiv "
      "2505.22617, eq. 10). A is the plain advantage: what an objective makes "
      "of it is not in here. Tokens of A = 0 are among the negative. Running "
      "mean over 5 % of the run.",
      figures.draw_covariance,
    ),
    Section(
      "Predicted against measured entropy change",
      ("covariance/predicted_change", "actor/entropy"),
      "A dot is a rollout step: across, minus its mean covariance; up, the "
      "entropy of the next rollout step less its own. The prediction is the "
      "first order of one natural gradient step of size 1 on the plain "
      "advantage. The optimizer, its learning rate, clipping and every other "
      "term of the loss are not in it, so only sign and proportion can agree, "
      "and the slope is a run's mean step size at best. The measured change "
      "is between different prompts and samples; its noise hides much, and "
      "the entropy of the step itself stands in both axes.",
      figures.draw_entropy_changes,
      _change_table,
    ),
    Section(
      "Entropy law",
      ("actor/entropy", "critic/rewards/mean"),
      "Reward R against entropy H with R = −a exp(H) + b (Cui et al., arXiv "
      "2505.22617, who fit validation accuracy and whose law is for runs "
      f"without intervention on the entropy). R is pass@1 where a run has "
      f"{MIN_EVALUATIONS} evaluations or more, else the mean training reward. "
      f"Forecast: the law of the first {100 * FIRST_PART:g} % of the points, "
      "held against the rest at its measured entropies. In brackets 95 % "
      "intervals; they take the points for independent, which those of one "
      "run hardly are.",
      functools.partial(figures.draw_entropy_law, fraction=FIRST_PART),
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
    names = tuple(run.name for run in runs if not run.logged(metric))
    if names:
      absent.setdefault(names, []).append(metric)
  sentences = []
  for names, metrics in absent.items():
    whom = "any run" if len(names) == len(runs) else ", ".join(names)
    sentences.append(f"Not logged by {whom}: {', '.join(metrics)}.")
  return " ".join(sentences)


def _law_table(runs: Sequence[Run]) -> str:
  """Returns the fitted law of each run and its forecast, a column a run."""
  columns, notes = [], []
  for run in runs:
    entropy, reward, metric = law_points(run)
    law = fit_entropy_law(entropy, reward)
    early = forecast(entropy, reward, fraction=FIRST_PART)
    intervals = confidence(law)
    last = entropy[-1] if entropy.size else math.nan
    columns.append(
      {
        "R": metric,
        "points": number(reward.size),
        "a": with_interval(law.a, intervals.a),
        "b": with_interval(law.b, intervals.b),
        "ceiling b − a": with_interval(law.ceiling, intervals.ceiling),
        "R left, at the last entropy": with_error(
          law.ceiling - float(predict(law, last))
        ),
        "dR/dH there (1/nats)": with_error(float(sensitivity(law, last))),
        "RMSE": with_error(law.rmse),
        "R²": with_error(law.r_squared),
        "points of the forecast": number(early.num_fitted),
        "RMSE over the rest": with_error(early.rmse),
        "error at the end": with_error(early.last_error),
        "rest in its intervals": _percent(early.coverage),
      }
    )
    notes += [f"{run.name}: {note}." for note in _law_notes(law, early.law)]
  lines = [[name, *(c[name] for c in columns)] for name in columns[0]]
  table = _table(["", *(run.name for run in runs)], lines)
  return table + "".join(f'<p class="note">{escape(n)}</p>' for n in notes)


def _change_table(runs: Sequence[Run]) -> str:
  lines = []
  for run in runs:
    predicted, measured = entropy_changes(run)
    slope, error, correlation = line_through_origin(predicted, measured)
    lines.append(
      [
        run.name,
        number(predicted.size),
        with_error(correlation),
        with_error(slope, error),
      ]
    )
  return _table(["run", "steps", "correlation", "slope"], lines)


def _law_notes(law: EntropyLaw, early: EntropyLaw) -> list[str]:
  """Says what is wrong with a law or with the one of the run's first part."""
  if math.isnan(law.a):
    return ["fewer than 3 distinct entropies, no law"]
  narrow = f"ill-conditioned, entropies span less than {MIN_SPAN} nats"
  notes = [narrow] if law.ill_conditioned else []
  if law.a < 0:
    notes.append("a < 0, no ceiling")
  if math.isnan(early.a):
    notes.append("fewer than 3 distinct entropies at first, no forecast")
  elif early.ill_conditioned:
    notes.append(f"the forecast is {narrow}")
  return notes


def _percent(share: float) -> str:
  return f"{100 * share:.0f} %" if math.isfinite(share) else "–"


def _last_values(runs: Sequence[Run]) -> str:
  last = [{k: v for row in run.rows for k, v in row.items()} for run in runs]
  lines = [
    [name, *(_value(row.get(name, math.nan)) for row in last)]
    for name in sorted(set().union(*last))
  ]
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
