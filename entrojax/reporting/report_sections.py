"""List the sections of a report: their pictures, captions and tables.

A section holds functions that draw its picture and, for some, format a table as
HTML. The list does not depend on what the runs logged, except for the data sets
of evaluations. report.py puts the sections on a page.
"""

from collections.abc import Callable, Sequence
import functools
from html import escape
import math
from typing import NamedTuple

from entrojax.entropy.law import (
  MIN_SPAN,
  EntropyLaw,
  confidence,
  fit_entropy_law,
  forecast,
  predict,
  sensitivity,
)
from entrojax.reporting import figures
from entrojax.reporting.fit_points import (
  MIN_EVALUATIONS,
  entropy_changes,
  law_points,
  line_through_origin,
)
from entrojax.reporting.formatting import (
  number,
  percent,
  with_error,
  with_interval,
)
from entrojax.reporting.run_logs import ENTROPY, TRAINING_REWARD, RunLog

FIRST_PART = 0.15  # of a run, from which its law is forecast; as in the paper


class Section(NamedTuple):
  """A heading with a picture, its caption and, for some, a table."""

  title: str
  metrics: tuple[str, ...]  # that the picture shows; * stands for any text
  caption: str
  draw: Callable[[Sequence[RunLog]], str | None]  # returns SVG; None: no data
  table: Callable[[Sequence[RunLog]], str] | None = None  # returns HTML


def report_sections(data: Sequence[str]) -> list[Section]:
  """List all sections of a report in their order.

  Args:
    data: the data sets on which any run was evaluated.
  """
  return [
    *_training_sections(),
    *_evaluation_sections(data),
    *_token_sections(),
    *_covariance_sections(),
    _law_section(),
  ]


def _training_sections() -> list[Section]:
  return [
    Section(
      "Policy entropy",
      (ENTROPY,),
      "Mean entropy per token, over the mini-batch of each update.",
      lambda runs: figures.draw_metric(
        runs, metric=ENTROPY, label="entropy (nats)", targets=True
      ),
    ),
    Section(
      "Training reward",
      (TRAINING_REWARD,),
      "Mean reward of the rollouts. Each point is a running mean over 5 % of "
      "the run.",
      lambda runs: figures.draw_metric(
        runs, metric=TRAINING_REWARD, label="mean reward", smoothing=0.05
      ),
    ),
  ]


def _evaluation_sections(data: Sequence[str]) -> list[Section]:
  """List two sections for each data set, or two empty ones without any."""
  sections = []
  for name in data or ["*"]:
    metrics, suffix = (f"val/{name}/pass@1",), f": {name}" if data else ""
    sections += [
      Section(
        f"pass@k{suffix}",
        metrics,
        "Unbiased pass@k and, below, maj@k in the last evaluation of each run. "
        "The band is one standard error over problems.",
        functools.partial(figures.draw_pass_at_k, data=name),
      ),
      Section(
        f"pass@k during training{suffix}",
        metrics,
        "Every evaluation of each run. pass@1 is also avg@n, the share of "
        "right samples.",
        functools.partial(figures.draw_pass_over_steps, data=name),
      ),
    ]
  return sections


def _token_sections() -> list[Section]:
  return [
    Section(
      "Response length",
      ("response_length/mean",),
      "Mean length of the rollouts. Each point is a running mean over 5 % of "
      "the run.",
      lambda runs: figures.draw_metric(
        runs, metric="response_length/mean", label="tokens", smoothing=0.05
      ),
    ),
    Section(
      "Distribution of token entropy",
      ("actor/entropy_histogram",),
      "The entropies of single tokens in the first and in the last logged "
      "step.",
      figures.draw_entropy_histograms,
    ),
    Section(
      "Controller",
      ("control/coefficient", "control/error", "control/integral"),
      "The coefficient that the controller set at each update. The error is "
      "the entropy minus its target, and the integral is the sum of past "
      "errors.",
      figures.draw_control,
    ),
    Section(
      "Entropy by sign of advantage",
      ("entropy/positive", "entropy/negative"),
      "Mean entropy per token of the responses that are better (solid) and "
      "worse (dashed) than the mean of their group. A group whose responses "
      "all have the same reward counts in neither. Each point is a running "
      "mean over 5 % of the run.",
      figures.draw_entropy_by_sign,
    ),
  ]


