"""The sections of a report: which pictures and tables, and what they mean."""

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
from entrojax.reporting.run_logs import (
  MIN_EVALUATIONS,
  Run,
  entropy_changes,
  law_points,
)
from entrojax.reporting.summary import (
  line_through_origin,
  number,
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


def report_sections(data: Sequence[str]) -> list[Section]:
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
  table = html_table(["", *(run.name for run in runs)], lines)
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
  return html_table(["run", "steps", "correlation", "slope"], lines)


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


def html_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
  """Returns an HTML table, all text escaped, that scrolls when it is wide."""
  cell = lambda tag, text: f"<{tag}>{escape(text)}</{tag}>"
  top = "".join(cell("th", text) for text in head)
  rest = (
    "<tr>" + cell("th", line[0]) + "".join(cell("td", c) for c in line[1:])
    for line in lines
  )
  return f'<div class="wide"><table><tr>{top}{"".join(rest)}</table></div>'
