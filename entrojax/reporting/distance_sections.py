"""List the sections of a report about distances and gradients by group.

A run logs these metrics if `log.reference_kl` or `log.token_groups` is set.
"""

import functools

from entrojax.reporting.pictures import (
  OPTIMIZER_STEP,
  Panel,
  Picture,
  metric_curves,
  picture,
)
from entrojax.reporting.section import Section, Variants

_SMOOTHED = "Each point is a running mean over 5 % of the run."
_SHARES = {
  "covariance/top_0.0002": "top 0.02 %",
  "covariance/top_0.002": "top 0.2 %",
  "covariance/top_0.02": "top 2 %",
  "covariance/top_0.2": "top 20 %",
}


def distance_sections() -> list[Section]:
  """List the sections in their order."""
  return [
    _distance("base", "Distance to the base", "KL(π ‖ base)"),
    _distance("sampler", "Distance to the sampling policy", "KL(π_old ‖ π)"),
    Section(
      "Gradient norm by group of tokens",
      ("gradient_norm/positive", "gradient_norm/entropy_5"),
      "The norm of the gradient that the tokens of a group contribute. Left: "
      "positive (solid) and negative advantage (dashed). Right: the fifth of "
      "tokens with the highest (solid) and with the lowest entropy (dashed). "
      f"{_SMOOTHED}",
      functools.partial(
        _draw_pairs,
        panels={
          "by sign of the advantage": ("positive", "negative"),
          "by entropy": ("entropy_5", "entropy_1"),
        },
        prefix="gradient_norm/",
        dashed="negative, or the lowest fifth",
      ),
    ),
    Section(
      "Highest covariances",
      tuple(_SHARES),
      "The mean covariance of log-probability and advantage over the tokens "
      f"that have most of it. {_SMOOTHED}",
      _draw_covariances,
    ),
  ]


def _distance(name: str, title: str, formula: str) -> Section:
  return Section(
    title,
    (f"kl_{name}/mean",),
    f"{formula} per token of the rollouts, estimated by "
    "exp(−x) + x − 1. By entropy: the fifth of tokens with the highest (solid) "
    "and with the lowest entropy (dashed). By position: the last (solid) and "
    f"the first fifth of the responses (dashed). {_SMOOTHED}",
    functools.partial(
      _draw_pairs,
      panels={
        "all tokens (nats)": ("mean", ""),
        "by entropy (nats)": ("entropy_5", "entropy_1"),
        "by position (nats)": ("position_5", "position_1"),
      },
      prefix=f"kl_{name}/",
      dashed="the lowest, or the first fifth",
    ),
  )


def _draw_pairs(
  variants: Variants,
  *,
  panels: dict[str, tuple[str, str]],
  prefix: str,
  dashed: str,
) -> Picture | None:
  """Draw a panel for each pair of metrics, the second one dashed; "": none."""
  curves = functools.partial(metric_curves, variants, smoothing=0.05)
  parts = [
    Panel(
      label,
      curves(prefix + solid, label=solid)
      + (curves(prefix + other, label=other, dashed=True) if other else []),
    )
    for label, (solid, other) in panels.items()
  ]
  return picture(parts, OPTIMIZER_STEP, dashed=dashed)


def _draw_covariances(variants: Variants) -> Picture | None:
  """Draw the mean of the highest covariances, a panel for each share."""
  panels = [
    Panel(f"{label} (nats)", metric_curves(variants, name, smoothing=0.05))
    for name, label in _SHARES.items()
  ]
  return picture(panels, OPTIMIZER_STEP)
