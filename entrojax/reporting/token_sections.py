"""List the sections of a report about the tokens that evaluations keep."""

from collections.abc import Sequence
import functools

import numpy as np

from entrojax.reporting import token_figures
from entrojax.reporting.formatting import (
  number,
  over_seeds,
  percent,
  with_error,
)
from entrojax.reporting.html_tables import html_table
from entrojax.reporting.section import Section, Variants
from entrojax.reporting.token_logs import TokenSamples
from entrojax.reporting.token_statistics import (
  SHARE,
  THRESHOLDS,
  Fork,
  forks,
  overlap,
  pool,
  shares_above,
)
from entrojax.reporting.variants import Variant
from entrojax.system.terminal import harmless

_FORKS = 12  # tokens of each evaluation that the table has
_LONGEST = 40  # characters of a token in a table
_PERCENT = f"{100 * SHARE:.0f} %"


def token_sections(variants: Variants, data: Sequence[str]) -> list[Section]:
  """List the sections of each evaluation set whose tokens any run has kept."""
  return [
    section
    for name in data
    if token_figures.has_tokens(variants, name)
    for section in _sections(name, f": {name}")
  ]


def _sections(data: str, suffix: str) -> list[Section]:
  return [
    Section(
      f"Tokens that carry the entropy{suffix}",
      (),
      "How much of all entropy the tokens of highest entropy hold. The table "
      "lists the tokens of the vocabulary whose positions hold the most: the "
      "forks, where the policy decides. The entropy is of the distribution "
      "that the token was sampled from. The change is of count x mean "
      "entropy. ␣ is a space, and ⏎ ends a line.",
      functools.partial(token_figures.draw_entropy_curve, data=data),
      functools.partial(forks_table, data=data),
    ),
    Section(
      f"Change of token entropy{suffix}",
      (),
      "Across: tokens of the last evaluation, in twenty equal parts by the "
      "entropy that the base has at the same place of the same text. Up: the "
      "mean of the policy's entropy minus the base's. The table has the share "
      f"of the {_PERCENT} of positions with the highest entropy that are also "
      f"among the base's {_PERCENT} (chance alone gives {_PERCENT}), and the "
      "shares of tokens whose entropy is above thresholds, in the first and in "
      "the last evaluation.",
      functools.partial(token_figures.draw_changes, data=data),
      functools.partial(shares_table, data=data),
    ),
    Section(
      f"Tokens by position{suffix}",
      (),
      "Means over the responses that are long enough. The log-ratio compares "
      "the policy with the base on the same text, in the last evaluation; "
      "averaged over the policy's own samples it is their KL divergence.",
      functools.partial(token_figures.draw_positions, data=data),
    ),
    Section(
      f"The k-th candidate{suffix}",
      (),
      "The mean probability of the k-th likeliest next token, over all tokens "
      f"and over the {_PERCENT} of tokens with the highest entropy.",
      functools.partial(token_figures.draw_candidates, data=data),
    ),
  ]


def forks_table(variants: Variants, *, data: str) -> str:
  """Format the tokens that carry the most entropy, at start and end."""
  return html_table(*fork_lines(variants, data))


def fork_lines(
  variants: Variants, data: str
) -> tuple[list[str], list[list[str]]]:
  """Return head and lines of the table of forks."""
  head = ["token", "variant"]
  for when in ("start", "end"):
    head += [f"count, {when}", f"mean entropy, {when}", f"share, {when}"]
  head.append("change (nats)")
  own: dict[str, tuple[dict[int, Fork], dict[int, Fork]]] = {}
  names: dict[int, str] = {}
  for variant in variants:
    pair = token_figures.pooled(variant, data)
    if pair is not None:
      first, last = ({f.token: f for f in forks(tokens)} for tokens in pair)
      own[variant.name] = first, last
      names |= _names(variant, data)
  shown = dict.fromkeys(
    token
    for first, last in own.values()
    for tokens in (last, first)
    for token in [*tokens][:_FORKS]
  )
  lines = []
  for name, (first, last) in own.items():
    for token in shown:
      before, after = first.get(token), last.get(token)
      if before or after:
        change = _sum(after) - _sum(before)
        cells = [*_cells(before), *_cells(after), f"{change:+.2f}"]
        lines.append([visible(names[token], _LONGEST), name, *cells])
  return head, lines


def _sum(fork: Fork | None) -> float:
  """Return the sum of the entropy over a token's positions, nats."""
  return 0.0 if fork is None else fork.times * fork.mean_entropy


def _cells(fork: Fork | None) -> list[str]:
  if fork is None:
    return ["0", "–", "–"]
  share = f"{100 * fork.share:.1f} %"
  return [number(fork.times), with_error(fork.mean_entropy), share]


def _names(variant: Variant, data: str) -> dict[int, str]:
  return {
    token: name
    for run in variant.runs
    for pair in run.tokens
    for samples in pair
    if samples.data == data
    for token, name in samples.names.items()
  }


def visible(text: str, longest: int) -> str:
  """Return a token's text with its spaces and control characters visible."""
  rest = len(text) - longest
  shown = text[:longest].replace(" ", "␣").replace("\n", "⏎")
  return harmless(shown) + (f"… ({rest:,} more)" if rest > 0 else "")


def shares_table(variants: Variants, *, data: str) -> str:
  """Format overlap with the base and shares above thresholds as HTML."""
  return html_table(*share_lines(variants, data))


def share_lines(
  variants: Variants, data: str
) -> tuple[list[str], list[list[str]]]:
  """Return head and lines of the table of overlap and shares."""
  heads = [f"same {_PERCENT} as the base"]
  heads += [f"entropy > {threshold:g}" for threshold in THRESHOLDS]
  lines = []
  for variant in variants:
    pairs = [p for run in variant.runs for p in run.tokens if p[0].data == data]
    if pairs:
      first, last = (
        [_shares(samples) for samples in side]
        for side in zip(*pairs, strict=True)
      )
      cells = [
        f"{_over(first, column)} → {_over(last, column)}"
        for column in range(len(heads))
      ]
      lines.append([variant.name, *cells])
  return ["variant", *heads], lines


def _shares(samples: TokenSamples) -> np.ndarray:
  """Return the overlap with the base and the shares above thresholds."""
  tokens = pool([samples])
  return np.array([overlap(tokens), *shares_above(tokens)])


def _over(seeds: Sequence[np.ndarray], column: int) -> str:
  values = [float(values[column]) for values in seeds]
  return over_seeds([(value, percent(value)) for value in values])
