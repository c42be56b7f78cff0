"""List the sections of a report about coverage: what is solved at all.

The base of a run is its own first evaluation. coverage.py computes the numbers.
"""

from collections.abc import Callable, Sequence
import functools

import numpy as np

from entrojax.reporting.coverage import (
  FIFTHS,
  by_difficulty,
  calibration,
  first_and_last,
  of_data,
  support,
)
from entrojax.reporting.formatting import number, over_seeds, with_error
from entrojax.reporting.html_tables import html_table
from entrojax.reporting.pictures import (
  OPTIMIZER_STEP,
  Curve,
  Panel,
  Picture,
  band_curve,
  metric_curves,
  picture,
)
from entrojax.reporting.run_logs import RightAnswers, RunLog
from entrojax.reporting.section import Section, Variants
from entrojax.reporting.variants import band

Points = tuple[np.ndarray, np.ndarray]  # x [K], y [K]

_START = "the first evaluation (solid: the last one)"


def coverage_sections(data: Sequence[str]) -> list[Section]:
  """List the sections of each data set."""
  return [section for name in data for section in _sections(name)]


def _sections(data: str) -> list[Section]:
  return [
    Section(
      f"Problems gained and lost: {data}",
      (),
      "A problem is solved if at least one of its n samples is right. Solid: "
      "problems that the policy solves and that the run's first evaluation "
      "does not. Dashed: the opposite. By chance: how many of each there would "
      "be if policy and base did not differ, given the number of right answers "
      "to each problem.",
      functools.partial(draw_support, data=data),
      functools.partial(support_table, data=data),
    ),
    Section(
      f"pass@k by difficulty: {data}",
      (),
      "Problems in five equal parts by how often the base solves them, from "
      "the hardest. The base's own curve is biased, because the same samples "
      "sorted the problems; compare the variants with each other.",
      functools.partial(draw_difficulty, data=data),
    ),
    Section(
      f"Confidence of the majority: {data}",
      (),
      "Across: the share of the samples that give the most frequent answer. "
      "Up: how often this answer is right, in the last evaluation. Grey: a "
      "majority that is right as often as its share of the votes says. The "
      "calibration error is the mean distance from the grey line.",
      functools.partial(draw_calibration, data=data),
      functools.partial(calibration_table, data=data),
    ),
    Section(
      f"Entropy of the answers: {data}",
      (f"val/{data}/answer_entropy",),
      "The entropy over the different answers to a problem, not over tokens: "
      "the semantic entropy with equal answers as one meaning. The mean over "
      "problems of each evaluation. Answers that do not parse do not count.",
      functools.partial(draw_answer_entropy, data=data),
    ),
  ]


def _over_runs(
  variants: Variants,
  points_of: Callable[[RunLog], Points | None],
  **options,
) -> list[Curve]:
  """Return the mean over seeds of a curve of each run, for each variant."""
  curves = []
  for index, variant in enumerate(variants):
    points = [p for run in variant.runs if (p := points_of(run)) is not None]
    if points:
      curves.append(band_curve(index, band(points), **options))
  return curves


def draw_support(variants: Variants, *, data: str) -> Picture | None:
  """Draw the problems gained and lost against the first evaluation."""

  def points_of(run: RunLog, field: str) -> Points | None:
    if first_and_last(run, data) is None:
      return None
    base, *others = of_data(run, data)
    others = [e for e in others if e.prompts == base.prompts]
    counts = [getattr(support(base, e), field) for e in others]
    return np.array([e.step for e in others]), np.array(counts, float)

  curves = [
    curve
    for field, dashed in (("gained", False), ("lost", True))
    for curve in _over_runs(
      variants,
      functools.partial(points_of, field=field),
      label=field,
      dashed=dashed,
      dots=True,
    )
  ]
  return picture(
    [Panel("problems", curves)], OPTIMIZER_STEP, dashed="lost (solid: gained)"
  )


def support_table(variants: Variants, *, data: str) -> str:
  """Format the support of each variant as HTML."""
  lines = []
  for variant in variants:
    pairs = [p for run in variant.runs if (p := first_and_last(run, data))]
    rows = [support(*pair) for pair in pairs]
    if rows:
      cells = [
        over_seeds([(float(x), number(round(x, 2))) for x in column])
        for column in zip(*rows, strict=True)
      ]
      lines.append([variant.name, number(pairs[0][0].right.size), *cells])
  head = ["variant", "problems", "solved, start", "solved, end", "gained"]
  head += ["lost", "gained by chance", "lost by chance"]
  return html_table(head, lines)


def _ks(variants: Variants, data: str) -> list[int]:
  """Return the k of the panels: 1, 8 and the largest power of 2, if less."""
  sizes = [
    min(e.num_samples for e in pair)
    for variant in variants
    for run in variant.runs
    if (pair := first_and_last(run, data))
  ]
  if not sizes:
    return []
  largest = 1 << (min(sizes).bit_length() - 1)
  return sorted({1, min(8, largest), largest})


def draw_difficulty(variants: Variants, *, data: str) -> Picture | None:
  """Draw pass@k by the base's fifths of difficulty, a panel for each k."""
  fifths = np.arange(1, FIFTHS + 1)

  def points_of(run: RunLog, k: int, side: int) -> Points | None:
    pair = first_and_last(run, data)
    if pair is None:
      return None
    return fifths, by_difficulty(pair[0], pair[side], k)

  panels = []
  for k in _ks(variants, data):
    curves = [
      curve
      for side, label in ((1, ""), (0, "first evaluation"))
      for curve in _over_runs(
        variants,
        functools.partial(points_of, k=k, side=side),
        label=label,
        dashed=not side,
      )
    ]
    panels.append(Panel(f"pass@{k}", curves))
  label = "fifth of the problems, 1 = hardest for the base"
  return picture(panels, label, dashed=_START)


def _last(run: RunLog, data: str) -> list[RightAnswers]:
  """Return the last evaluation, if there is one."""
  return of_data(run, data)[-1:]


def draw_calibration(variants: Variants, *, data: str) -> Picture | None:
  """Draw the accuracy of the majority against its share of the votes."""
  curves = []
  for index, variant in enumerate(variants):
    curve = calibration([e for run in variant.runs for e in _last(run, data)])
    if curve is not None:
      curves.append(Curve(index, curve.confidence, curve.accuracy, dots=True))
  if not curves:
    return None
  ends = np.array([0.0, 1.0])
  grey = Curve(None, ends, ends, thin=True, hover=False)
  return picture(
    [Panel("share of right majorities", [grey, *curves])],
    "share of the votes for the majority",
  )


def calibration_table(variants: Variants, *, data: str) -> str:
  """Format confidence, accuracy and calibration error as HTML."""
  lines = []
  for variant in variants:
    calibrations = [calibration(_last(run, data)) for run in variant.runs]
    rows = [
      (*np.average([c.confidence, c.accuracy], 1, c.prompts), c.error)
      for c in calibrations
      if c is not None
    ]
    if rows:
      cells = [
        over_seeds([(float(x), with_error(x)) for x in column])
        for column in zip(*rows, strict=True)
      ]
      lines.append([variant.name, *cells])
  head = ["variant", "mean confidence", "accuracy", "calibration error"]
  return html_table(head, lines)


def draw_answer_entropy(variants: Variants, *, data: str) -> Picture | None:
  """Draw the entropy over the answers of each evaluation."""
  curves = metric_curves(variants, f"val/{data}/answer_entropy", dots=True)
  return picture([Panel("entropy (nats)", curves)], OPTIMIZER_STEP)
