"""The ledger's part of a report: where the entropy went, update by update.

An entry of the ledger measures one optimizer step on three columns of tokens
(update/ledger_columns.py). The sections compare predicted with measured
changes, and say which tokens and which parts of a method the changes came from.
Tables are in units of 1e-4 nats per token and optimizer step. With several
seeds, the entries of all seeds are taken together.
"""

from collections.abc import Sequence
import math

import numpy as np

from entrojax.entropy.token_groups import SPLITS
from entrojax.reporting.fit_points import line_through_origin
from entrojax.reporting.formatting import number, percent, with_error
from entrojax.reporting.html_tables import html_table
from entrojax.reporting.pictures import (
  OPTIMIZER_STEP,
  Curve,
  Panel,
  Picture,
  picture,
  same_scale,
)
from entrojax.reporting.run_logs import RunLog
from entrojax.reporting.variants import Variant

_UNIT = 1e4  # one part in 10,000 of a nat is 1 in the tables
_CONTRIBUTION = "ledger/own/contribution/"
_FIRST = ("history", "policy_gradient")  # contributions that every run has

_SPLITS = {
  "by_sign": "sign of advantage x probability",
  "by_verdict": "verdict on the response",
  "by_entropy": "entropy of the token",
  "by_position": "place in the response",
}
# split -> group -> which end it is
_ENDS: dict[str, dict[str, str]] = {
  "by_sign": {},
  "by_verdict": {},
  "by_entropy": {"fifth_1": "lowest", "fifth_5": "highest"},
  "by_position": {"fifth_1": "start", "fifth_5": "end"},
}
# column -> what its tokens are called
TITLES = {
  "own": "own tokens",
  "held_back": "held-back tokens",
  "fresh": "fresh tokens",
}
PREDICTIONS = (
  "first_order",
  "trapezoid",
  "simpson",
  "covariance",
  "weighted_covariance",
)

Variants = Sequence[Variant]


def entries(run: RunLog, name: str, column: str = "own") -> np.ndarray:
  """Return a number of each entry of a run, f64[K] or f64[K, groups].

  Args:
    run: the run.
    name: the name of the number, such as measured or first_order/by_sign.
    column: one of TITLES. An entry without the column has NaN.
  """
  rows = [row for row in run.rows if "ledger/own/measured" in row]
  parts = name.partition("/by_")[2]
  empty = [math.nan] * len(SPLITS[f"by_{parts}"]) if parts else math.nan
  values = [row.get(f"ledger/{column}/{name}", empty) for row in rows]
  return np.array(values, np.float64)


def of_variant(variant: Variant, name: str, column: str = "own") -> np.ndarray:
  """Return `entries` of all seeds, one after the other."""
  parts = [entries(run, name, column) for run in variant.runs]
  return np.concatenate([part for part in parts if part.size] or [parts[0]])


def agreement(
  predicted: np.ndarray, measured: np.ndarray
) -> tuple[float, float, float]:
  """Compare predicted with measured changes of entries f64[K].

  Returns:
    The slope of measured on predicted through the origin, its standard error,
    and the correlation; NaN if there are too few entries.
  """
  kept = np.isfinite(predicted) & np.isfinite(measured)
  return line_through_origin(predicted[kept], measured[kept])


def draw_agreement(variants: Variants) -> Picture | None:
  """Draw measured against first-order changes, a panel for each column."""
  panels = []
  for column in TITLES:
    curves, ends = [], []
    for index, variant in enumerate(variants):
      x = of_variant(variant, "first_order", column)
      y = of_variant(variant, "measured", column)
      kept = np.isfinite(x) & np.isfinite(y)
      if kept.any():
        ends += [x[kept].min(), x[kept].max()]
        curves.append(Curve(index, x[kept], y[kept], line=False, dots=True))
    if curves:
      line = np.array([min(ends), max(ends)])
      equal = Curve(None, line, line, hover=False, dashed=True)
      title = TITLES[column]
      panels.append(Panel(f"measured, {title} (nats)", [equal, *curves]))
  return picture(
    panels, "first-order change (nats)", dashed="measured = first order"
  )