def _covariance_sections() -> list[Section]:
  return [
    Section(
      "Covariance of log-probability and advantage",
      (
        "covariance/mean",
        "covariance/positive_probable",
        "covariance/positive_rare",
        "covariance/negative_probable",
        "covariance/negative_rare",
      ),
      "The mean of (log π − mean)(A − mean) over the tokens of an update, "
      "where A is the advantage. Four parts add up to it: tokens of "
      "probability 0.5 or more are called probable and the others rare, and "
      "each kind is split by the sign of A, with A = 0 among the negative. A "
      "mean above 0 says that an update lowers the entropy, to first order; "
      "below 0, that it raises it (arXiv 2505.22617, eq. 10). A is the plain "
      "advantage, without what an objective does to it. Each point is a "
      "running mean over 5 % of the run.",
      figures.draw_covariance,
    ),
    Section(
      "Predicted against measured entropy change",
      ("covariance/predicted_change", ENTROPY),
      "Each dot is a rollout step. Across: the predicted change, which is "
      "minus the mean covariance of the step. Up: the measured change, which "
      "is the entropy of the next rollout step minus the entropy of this one. "
      "The prediction is the first-order effect of one natural gradient step "
      "of size 1 on the plain advantage. It leaves out the optimizer, its "
      "learning rate, clipping and every other term of the loss. So only sign "
      "and proportion can agree, and the slope is at best the mean step size "
      "of a run. The measured change is between different prompts and "
      "samples, so it is noisy, and the entropy of the step itself enters "
      "both axes.",
      figures.draw_entropy_changes,
      _change_table,
    ),
  ]


def _law_section() -> Section:
  return Section(
    "Entropy law",
    (ENTROPY, TRAINING_REWARD),
    "Reward R against entropy H, with the fitted law R = −a exp(H) + b (Cui "
    "et al., arXiv 2505.22617; they fit validation accuracy, and their law is "
    "for runs without intervention on the entropy). R is pass@1 if a run has "
    f"{MIN_EVALUATIONS} evaluations or more, otherwise the mean training "
    f"reward. Forecast: the law is fitted to the first {100 * FIRST_PART:g} % "
    "of the points and compared with the rest at the measured entropies. "
    "Brackets hold 95 % intervals. They assume independent points, which the "
    "points of one run hardly are.",
    functools.partial(figures.draw_entropy_law, fraction=FIRST_PART),
    _law_table,
  )


def _law_table(runs: Sequence[RunLog]) -> str:
  """Format the fitted law and its forecast as HTML, one column per run."""
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
        "R left at the last entropy": with_error(
          law.ceiling - float(predict(law, last))
        ),
        "dR/dH there (1/nats)": with_error(float(sensitivity(law, last))),
        "RMSE": with_error(law.rmse),
        "R²": with_error(law.r_squared),
        "forecast: fitted points": number(early.num_fitted),
        "forecast: RMSE over the rest": with_error(early.rmse),
        "forecast: error at the end": with_error(early.last_error),
        "forecast: rest within its 95 % intervals": percent(early.coverage),
      }
    )
    notes += [f"{run.name}: {note}." for note in _law_notes(law, early.law)]
  lines = [[name, *(c[name] for c in columns)] for name in columns[0]]
  table = html_table(["", *(run.name for run in runs)], lines)
  return table + "".join(f'<p class="note">{escape(n)}</p>' for n in notes)


def _change_table(runs: Sequence[RunLog]) -> str:
  """Format the regressions of measured on predicted changes as HTML."""
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
  return html_table(["run", "steps", "correlation", "slope"], lines)


def _law_notes(law: EntropyLaw, early: EntropyLaw) -> list[str]:
  """Return warnings about a fitted law.

  Args:
    law: fitted to the whole run.
    early: fitted to the first part of the run.
  """
  if math.isnan(law.a):
    return ["there are fewer than 3 distinct entropies, so no law is fitted"]
  narrow = f"the entropies span less than {MIN_SPAN} nats"
  notes = []
  if law.ill_conditioned:
    notes.append(f"the law is ill-conditioned, as {narrow}")
  if law.a < 0:
    notes.append("a is negative (reward rose with entropy), so no ceiling")
  if math.isnan(early.a):
    notes.append(
      "the first part has fewer than 3 distinct entropies, so no forecast"
    )
  elif early.ill_conditioned:
    notes.append(
      f"the forecast is ill-conditioned, as {narrow} in the first part"
    )
  return notes


def html_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
  """Format an HTML table that scrolls when it is wide; all text is escaped.

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
  return f'<div class="wide"><table><tr>{top}{"".join(rest)}</table></div>'
