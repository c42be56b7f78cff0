"""Draw pictures of variants from the logs of their runs.

Each `draw_*` function takes all variants and returns a `Picture`, or None if no
run logged what the picture shows. report_sections.py gives the pictures titles
and captions.
"""

from collections.abc import Mapping, Sequence
import functools

import numpy as np

from entrojax.entropy.histogram import ENTROPY_EDGES, ENTROPY_HISTOGRAM
from entrojax.entropy.law import fit_entropy_law, forecast, predict
from entrojax.reporting.differences import Comparison
from entrojax.reporting.fit_points import (
  entropy_changes,
  law_points,
  line_through_origin,
)
from entrojax.reporting.pictures import (
  OPTIMIZER_STEP,
  Curve,
  Panel,
  Picture,
  band_curve,
  metric_curves,
  picture,
)
from entrojax.reporting.run_logs import (
  TARGET,
  RunLog,
  evaluations,
  logged_at_k,
)
from entrojax.reporting.variants import Variant, band, metric_band

Variants = Sequence[Variant]

_BY_SIGN = "negative advantage (solid: positive)"
_K_LABEL = "k, samples per problem (log scale)"
_MAX_DOTS = 3000  # in a picture; a fit uses all points


def draw_metric(
  variants: Variants,
  *,
  metric: str,
  label: str,
  smoothing: float = 0.0,
  targets: bool = False,
) -> Picture | None:
  """Draw one metric against the optimizer step.

  Args:
    variants: all variants.
    metric: its name in metrics.jsonl.
    label: the label of the y axis, with the unit.
    smoothing: the window of the running mean as a share of the run; 0: none.
    targets: if True, the entropy targets are drawn as dashed lines.
  """
  curves = metric_curves(variants, metric, smoothing=smoothing)
  levels = []
  for curve in curves if targets else ():
    target = variants[curve.variant or 0].runs[0].target
    if target is not None:
      ends = curve.x[[0, -1]]
      y = np.full(2, target)
      levels.append(
        Curve(curve.variant, ends, y, label="entropy target", dashed=True)
      )
  if targets:  # a target that follows a schedule
    levels += metric_curves(
      variants, TARGET, label="entropy target", dashed=True
    )
  return picture(
    [Panel(label, [*curves, *levels])],
    OPTIMIZER_STEP,
    dashed="entropy target" if levels else "",
  )


def draw_metrics(
  variants: Variants, labels: Mapping[str, str], *, smoothing: float = 0.0
) -> Picture | None:
  """Draw several metrics against the optimizer step, a panel for each.

  Args:
    variants: all variants.
    labels: name in metrics.jsonl -> label of its y axis, with the unit.
    smoothing: the window of the running mean as a share of the run; 0: none.
  """
  panels = [
    Panel(label, metric_curves(variants, metric, smoothing=smoothing))
    for metric, label in labels.items()
  ]
  return picture(panels, OPTIMIZER_STEP)


def draw_gradient_changes(
  variants: Variants, *, smoothing: float = 0.05
) -> Picture | None:
  """Draw how far each member changes the gradient, a panel per member."""
  names = set().union(*(run.metrics for v in variants for run in v.runs))
  suffix = "/gradient_change"
  metrics = sorted(name for name in names if name.endswith(suffix))
  labels = {name: name.removesuffix(suffix) for name in metrics}
  return draw_metrics(variants, labels, smoothing=smoothing)


def draw_covariance(
  variants: Variants, *, smoothing: float = 0.05
) -> Picture | None:
  """Draw the mean covariance and its four parts.

  The parts have one panel for probable and one for rare tokens. Tokens without
  a positive advantage are dashed.
  """
  curves = functools.partial(metric_curves, variants, smoothing=smoothing)
  panels = [Panel("mean (nats)", curves("covariance/mean"))] + [
    Panel(
      f"{likelihood} tokens (nats)",
      curves(f"covariance/positive_{likelihood}", label="positive advantage")
      + curves(
        f"covariance/negative_{likelihood}",
        label="negative advantage",
        dashed=True,
      ),
    )
    for likelihood in ("probable", "rare")
  ]
  return picture(panels, OPTIMIZER_STEP, dashed=_BY_SIGN)


