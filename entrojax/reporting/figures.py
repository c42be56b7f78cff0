"""Draw pictures of runs from their logs.

Each `draw_*` function takes the logs of all runs and returns an SVG document,
or None if no run logged what the picture shows. plotting.py decides how the
pictures look, and report_sections.py gives them captions.
"""

from collections.abc import Sequence
import functools

import numpy as np

from entrojax.entropy.law import fit_entropy_law, forecast, predict
from entrojax.metrics import ENTROPY_EDGES, ENTROPY_HISTOGRAM
from entrojax.reporting.fit_points import (
  entropy_changes,
  law_points,
  line_through_origin,
)
from entrojax.reporting.plotting import (
  GREY,
  OPTIMIZER_STEP,
  Curve,
  Panel,
  draw_dots,
  draw_panels,
  look,
  metric_curves,
  new_figure,
  style,
  to_svg,
)
from entrojax.reporting.run_logs import (
  TARGET,
  RunLog,
  evaluations,
  pass_at_k,
)

_BY_SIGN = "negative advantage (solid: positive)"


def draw_metric(
  runs: Sequence[RunLog],
  *,
  metric: str,
  label: str,
  smoothing: float = 0.0,
  targets: bool = False,
) -> str | None:
  """Draw one metric against the optimizer step.

  Args:
    runs: all runs.
    metric: its name in metrics.jsonl.
    label: the label of the y axis, with the unit.
    smoothing: the window of the running mean as a share of the run; 0: none.
    targets: if True, the entropy targets are drawn as dashed lines.
  """
  curves = metric_curves(runs, metric, smoothing=smoothing)
  levels = [(i, run.target) for i, run in enumerate(runs) if run.target]
  levels = levels if targets else []
  moving = metric_curves(runs, TARGET, dashed=True) if targets else []
  dashed = "entropy target" if levels or moving else ""
  panel = Panel(label, curves + moving, levels)
  return draw_panels(runs, [panel], x_label=OPTIMIZER_STEP, dashed=dashed)


def draw_control(runs: Sequence[RunLog]) -> str | None:
  """Draw the controller's coefficient, error and integral, a panel for each."""
  units = {"coefficient": "", "error": " (nats)", "integral": " (nats)"}
  panels = [
    Panel(name + unit, metric_curves(runs, f"control/{name}"))
    for name, unit in units.items()
  ]
  panels = [panel for panel in panels if panel.curves]
  return draw_panels(runs, panels, x_label=OPTIMIZER_STEP)


def draw_covariance(
  runs: Sequence[RunLog], *, smoothing: float = 0.05
) -> str | None:
  """Draw the mean covariance and its four parts.

  The parts have one panel for probable and one for rare tokens. Tokens without
  a positive advantage are dashed.
  """
  curves = functools.partial(metric_curves, runs, smoothing=smoothing)
  panels = [Panel("mean (nats)", curves("covariance/mean"))] + [
    Panel(
      f"{likelihood} tokens (nats)",
      curves(f"covariance/positive_{likelihood}")
      + curves(f"covariance/negative_{likelihood}", dashed=True),
    )
    for likelihood in ("probable", "rare")
  ]
  return draw_panels(
    runs,
    [panel for panel in panels if panel.curves],
    x_label=OPTIMIZER_STEP,
    dashed=_BY_SIGN,
  )


def draw_entropy_by_sign(
  runs: Sequence[RunLog], *, smoothing: float = 0.05
) -> str | None:
  """Draw the entropy of tokens by the sign of their advantage."""
  curves = functools.partial(metric_curves, runs, smoothing=smoothing)
  panel = Panel(
    "entropy (nats)",
    curves("entropy/positive") + curves("entropy/negative", dashed=True),
  )
  return draw_panels(runs, [panel], x_label=OPTIMIZER_STEP, dashed=_BY_SIGN)


def draw_entropy_changes(runs: Sequence[RunLog]) -> str | None:
  """Draw the measured against the predicted entropy change of rollout steps.

  The lines are regressions through the origin.
  """
  points = {i: entropy_changes(run) for i, run in enumerate(runs)}
  points = {i: pair for i, pair in points.items() if pair[0].size}
  if not points:
    return None
  with style():
    figure, axes = new_figure()
    axes.axhline(0.0, color=GREY, lw=0.8)
    axes.axvline(0.0, color=GREY, lw=0.8)
    for run_index, (predicted, measured) in points.items():
      color, line = look(run_index)
      draw_dots(axes, predicted, measured, color)
      slope, *_ = line_through_origin(predicted, measured)
      ends = np.array([predicted.min(), predicted.max()])
      axes.plot(ends, slope * ends, color=color, ls=line, lw=2)
    axes.set_xlabel("predicted: −mean covariance (nats per unit of step)")
    axes.set_ylabel("measured change (nats)")
    return to_svg(figure, runs, points)


def draw_pass_at_k(runs: Sequence[RunLog], *, data: str) -> str | None:
  """Draw pass@k and, below, maj@k against k.

  The last evaluation has a band of one standard error; the first one is dashed.
  """
  panels = [
    Panel("pass@k (fraction of problems)", _curves_over_k(runs, data, "pass")),
    Panel("maj@k (fraction of problems)", _curves_over_k(runs, data, "maj")),
  ]
  panels = [panel for panel in panels if panel.curves]
  curves = [curve for panel in panels for curve in panel.curves]
  return draw_panels(
    runs,
    panels,
    x_label="k, samples per problem (log scale)",
    dashed="before training" if any(c.dashed for c in curves) else "",
    log_ticks=sorted({int(k) for curve in curves for k in curve.x}),
  )