def agreement_table(variants: Variants) -> str:
  """Format changes and the correlations of each prediction as HTML."""
  lines = []
  for variant in variants:
    for column in TITLES:
      measured = of_variant(variant, "measured", column)
      if not np.isfinite(measured).any():
        continue
      slope, error, _ = agreement(
        of_variant(variant, "first_order", column), measured
      )
      correlations = (
        agreement(of_variant(variant, name, column), measured)[2]
        for name in PREDICTIONS
      )
      means = (
        _mean_and_error(of_variant(variant, name, column))
        for name in ("measured", "first_order", "left")
      )
      lines.append(
        [
          variant.name,
          TITLES[column],
          number(int(np.isfinite(measured).sum())),
          *means,
          with_error(slope, error),
          *map(with_error, correlations),
        ]
      )
  head = [
    *("variant", "tokens", "entries"),
    *("measured, 1e-4 nats", "first order", "residual", "slope"),
    *(f"correlation: {name.replace('_', ' ')}" for name in PREDICTIONS),
  ]
  return html_table(head, lines)


def draw_split(variants: Variants, *, split: str) -> Picture | None:
  """Draw the measured change of own tokens by group, summed over entries.

  Args:
    variants: all variants.
    split: one of SPLITS. Each group has a panel, and the panels add up.
  """
  panels = []
  for place, group in enumerate(SPLITS[split]):
    curves = []
    for index, variant in enumerate(variants):
      for run in variant.runs:
        values = entries(run, f"measured/{split}")
        if values.size:
          total = np.cumsum(values[:, place])
          curves.append(Curve(index, _steps(run), total))
    panels.append(Panel(f"{group_name(split, group)} (nats)", curves))
  return picture(same_scale(panels), OPTIMIZER_STEP)


def group_name(split: str, group: str) -> str:
  """Return what a group of a split is called, such as `fifth 1 (lowest)`."""
  name = group.replace("_", " ")
  return f"{name} ({_ENDS[split][group]})" if group in _ENDS[split] else name


def split_table(variants: Variants) -> str:
  """Format the change of each group of own tokens as HTML."""
  lines = []
  for variant in variants:
    for split, groups in SPLITS.items():
      measured, first_order, tokens = (
        of_variant(variant, f"{name}/{split}")
        for name in ("measured", "first_order", "tokens")
      )
      if not measured.size:
        continue
      lines += [
        [
          variant.name,
          _SPLITS[split],
          group_name(split, group),
          percent(float(np.nanmean(tokens[:, place]))),
          _mean_and_error(measured[:, place]),
          _mean_and_error(first_order[:, place]),
        ]
        for place, group in enumerate(groups)
      ]
  head = ["variant", "split", "group", "share of tokens"]
  return html_table([*head, "measured, 1e-4 nats", "first order"], lines)


def contributors(variant: Variant) -> list[str]:
  """List what contributes to a variant's steps, in the order of the step."""
  members = {
    key.removeprefix(_CONTRIBUTION)
    for run in variant.runs
    for key in run.metrics
    if key.startswith(_CONTRIBUTION)
  }
  objective = variant.runs[0].config.get("objective") or ()
  order = [*_FIRST, *objective, *sorted(members), "projection"]
  ordered = dict.fromkeys(name for name in order if name in members)
  if "projection" in ordered:  # it corrects the finished step
    ordered["projection"] = ordered.pop("projection")
  return list(ordered)


def draw_contributions(variants: Variants) -> Picture | None:
  """Draw the contribution of each part of the methods, summed over entries."""
  names = dict.fromkeys(name for v in variants for name in contributors(v))
  panels = []
  for name in names:
    curves = []
    for index, variant in enumerate(variants):
      for run in variant.runs:
        values = entries(run, f"contribution/{name}")
        if np.isfinite(values).any():
          total = np.cumsum(np.nan_to_num(values))
          curves.append(Curve(index, _steps(run), total))
    panels.append(Panel(f"{name} (nats)", curves))
  return picture(same_scale(panels), OPTIMIZER_STEP)


def contribution_table(variants: Variants) -> str:
  """Format the mean contribution of each part of a method as HTML."""
  lines = []
  for variant in variants:
    for name in contributors(variant):
      values = of_variant(variant, f"contribution/{name}")
      lines.append([variant.name, name, _mean_and_error(values)])
  return html_table(["variant", "part", "first order, 1e-4 nats"], lines)


def _steps(run: RunLog) -> np.ndarray:
  """Return the optimizer steps at which a run logged entries, f64[K]."""
  rows = [row for row in run.rows if "ledger/own/measured" in row]
  return np.array([row["step"] for row in rows], np.float64)


def _mean_and_error(values: np.ndarray) -> str:
  """Format the mean of entries f64[K] with its standard error, in _UNIT."""
  values = _UNIT * values[np.isfinite(values)]
  if not values.size:
    return number(math.nan)
  if values.size == 1:
    return f"{values[0]:+.2f}"
  error = values.std(ddof=1) / math.sqrt(values.size)
  return f"{values.mean():+.2f}±{error:.2f}"
