"""List the pictures of a report, with their titles, captions and tables.

Sections (section.py) stand in groups, which are the chapters of the page. The
list does not depend on what the runs logged, except for the data sets of
evaluations and the number of variants. report.py puts the sections on a page.
"""

from collections.abc import Sequence
import functools
from html import escape
import math

from entrojax.entropy.law import (
  MIN_DISTINCT,
  MIN_POINTS,
  MIN_SPAN,
  confidence,
  fit_entropy_law,
  forecast,
  predict,
  sensitivity,
)
from entrojax.reporting import figures, ledger_sections
from entrojax.reporting.coverage_sections import coverage_sections
from entrojax.reporting.distance_sections import distance_sections
from entrojax.reporting.fit_points import (
  MIN_BLOCK,
  MIN_EVALUATIONS,
  inapplicable,
  law_points,
  line_through_origin,
)
from entrojax.reporting.formatting import (
  listing,
  number,
  over_seeds,
  percent,
  with_error,
  with_interval,
)
from entrojax.reporting.html_tables import html_table
from entrojax.reporting.run_logs import ENTROPY, TRAINING_REWARD, RunLog
from entrojax.reporting.section import Section, Variants

FIRST_PART = 0.15  # of a run, from which its law is forecast; as in the paper
MIN_MULTIPLES = 3  # variants, below which no panels for single variants stand
_SMOOTHED = "Each point is a running mean over 5 % of the run."


def report_sections(
  data: Sequence[str], num_variants: int
) -> dict[str, list[Section]]:
  """List all sections of a report in their order, by the chapter's heading.

  Args:
    data: the data sets on which any run was evaluated.
    num_variants: the number of variants on the page.
  """
  chapters = {
    "Evaluation": _evaluation_sections(data),
    "Coverage": coverage_sections(data),
    "Training": _training_sections(),
    "Entropy": _entropy_sections(),
    "Distances": distance_sections(),
  }
  if num_variants >= MIN_MULTIPLES:
    chapters["One variant at a time"] = _multiple_sections(data)
  return chapters


def _evaluation_sections(data: Sequence[str]) -> list[Section]:
  """List the sections of each data set, or empty ones without any."""
  sections = []
  for name in data or ["*"]:
    metrics, suffix = (f"val/{name}/pass@1",), f": {name}" if data else ""
    sections += [
      Section(
        f"pass@k{suffix}",
        metrics,
        "Unbiased pass@k in the last evaluation. The band spans the seeds; "
        "with one seed it is one standard error over problems.",
        functools.partial(figures.draw_at_k, data=name),
      ),
      Section(
        f"pass@1 against a large pass@k{suffix}",
        metrics,
        "The last evaluation: the mean over seeds, with bars that span them. "
        "On the Pareto front are the variants that no other variant beats in "
        "both numbers.",
        functools.partial(figures.draw_plane, data=name),
      ),
      Section(
        f"pass@k during training{suffix}",
        metrics,
        "Every evaluation. pass@1 is also avg@n, the share of right samples.",
        functools.partial(figures.draw_pass_over_steps, data=name),
      ),
      Section(
        f"maj@k{suffix}",
        (f"val/{name}/maj@1",),
        "How often the most frequent of k answers is right, in the last "
        "evaluation. The band is as for pass@k.",
        functools.partial(figures.draw_at_k, data=name, measure="maj"),
      ),
      Section(
        f"Diversity{suffix}",
        tuple(
          f"val/{name}/{metric}"
          for metric in ("distinct_correct", "distinct_2", "entropy")
        ),
        "Every evaluation: the number of different right answers to a problem, "
        "the share of different pairs of words among all pairs in its "
        "responses, and the mean entropy per token.",
        functools.partial(figures.draw_diversity, data=name),
      ),
    ]
  return sections


def _training_sections() -> list[Section]:
  def metric_section(title: str, metric: str, label: str, caption: str):
    draw = functools.partial(
      figures.draw_metric, metric=metric, label=label, smoothing=0.05
    )
    return Section(title, (metric,), f"{caption} {_SMOOTHED}", draw)

  times = {
    "timing_s/step": "whole step (s)",
    "timing_s/gen": "sampling (s)",
    "timing_s/verify": "verifying (s)",
    "timing_s/update": "update (s)",
  }
  return [
    metric_section(
      "Training reward",
      TRAINING_REWARD,
      "mean reward",
      "Mean reward of the rollouts.",
    ),
    metric_section(
      "Response length",
      "response_length/mean",
      "tokens",
      "Mean length of the rollouts.",
    ),
    Section(
      "Groups without a signal",
      ("critic/groups/all_right", "critic/groups/all_wrong"),
      "The share of groups whose responses are all right (solid) or all wrong "
      f"(dashed). Their advantages are 0 in GRPO. {_SMOOTHED}",
      functools.partial(
        figures.draw_pair,
        solid=("critic/groups/all_right", "all right"),
        dashed=("critic/groups/all_wrong", "all wrong"),
        label="share of groups",
      ),
    ),
    metric_section(
      "Distance of an update",
      "actor/ppo_kl",
      "KL divergence (nats)",
      "The estimated KL divergence per token between the policy that sampled "
      "the rollouts and the policy during the updates.",
    ),
    Section(
      "Change of the gradient by each member",
      ("*/gradient_change",),
      "The norm of what a member of the objective changes in the gradient, "
      f"relative to the gradient. {_SMOOTHED}",
      figures.draw_gradient_changes,
    ),
    Section(
      "Time per rollout step",
      tuple(times),
      f"Wall time of a rollout step and of its parts. {_SMOOTHED}",
      lambda variants: figures.draw_metrics(variants, times, smoothing=0.05),
    ),
  ]