def draw_pair(
  variants: Variants,
  *,
  solid: tuple[str, str],
  dashed: tuple[str, str],
  label: str,
  smoothing: float = 0.05,
) -> Picture | None:
  """Draw two metrics on one axis, the second one dashed.

  Args:
    variants: all variants.
    solid: the name of the first metric in metrics.jsonl, and what it is.
    dashed: the same for the second metric.
    label: the label of the y axis, with the unit.
    smoothing: the window of the running mean as a share of the run; 0: none.
  """
  curves = functools.partial(metric_curves, variants, smoothing=smoothing)
  (first, first_label), (second, second_label) = solid, dashed
  panel = Panel(
    label,
    curves(first, label=first_label)
    + curves(second, label=second_label, dashed=True),
  )
  return picture(
    [panel], OPTIMIZER_STEP, dashed=f"{second_label} (solid: {first_label})"
  )


def draw_entropy_changes(variants: Variants) -> Picture | None:
  """Draw the measured against the predicted entropy change of rollout steps.

  The lines are regressions through the origin, over all seeds of a variant.
  """
  curves = []
  for index, variant in enumerate(variants):
    predicted, measured = variant_changes(variant)
    if not predicted.size:
      continue
    slope, *_ = line_through_origin(predicted, measured)
    ends = np.array([predicted.min(), predicted.max()])
    curves += [
      _dots(index, predicted, measured, variants),
      Curve(index, ends, slope * ends, label="regression"),
    ]
  return picture(
    [Panel("measured change (nats)", curves)],
    "predicted change (nats per unit of step)",
  )


def variant_changes(variant: Variant) -> tuple[np.ndarray, np.ndarray]:
  """Return the predicted and measured entropy changes [K] of all seeds."""
  pairs = [entropy_changes(run) for run in variant.runs]
  predicted, measured = (
    np.concatenate(part) for part in zip(*pairs, strict=True)
  )
  return predicted, measured


def draw_at_k(
  variants: Variants, *, data: str, measure: str = "pass"
) -> Picture | None:
  """Draw pass@k against k: the last evaluation, and the first one dashed.

  The last evaluation has a band: the range of the seeds or, with one seed, one
  standard error. Variants whose first evaluations are equal, as they start from
  one model, share one dashed line.

  Args:
    variants: all variants.
    data: the data set.
    measure: "pass", or "maj" for maj@k.
  """
  first, last = [], []
  for index, variant in enumerate(variants):
    ends = zip(*(evaluations(run, data) for run in variant.runs), strict=True)
    starts, finals = (
      [logged_at_k(row, data, measure) for row in e] for e in ends
    )
    start = band([(k, values) for k, values, _ in starts])
    if start.x.size:
      first.append(
        Curve(index, start.x, start.mean, label="before training", dashed=True)
      )
    final = band([(k, values) for k, values, _ in finals])
    if final.x.size:
      curve = band_curve(index, final, dots=True)
      if len(variant.runs) == 1:
        _, values, errors = finals[0]
        is_known = np.isfinite(values)  # as the curve has them
        values, errors = values[is_known], errors[is_known]
        if np.isfinite(errors).any():
          curve = curve._replace(low=values - errors, high=values + errors)
      last.append(curve)
  if len({(*curve.x, *curve.y) for curve in first}) == 1:
    first = [first[0]._replace(variant=None)]
  return picture(
    [Panel(f"{measure}@k (fraction of problems)", first + last)],
    _K_LABEL,
    dashed="before training" if first else "",
    log_ticks=sorted({int(k) for curve in first + last for k in curve.x}),
  )


def draw_pass_over_steps(variants: Variants, *, data: str) -> Picture | None:
  """Draw pass@1 and, dashed, a large pass@k over the optimizer steps.

  A second panel has maj@k of the same k.
  """
  k = large_k(variants, data)
  curves = metric_curves(
    variants, f"val/{data}/pass@1", label="pass@1", dots=True
  )
  if k > 1:
    curves += metric_curves(
      variants,
      f"val/{data}/pass@{k}",
      label=f"pass@{k}",
      dots=True,
      dashed=True,
    )
  majority = metric_curves(variants, f"val/{data}/maj@{k}", dots=True)
  return picture(
    [
      Panel("fraction of problems", curves),
      Panel(f"maj@{k} (fraction of problems)", majority),
    ],
    OPTIMIZER_STEP,
    dashed=f"pass@{k} (solid: pass@1)" if k > 1 else "",
  )


