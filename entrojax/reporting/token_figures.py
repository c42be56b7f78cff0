"""Draw pictures of the tokens that evaluations keep.

Each function takes all variants and the name of an evaluation set, and returns
a `Picture`, or None if no run has kept tokens of this set. The tokens of all
seeds of a variant count alike. Solid lines are the last evaluation and dashed
lines the first one.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from entrojax.reporting.pictures import Curve, Panel, Picture, picture
from entrojax.reporting.token_statistics import (
  SHARE,
  Tokens,
  by_position,
  candidates,
  change_by_percentile,
  entropy_curve,
  highest,
  pool,
)
from entrojax.reporting.variants import Variant

Variants = Sequence[Variant]

_START = "the first evaluation (solid: the last one)"


def pooled(variant: Variant, data: str) -> tuple[Tokens, Tokens] | None:
  """Return the tokens in the first and in the last evaluation of all seeds.

  None: no run has kept tokens of this set.
  """
  pairs = [
    pair for run in variant.runs for pair in run.tokens if pair[0].data == data
  ]
  if not pairs:
    return None
  first, last = zip(*pairs, strict=True)
  return pool(first), pool(last)


def has_tokens(variants: Variants, data: str) -> bool:
  """Return whether any run has kept tokens of an evaluation set."""
  return any(
    first.data == data
    for variant in variants
    for run in variant.runs
    for first, _ in run.tokens
  )


def _each(
  variants: Variants, data: str
) -> Iterator[tuple[int, tuple[Tokens, Tokens]]]:
  for index, variant in enumerate(variants):
    if pair := pooled(variant, data):
      yield index, pair


def _curves(
  variants: Variants,
  data: str,
  curve_of: Callable[[Tokens], tuple[np.ndarray, np.ndarray]],
) -> list[Curve]:
  """Return a solid curve of the end and a dashed one of the start for each."""
  curves = []
  for index, (first, last) in _each(variants, data):
    for tokens, dashed in ((last, False), (first, True)):
      label = "first evaluation" if dashed else ""
      curves.append(Curve(index, *curve_of(tokens), label=label, dashed=dashed))
  return curves


def draw_changes(variants: Variants, *, data: str) -> Picture | None:
  """Draw the change of entropy by the percentile of the base's entropy."""
  curves = [
    Curve(index, *change_by_percentile(last), dots=True)
    for index, (_, last) in _each(variants, data)
  ]
  label = "entropy − base's entropy (nats)"
  return picture(
    [Panel(label, curves)], "percentile of the base's token entropy"
  )


def draw_positions(variants: Variants, *, data: str) -> Picture | None:
  """Draw entropy and log-ratio to the base by the position in the response."""
  panels = [
    Panel(
      "entropy (nats)",
      _curves(variants, data, lambda t: by_position(t, t.entropy)),
    ),
    Panel(
      "log π − log base (nats)",
      [
        Curve(index, *by_position(last, last.log_ratio))
        for index, (_, last) in _each(variants, data)
      ],
    ),
  ]
  return picture(panels, "position in the response (tokens)", dashed=_START)


def draw_entropy_curve(variants: Variants, *, data: str) -> Picture | None:
  """Draw how much of the entropy the tokens of highest entropy hold."""
  curves = _curves(variants, data, entropy_curve)
  return picture(
    [Panel("% of the entropy", curves)],
    "% of the tokens, highest entropy first",
    dashed=_START,
  )


def draw_candidates(variants: Variants, *, data: str) -> Picture | None:
  """Draw the mean probability of the k-th likeliest candidate."""

  def curve_of(tokens: Tokens, marked: np.ndarray | None = None):
    values = candidates(tokens, marked)
    return np.arange(1, values.size + 1), values

  panels = [
    Panel("all tokens", _curves(variants, data, curve_of), log_y=True),
    Panel(
      f"the {100 * SHARE:.0f} % of highest entropy",
      _curves(variants, data, lambda t: curve_of(t, highest(t.entropy))),
      log_y=True,
    ),
  ]
  return picture(panels, "k, candidates by probability", dashed=_START)
