"""Estimate how variants differ from a baseline in pass@k, paired.

Two runs with the same seed are compared on the same prompts: d[s, q] is the
difference of their pass@k on prompt q with seed s. How hard a prompt is cancels
in d, so that its mean has a much smaller error than two means that are compared
with each other. Prompts and seeds are both random samples, and the mean of d
varies with both:

    Var(mean) = V_seeds / S + V_prompts / Q + V_rest / S Q

which is estimated by M_s / SQ + M_q / SQ - M_e / SQ, where M_s, M_q and M_e are
the mean squares of a two-way analysis of variance (seeds, prompts, rest). The
degrees of freedom are Satterthwaite's (Biometrics Bulletin 2, 1946), rounded
down, and the interval is Student's. With a single seed the interval covers
other prompts only, and not other seeds. With two seeds it is too narrow (it
covers 92 % in the worst case) if seeds differ much.
"""

from collections.abc import Sequence
import re
from typing import NamedTuple

import numpy as np

from entrojax.answers.pass_at_k import pass_at_k
from entrojax.entropy.law import t_quantile
from entrojax.reporting.formatting import listing
from entrojax.reporting.run_logs import RightAnswers, RunLog, datasets
from entrojax.reporting.variants import Variant
from entrojax.system.workdir import EVALUATIONS_FILE


class Interval(NamedTuple):
  """A mean with its 95 % interval."""

  mean: float
  low: float
  high: float


class Comparison(NamedTuple):
  """The differences of a variant to the baseline on one data set."""

  variant: int  # the index among all variants
  k: np.ndarray  # i64[K]
  intervals: Sequence[Interval]  # [K], of pass@k, variant minus baseline
  step: int  # the optimizer step of the evaluations
  seeds: int  # S
  prompts: int  # Q


class Estimate(NamedTuple):
  """A mean with the variance that it has, and its degrees of freedom."""

  mean: float
  variance: float
  freedom: float

  def interval(self) -> Interval:
    """Return the mean with Student's 95 % interval."""
    half = t_quantile(self.freedom) * self.variance**0.5
    return Interval(self.mean, self.mean - half, self.mean + half)


def paired_interval(differences: np.ndarray) -> Interval:
  """Estimate the mean difference over seeds and prompts, with its interval.

  Args:
    differences: f64[S, Q] by seed and prompt, Q >= 2.
  """
  return paired_estimate(differences).interval()


def paired_estimate(differences: np.ndarray) -> Estimate:
  """Estimate the mean difference over seeds and prompts, with its variance.

  Args:
    differences: f64[S, Q] by seed and prompt, Q >= 2.
  """
  num_seeds, num_prompts = differences.shape
  mean = differences.mean()
  by_prompt = differences.mean(axis=0) - mean
  v_prompts = by_prompt @ by_prompt / (num_prompts - 1) / num_prompts
  if num_seeds == 1:
    return Estimate(float(mean), float(v_prompts), num_prompts - 1)
  by_seed = differences.mean(axis=1) - mean
  v_seeds = by_seed @ by_seed / (num_seeds - 1) / num_seeds
  rest = differences - mean - by_seed[:, None] - by_prompt
  rest_freedom = (num_seeds - 1) * (num_prompts - 1)
  v_rest = (rest**2).sum() / rest_freedom / differences.size
  # the difference of mean squares may come out below what it estimates
  variance = max(v_seeds + v_prompts - v_rest, v_rest)
  spread = (
    v_seeds**2 / (num_seeds - 1)
    + v_prompts**2 / (num_prompts - 1)
    + v_rest**2 / rest_freedom
  )
  freedom = variance**2 / spread if spread else np.inf
  limit = num_seeds * num_prompts - 1
  whole = int(np.clip(freedom, num_seeds - 1, limit))
  return Estimate(float(mean), float(variance), whole)