def large_k(variants: Variants, data: str) -> int:
  """Return the largest k up to 64 that any run evaluated; 1 if none did."""
  names = set().union(*(run.metrics for v in variants for run in v.runs))
  prefix = f"val/{data}/pass@"
  ends = (n.removeprefix(prefix) for n in names if n.startswith(prefix))
  ks = [int(end) for end in ends if end.isdecimal()]
  return max((k for k in ks if k <= 64), default=1)


def draw_plane(variants: Variants, *, data: str) -> Picture | None:
  """Draw a large pass@k against pass@1, with the Pareto front.

  A dot is the mean over the seeds in their last evaluation, and its bars span
  the seeds. On the dashed front are the variants that no other one beats in
  both numbers.
  """
  k = large_k(variants, data)
  if k == 1:
    return None
  curves = []
  for index, variant in enumerate(variants):
    rows = [evaluations(run, data)[1] for run in variant.runs]
    names = (f"val/{data}/pass@1", f"val/{data}/pass@{k}")
    pairs = [[row.get(name, np.nan) for name in names] for row in rows if row]
    points = np.array(pairs, np.float64).reshape(-1, 2)
    points = points[np.isfinite(points).all(axis=1)]
    if points.size:
      x, y = points.mean(axis=0)[:, None]
      x_low, low = points.min(axis=0)[:, None]
      x_high, high = points.max(axis=0)[:, None]
      seeds = np.array([len(points)])
      curve = Curve(index, x, y, low, high, seeds, line=False, dots=True)
      curves.append(curve._replace(spread="bars", x_low=x_low, x_high=x_high))
  if not curves:
    return None
  x, y = pareto_front(
    np.array([curve.x[0] for curve in curves]),
    np.array([curve.y[0] for curve in curves]),
  )
  corners = np.repeat(x, 2)[:-1], np.repeat(y, 2)[1:]
  front = Curve(None, *corners, hover=False, dashed=True)
  return picture(
    [Panel(f"pass@{k}", [front, *curves])], "pass@1", dashed="Pareto front"
  )