def _entropy_sections() -> list[Section]:
  return [
    Section(
      "Policy entropy",
      (ENTROPY,),
      "Mean entropy per token, over the mini-batch of each update.",
      lambda variants: figures.draw_metric(
        variants, metric=ENTROPY, label="entropy (nats)", targets=True
      ),
    ),
    Section(
      "Distribution of token entropy",
      ("actor/entropy_histogram",),
      "The entropies of single tokens in the first and in the last logged "
      "step, as a mean over seeds.",
      figures.draw_entropy_histograms,
    ),
    Section(
      "Controller",
      ("control/coefficient", "control/error", "control/integral"),
      "The coefficient that the controller set at each update. The error is "
      "the entropy minus its target, and the integral is the sum of past "
      "errors.",
      lambda variants: figures.draw_metrics(
        variants,
        {
          "control/coefficient": "coefficient",
          "control/error": "error (nats)",
          "control/integral": "integral (nats)",
        },
      ),
    ),
    Section(
      "Entropy by sign of advantage",
      ("entropy/positive", "entropy/negative"),
      "Mean entropy per token of the responses that are better (solid) and "
      "worse (dashed) than the mean of their group. A group whose responses "
      f"all have the same reward counts in neither. {_SMOOTHED}",
      functools.partial(
        figures.draw_pair,
        solid=("entropy/positive", "positive advantage"),
        dashed=("entropy/negative", "negative advantage"),
        label="entropy (nats)",
      ),
    ),
    *_covariance_sections(),
    *_ledger_sections(),
    _law_section(),
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
      "below 0, that it raises it (arXiv 2505.22617, eq. 10). This holds for "
      "a policy whose logits move each for itself; the ledger below measures "
      "what the optimizer's steps did, and a part may differ from it in sign. "
      "A is the plain advantage, without what an objective does to it. "
      f"{_SMOOTHED}",
      figures.draw_covariance,
    ),
    Section(
      "Covariance and entropy change, between rollouts",
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


def _ledger_sections() -> list[Section]:
  return [
    Section(
      "Exact prediction of the entropy change, within one step",
      ("ledger/own/measured",),
      "Each dot is an optimizer step of the ledger. Up: the mean entropy of "
      "the same tokens after the step minus before it. Across: the exact "
      "first-order change, the inner product of the entropy's gradient with "
      "the change of the parameters. Own tokens are those that the step was "
      "trained on; held-back tokens are of the same rollout and not yet "
      "trained on; fresh tokens are of the next rollout. In the table, the "
      "residual is measured minus first order, the trapezoid has gradients at "
      "both ends of "
      "the step, and Simpson's rule also in its middle. The covariances are "
      "those of log-probability with the advantage and with the weight of a "
      "token in the loss. ± is the standard error over entries.",
      ledger_sections.draw_agreement,
      ledger_sections.agreement_table,
    ),
    Section(
      "Which tokens the change comes from",
      ("ledger/own/measured/by_sign",),
      "The measured change of own tokens, summed over the entries of the "
      "ledger, by sign of the advantage and by probability at or above the "
      "median of the tokens (probable) or below it (rare), and not 0.5 as in "
      "the covariance. The panels have one scale, and "
      "add up to the whole change. The table has all splits: fifths of the "
      "tokens' entropy, the lowest first, and fifths of the response, the "
      "first one first. The changes of a split add up, too.",
      functools.partial(ledger_sections.draw_split, split="by_sign"),
      ledger_sections.split_table,
    ),
    Section(
      "What each part of the method contributes",
      ("ledger/own/contribution/policy_gradient",),
      "The first-order change of own tokens by the step with a part of the "
      "method minus the step without it, summed over the entries of the "
      "ledger. history is the optimizer's step for a gradient of 0: its "
      "momentum. policy_gradient is the plain gradient of the advantages, and "
      "the other terms of the loss are added one after the other. The panels "
      "have one scale, and add up to the whole first-order change.",
      ledger_sections.draw_contributions,
      ledger_sections.contribution_table,
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
    f"reward of blocks of {MIN_BLOCK} rollout steps or more. Forecast: the law "
    f"is fitted to the first {100 * FIRST_PART:g} % of the points, or more, "
    f"until the entropy spans {MIN_SPAN} nats. It is compared with the rest at "
    "the measured entropies, and so is the mean reward of the first part. "
    "Brackets hold 95 % intervals of a single run. They allow for neighbouring "
    "points that are alike and for errors of the entropy, but not for a law "
    "that changes during the run. With several seeds each run has its own fit, "
    "and ± is the standard deviation over seeds.",
    functools.partial(figures.draw_entropy_law, fraction=FIRST_PART),
    _law_table,
  )


def _multiple_sections(data: Sequence[str]) -> list[Section]:
  """List the sections that give each variant a panel of its own."""
  shown = [(ENTROPY, "entropy (nats)", "Policy entropy", 0.05)]
  shown += [
    (f"val/{name}/pass@1", "pass@1", f"pass@1: {name}", 0.0) for name in data
  ]
  return [
    Section(
      f"{title}, each variant",
      (metric,),
      "The thin lines are the seeds of one variant. The grey band spans the "
      f"means of all variants. {_SMOOTHED if smoothing else ''}".rstrip(),
      functools.partial(
        figures.draw_small_multiples,
        metric=metric,
        label=label,
        smoothing=smoothing,
      ),
    )
    for metric, label, title, smoothing in shown
  ]


def _law_table(variants: Variants) -> str:
  """Format the fitted laws and their forecasts as HTML, a line per variant."""
  lines: list[list[str]] = []
  notes: dict[str, list[str]] = {}  # note -> the runs that it is about
  for variant in variants:
    runs = [_law_numbers(run) for run in variant.runs]
    metrics = sorted({law_points(run).metric for run in variant.runs})
    cells = [over_seeds([run[column] for run in runs]) for column in runs[0]]
    lines.append([variant.name, ", ".join(metrics), *cells])
    for run in variant.runs:
      for note in _law_notes(run):
        notes.setdefault(note, []).append(run.name)
  head = ["variant", "R", *_law_numbers(variants[0].runs[0])]
  table = html_table(head, lines)
  texts = [f"{listing(names)}: {note}." for note, names in notes.items()]
  return table + "".join(f'<p class="note">{escape(t)}</p>' for t in texts)


def _law_numbers(run: RunLog) -> dict[str, tuple[float, str]]:
  """Return each number of a run's law, and its text with its interval."""
  entropy, reward, _, _ = law_points(run)
  law = fit_entropy_law(entropy, reward)
  early = forecast(entropy, reward, fraction=FIRST_PART)
  intervals = confidence(law)
  last = entropy[-1] if entropy.size else math.nan
  left = law.ceiling - float(predict(law, last))
  slope = float(sensitivity(law, last))
  return {
    "points": (reward.size, number(reward.size)),
    "a": (law.a, with_interval(law.a, intervals.a)),
    "b": (law.b, with_interval(law.b, intervals.b)),
    "ceiling b − a": (
      law.ceiling,
      with_interval(law.ceiling, intervals.ceiling),
    ),
    "R left at the last entropy": (left, with_error(left)),
    "dR/dH there (1/nats)": (slope, with_error(slope)),
    "RMSE": (law.rmse, with_error(law.rmse)),
    "R²": (law.r_squared, with_error(law.r_squared)),
    "forecast: fitted points": (early.num_fitted, number(early.num_fitted)),
    "forecast: RMSE over the rest": (early.rmse, with_error(early.rmse)),
    "forecast: RMSE of the first part's mean": (
      early.constant_rmse,
      with_error(early.constant_rmse),
    ),
    "forecast: error at the end": (
      early.last_error,
      with_error(early.last_error),
    ),
    "forecast: rest within its 95 % intervals": (
      early.coverage,
      percent(early.coverage),
    ),
  }


def _change_table(variants: Variants) -> str:
  """Format the regressions of measured on predicted changes as HTML."""
  lines = []
  for variant in variants:
    predicted, measured = figures.variant_changes(variant)
    slope, error, correlation = line_through_origin(predicted, measured)
    lines.append(
      [
        variant.name,
        number(predicted.size),
        with_error(correlation),
        with_error(slope, error),
      ]
    )
  return html_table(["variant", "steps", "correlation", "slope"], lines)


def _law_notes(run: RunLog) -> list[str]:
  """Return warnings about the fitted law of a run."""
  entropy, reward, _, block = law_points(run)
  law = fit_entropy_law(entropy, reward)
  notes = inapplicable(run)
  if block and reward.size:
    notes.append(f"each point is the mean of about {block} rollout steps")
  if math.isnan(law.a):
    notes.append(
      f"there are fewer than {MIN_DISTINCT} distinct entropies, so no law is "
      "fitted"
    )
    return notes
  if law.num_points < MIN_POINTS:
    notes.append(
      f"there are fewer than {MIN_POINTS} points, so the law is not to be "
      "trusted"
    )
  elif law.span < MIN_SPAN:
    notes.append(
      f"the law is ill-conditioned, as the entropies span {law.span:.3f} nats "
      f"and not {MIN_SPAN}"
    )
  elif law.ill_conditioned:
    notes.append(
      "the law is ill-conditioned, as the entropies scatter too much around "
      "their trend"
    )
  if law.a < 0:
    notes.append("a is negative (reward rose with entropy), so no ceiling")
  if math.isnan(forecast(entropy, reward, fraction=FIRST_PART).rmse):
    notes.append("no first part gives a law, so there is no forecast")
  return notes