def compare(
  variants: Sequence[Variant], index: int, baseline: int, data: str
) -> Comparison:
  """Compare a variant with the baseline at their last common evaluation.

  Args:
    variants: all variants.
    index: the variant.
    baseline: the index of the baseline.
    data: the data set.

  Raises:
    ValueError: the two cannot be paired; the message is the reason.
  """
  pairs = _pairs(variants[index], variants[baseline])
  step, evaluations = _last_common(pairs, data)
  if (
    len({evaluation.prompts for pair in evaluations for evaluation in pair}) > 1
  ):
    raise ValueError("evaluated on other prompts than the baseline")
  num_prompts = evaluations[0][0].right.size
  if num_prompts < 2:
    raise ValueError("evaluated on a single prompt")
  most = min(e.num_samples for pair in evaluations for e in pair)
  k = 2 ** np.arange(int(most).bit_length())
  intervals = []
  for i in k.tolist():
    differences = [
      _values(own, i) - _values(base, i) for own, base in evaluations
    ]
    intervals.append(paired_interval(np.array(differences)))
  return Comparison(index, k, intervals, step, len(pairs), num_prompts)


def _values(evaluation: RightAnswers, k: int) -> np.ndarray:
  return pass_at_k(evaluation.num_samples, evaluation.right, k)


def _pairs(variant: Variant, baseline: Variant) -> list[tuple[RunLog, RunLog]]:
  """Pair the runs of equal seeds."""
  own, base = (
    {run.seed: run for run in runs} for runs in (variant.runs, baseline.runs)
  )
  pairs = [(own[seed], base[seed]) for seed in own if seed in base]
  if not pairs:
    raise ValueError("no seed in common with the baseline")
  return pairs


def _last_common(
  pairs: Sequence[tuple[RunLog, RunLog]], data: str
) -> tuple[int, list[tuple[RightAnswers, RightAnswers]]]:
  """Return the last step at which all runs were evaluated, and the results."""
  of_data = lambda run: {e.step: e for e in run.right_answers if e.data == data}
  by_step = [(of_data(own), of_data(base)) for own, base in pairs]
  for matches in by_step:
    for evaluations, whose in zip(
      matches, ("", "the baseline has "), strict=True
    ):
      if not evaluations:
        raise ValueError(
          f"{whose}no counts of right answers in {EVALUATIONS_FILE}, which "
          "runs of older versions lack"
        )
  steps = set.intersection(*(set(e) for pair in by_step for e in pair))
  if not steps:
    raise ValueError("no evaluation at the same step as the baseline")
  step = max(steps)
  return step, [(own[step], base[step]) for own, base in by_step]


class Differences(NamedTuple):
  """The differences to the baseline on one data set."""

  data: str
  baseline: int | None  # the index of the variant; None: no variant fits
  comparisons: Sequence[Comparison]
  notes: Sequence[str]  # why variants are missing


def all_differences(
  variants: Sequence[Variant], baseline: str
) -> list[Differences]:
  """Compare the variants of each task with its baseline, on each data set.

  Args:
    variants: all variants.
    baseline: the baseline's name, or a word of it. Each task has a baseline of
      its own: the variant of this name or, without one, the only variant whose
      name has this word.
  """
  results = []
  for task in dict.fromkeys(variant.task for variant in variants):
    indices = [i for i, variant in enumerate(variants) if variant.task == task]
    if len(indices) < 2:
      continue
    runs = [run for i in indices for run in variants[i].runs]
    base = find_baseline([variants[i].name for i in indices], baseline)
    for data in datasets(runs):
      if base is None:
        results.append(
          Differences(data, None, (), [_NO_BASELINE.format(baseline)])
        )
      else:
        results.append(_compare_all(variants, indices, indices[base], data))
  return results


_NO_BASELINE = (
  "no single variant is called {0!r} or has this word in its name; name one "
  "with --baseline"
)


def find_baseline(names: Sequence[str], baseline: str) -> int | None:
  """Return the index of the name, or of the only name that has this word."""
  if baseline in names:
    return names.index(baseline)
  word = baseline.lower()
  matches = [
    index
    for index, name in enumerate(names)
    if word in re.split(r"[^a-z0-9]+", name.lower())
  ]
  return matches[0] if len(matches) == 1 else None


def _compare_all(
  variants: Sequence[Variant], indices: Sequence[int], base: int, data: str
) -> Differences:
  """Compare variants with the baseline, and note those that cannot be."""
  comparisons: list[Comparison] = []
  reasons: dict[str, list[str]] = {}
  for index in indices:
    if index != base:
      try:
        comparisons.append(compare(variants, index, base, data))
      except ValueError as error:
        reasons.setdefault(str(error), []).append(variants[index].name)
  notes = [f"{listing(names)}: {why}" for why, names in reasons.items()]
  return Differences(data, base, comparisons, notes)