def pareto_front(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Return the points that no other point beats in x and y, ascending in x.

  Args:
    x: f64[K], more is better.
    y: f64[K], more is better.
  """
  order = np.lexsort((-y, -x))  # from the right, the higher ones first
  y_sorted = y[order]
  best = np.concatenate([[-np.inf], np.maximum.accumulate(y_sorted)[:-1]])
  kept = order[y_sorted > best][::-1]
  return x[kept], y[kept]


def draw_diversity(variants: Variants, *, data: str) -> Picture | None:
  """Draw how different the responses to a prompt are, over the steps."""
  labels = {
    f"val/{data}/distinct_correct": "distinct right answers per problem",
    f"val/{data}/distinct_2": "share of distinct bigrams",
    f"val/{data}/entropy": "entropy on held-out prompts (nats)",
  }
  return draw_metrics(variants, labels)


def draw_differences(comparisons: Sequence[Comparison]) -> Picture | None:
  """Draw the differences to the baseline in pass@k, with 95 % intervals."""
  curves = []
  for comparison in comparisons:
    mean, low, high = np.array(comparison.intervals).T
    seeds = np.full(comparison.k.size, comparison.seeds)
    curves.append(
      Curve(comparison.variant, comparison.k, mean, low, high, seeds, dots=True)
    )
  if not curves:
    return None
  k = np.unique(np.concatenate([curve.x for curve in curves]))
  zero = Curve(None, k[[0, -1]], np.zeros(2), hover=False, thin=True)
  return picture(
    [Panel("difference in pass@k", [zero, *curves])],
    _K_LABEL,
    log_ticks=[int(tick) for tick in k],
  )


def draw_small_multiples(
  variants: Variants, *, metric: str, label: str, smoothing: float = 0.0
) -> Picture | None:
  """Draw each variant's seeds in a panel of its own.

  The grey band spans the means of all variants.

  Args:
    variants: all variants.
    metric: its name in metrics.jsonl.
    label: the label of the y axis, with the unit.
    smoothing: the window of the running mean as a share of the run; 0: none.
  """
  bands = [metric_band(v, metric, smoothing=smoothing) for v in variants]
  every = band([(b.x, b.mean) for b in bands])
  background = Curve(
    None, every.x, every.mean, every.low, every.high, label="all variants"
  )
  panels = []
  for index, variant in enumerate(variants):
    seeds = [
      curve._replace(variant=index, label=_seed_label(run))
      for run in variant.runs
      for curve in metric_curves(
        [Variant(variant.name, (run,))], metric, smoothing=smoothing, thin=True
      )
    ]
    if seeds:
      curves = [background._replace(line=False), *seeds]
      panels.append(Panel(label, curves, title=variant.name))
  return picture(panels, OPTIMIZER_STEP, wide=True)


def _seed_label(run: RunLog) -> str:
  return run.name if run.seed is None else f"seed {run.seed}"


def draw_entropy_law(
  variants: Variants, *, fraction: float = 0.15
) -> Picture | None:
  """Draw reward against exp(entropy), with each run's fitted law as a line.

  Args:
    variants: all variants.
    fraction: the least first part of a run that is used for a forecast. The law
      that is fitted to it alone is dashed, and its points are ringed.
  """
  curves = []
  for index, variant in enumerate(variants):
    for run in variant.runs:
      entropy, reward, _, _ = law_points(run)
      if not reward.size:
        continue
      u = np.exp(entropy)
      ends = np.array([0.0, entropy.max()])
      law = fit_entropy_law(entropy, reward)
      early = forecast(entropy, reward, fraction=fraction)
      n = early.num_fitted
      curves += [
        _dots(index, u[n:], reward[n:], variants),
        _dots(index, u[:n], reward[:n], variants, rings=True),
        Curve(index, np.exp(ends), predict(law, ends), label="law"),
        Curve(
          index,
          np.exp(ends),
          predict(early.law, ends),
          label="law of the first part",
          dashed=True,
        ),
      ]
  return picture(
    [Panel("reward", curves)],
    "exp(entropy in nats); 1 = no entropy left",
    dashed="fitted to the first part (rings)",
  )


def draw_entropy_histograms(variants: Variants) -> Picture | None:
  """Draw the distribution of token entropies in the first and last step."""
  edges, curves = np.array(ENTROPY_EDGES), []
  for index, variant in enumerate(variants):
    counts = [pair for run in variant.runs if (pair := histograms(run))]
    for when, pair in enumerate(zip(*counts, strict=True)):
      shares = [count / count.sum() / np.diff(edges) for count in pair]
      share = np.mean(shares, axis=0)
      filled = int(np.flatnonzero(share)[-1]) + 1
      share[share == 0] = np.nan
      curves.append(
        Curve(
          index,
          edges[: filled + 1],
          np.append(share[:filled], share[filled - 1]),
          label=("first logged step", "last logged step")[when],
          dashed=when == 0,
          steps=True,
        )
      )
  return picture(
    [Panel("share of tokens per nat (log scale)", curves, log_y=True)],
    "token entropy (nats)",
    dashed="first logged step",
  )


def histograms(run: RunLog) -> list[np.ndarray]:
  """Return the first and the last histogram of token entropies.

  Returns:
    Two arrays [bins] of token counts over ENTROPY_EDGES; [] if none is logged.
  """
  counts = [np.array(row.get(ENTROPY_HISTOGRAM, ())) for row in run.rows]
  bins = len(ENTROPY_EDGES) - 1
  counts = [c for c in counts if c.size == bins and c.sum() > 0]
  return [counts[0], counts[-1]] if counts else []


def _dots(
  index: int, x: np.ndarray, y: np.ndarray, variants: Variants, **options
) -> Curve:
  """Return dots: all, or every second, or every third, ..."""
  num_runs = sum(len(variant.runs) for variant in variants)
  most = max(10, _MAX_DOTS // num_runs)
  thin = slice(0, None, max(1, -(-x.size // most)))
  options = {"line": False, "dots": True, "thin": x.size > 50} | options
  return Curve(index, x[thin], y[thin], **options)