def _curves_over_k(
  runs: Sequence[RunLog], data: str, metric: str
) -> list[Curve]:
  """Return the curves of pass@k or maj@k in the first and last evaluations.

  Runs whose first evaluations are equal, as they start from one model, share
  one dashed line.
  """
  first, last = [], []
  for run_index, run in enumerate(runs):
    start, end = evaluations(run, data)
    k, values, _ = pass_at_k(start, data, metric)
    if k.size:
      first.append(Curve(run_index, k, values, dashed=True))
    k, values, errors = pass_at_k(end, data, metric)
    if k.size:
      last.append(Curve(run_index, k, values, errors, marker="o"))
  if len({(*curve.x, *curve.y) for curve in first}) == 1:
    first = [first[0]._replace(run_index=None)]
  return first + last


def draw_pass_over_steps(runs: Sequence[RunLog], *, data: str) -> str | None:
  """Draw pass@1 and, dashed, a large pass@k; below, maj@k of the same k."""
  k = large_k(runs, data)
  curves = metric_curves(runs, f"val/{data}/pass@1", marker="o")
  majority = []
  if k > 1:
    curves += metric_curves(
      runs, f"val/{data}/pass@{k}", marker="o", dashed=True
    )
    majority = metric_curves(runs, f"val/{data}/maj@{k}", marker="o")
  panels = [
    Panel("fraction of problems", curves),
    Panel(f"maj@{k} (fraction of problems)", majority),
  ]
  return draw_panels(
    runs,
    [panel for panel in panels if panel.curves],
    x_label=OPTIMIZER_STEP,
    dashed=f"pass@{k} (solid: pass@1)" if k > 1 else "",
  )


def large_k(runs: Sequence[RunLog], data: str) -> int:
  """Return the largest k up to 64 that any run evaluated; 1 if none did."""
  ks = {int(k) for run in runs for r in run.rows for k in pass_at_k(r, data)[0]}
  return max((k for k in ks if k <= 64), default=1)


def draw_entropy_law(
  runs: Sequence[RunLog], *, fraction: float = 0.15
) -> str | None:
  """Draw reward against exp(entropy), with the fitted law as a line.

  Args:
    runs: all runs.
    fraction: the first part of a run. The law that is fitted to it alone is
      dashed, and its points are ringed.
  """
  points = {i: law_points(run) for i, run in enumerate(runs)}
  points = {i: p for i, p in points.items() if p.reward.size}
  if not points:
    return None
  with style():
    figure, axes = new_figure()
    for run_index, (entropy, reward, _) in points.items():
      color, line = look(run_index)
      u = np.exp(entropy)
      draw_dots(axes, u, reward, color)
      ends = np.array([0.0, entropy.max()])
      law = fit_entropy_law(entropy, reward)
      axes.plot(np.exp(ends), predict(law, ends), color=color, ls=line, lw=2)
      early = forecast(entropy, reward, fraction=fraction)
      first = slice(0, early.num_fitted)
      draw_dots(axes, u[first], reward[first], color, ms=5, alpha=1, mfc="none")
      axes.plot(
        np.exp(ends), predict(early.law, ends), color=color, ls="--", lw=1.3
      )
    axes.set_xlabel("exp(entropy), entropy in nats; 1 = no entropy left")
    axes.set_ylabel("reward")
    dashed = f"fitted to the first {100 * fraction:g} % (rings)"
    return to_svg(figure, runs, points, dashed)


def draw_entropy_histograms(runs: Sequence[RunLog]) -> str | None:
  """Draw the distribution of token entropies in the first and last step."""
  counts = {i: histograms(run) for i, run in enumerate(runs)}
  counts = {i: pair for i, pair in counts.items() if pair}
  if not counts:
    return None
  edges = np.array(ENTROPY_EDGES)
  with style():
    figure, axes = new_figure()
    for run_index, (first, last) in counts.items():
      color, line = look(run_index)
      for count, ls in ((first, "--"), (last, line)):
        share = count / count.sum() / np.diff(edges)
        share[share == 0] = np.nan
        axes.stairs(share, edges, color=color, ls=ls, lw=1.6)
    filled = np.any([c > 0 for pair in counts.values() for c in pair], axis=0)
    axes.set(yscale="log", xlim=(0, edges[1:][filled].max()))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(lambda value, _: "")
    axes.set_xlabel("token entropy (nats)")
    axes.set_ylabel("share of tokens per nat (log scale)")
    return to_svg(figure, runs, counts, "first logged step")


def histograms(run: RunLog) -> list[np.ndarray]:
  """Return the first and the last histogram of token entropies.

  Returns:
    Two arrays [bins] of token counts over ENTROPY_EDGES; [] if none is logged.
  """
  counts = [np.array(row.get(ENTROPY_HISTOGRAM, ())) for row in run.rows]
  bins = len(ENTROPY_EDGES) - 1
  counts = [c for c in counts if c.size == bins and c.sum() > 0]
  return [counts[0], counts[-1]] if counts else []
