"""Compute where the entropy of responses is, token by token.

The entropy of a token is the entropy of the distribution that it was sampled
from. Policy and base are compared on the same text, which the policy sampled.
Every function takes the tokens of one evaluation, or of the same evaluation of
several seeds (`pool`), and returns numbers or arrays of numpy. Entropies are in
nats.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from entrojax.reporting.token_logs import TokenSamples

SHARE = 0.2  # of the tokens: those with the highest entropy are the forks
THRESHOLDS = (0.01, 0.1, 0.5, 1.0, 2.0)  # nats
PERCENTILES = 20  # parts of the tokens by their entropy under the base
POSITIONS = 50  # at most this many bins of positions


class Tokens(NamedTuple):
  """N tokens of one or more evaluations."""

  ids: np.ndarray  # i32[N]
  position: np.ndarray  # i64[N], in the response, from 0
  entropy: np.ndarray  # f64[N], of the policy
  base_entropy: np.ndarray  # f64[N], of the base
  log_ratio: np.ndarray  # f64[N], log-prob under the policy minus the base's
  top: np.ndarray  # f64[N, K], probabilities of the likeliest candidates


class Fork(NamedTuple):
  """One token of the vocabulary, and the entropy where it was sampled."""

  token: int
  times: int  # how often it was sampled
  mean_entropy: float
  share: float  # of the entropy of all tokens


def pool(samples: Sequence[TokenSamples]) -> Tokens:
  """Put the tokens of several evaluations one after the other."""
  wide = lambda parts: np.concatenate(
    [np.asarray(x, np.float64) for x in parts]
  )
  starts = [np.repeat(s.ends - s.lengths, s.lengths) for s in samples]
  fewest = min(s.top.shape[1] for s in samples)
  return Tokens(
    ids=np.concatenate([s.ids for s in samples]),
    position=np.concatenate(
      [np.arange(s.ids.size) - a for s, a in zip(samples, starts, strict=True)]
    ),
    entropy=wide([s.entropy for s in samples]),
    base_entropy=wide([s.base_entropy for s in samples]),
    log_ratio=wide([s.log_probs - s.base_log_probs for s in samples]),
    top=np.exp(wide([s.top[:, :fewest] for s in samples])),
  )


def forks(tokens: Tokens) -> list[Fork]:
  """List the tokens of the vocabulary by the entropy that they carry."""
  ids, inverse, counts = np.unique(
    tokens.ids, return_inverse=True, return_counts=True
  )
  sums = np.bincount(inverse, tokens.entropy, ids.size)
  total = sums.sum() or np.nan
  order = np.argsort(-sums, kind="stable")
  return [
    Fork(int(ids[i]), int(counts[i]), sums[i] / counts[i], sums[i] / total)
    for i in order
  ]


def highest(values: np.ndarray, share: float = SHARE) -> np.ndarray:
  """Mark the share of values f[N] that are highest; of equal ones the first."""
  number = round(share * values.size)
  marked = np.zeros(values.size, bool)
  marked[np.argsort(-values, kind="stable")[:number]] = True
  return marked


def overlap(tokens: Tokens) -> float:
  """Compute which share of the policy's forks are forks of the base, too.

  Both are the SHARE of positions with the highest entropy, on the same text.
  Chance alone gives SHARE.
  """
  own, base = highest(tokens.entropy), highest(tokens.base_entropy)
  return float((own & base).sum() / own.sum()) if own.any() else np.nan


def shares_above(tokens: Tokens) -> np.ndarray:
  """Compute the share of tokens whose entropy is above each of THRESHOLDS."""
  if not tokens.entropy.size:
    return np.full(len(THRESHOLDS), np.nan)
  above = tokens.entropy[:, None] > np.array(THRESHOLDS)
  return above.mean(axis=0)


def change_by_percentile(tokens: Tokens) -> tuple[np.ndarray, np.ndarray]:
  """Compute the change of entropy against the base by the base's entropy.

  Returns:
    The middle of each percentile range of the base's entropy, in percent, and
    the mean of entropy minus base entropy there, nats.
  """
  order = np.argsort(tokens.base_entropy, kind="stable")
  change = (tokens.entropy - tokens.base_entropy)[order]
  number = min(PERCENTILES, change.size)
  parts = np.array_split(change, number) if number else []
  middle = 100 * (np.arange(number) + 0.5) / max(number, 1)
  return middle, np.array([part.mean() for part in parts])


def by_position(
  tokens: Tokens, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Average values f[N] over bins of positions of equal width.

  Returns:
    The first position of each bin with tokens, from 1, and the mean there.
  """
  longest = int(tokens.position.max(initial=-1)) + 1
  width = max(1, -(-longest // POSITIONS))
  bins = tokens.position // width
  counts = np.bincount(bins)
  kept = np.flatnonzero(counts)
  means = np.bincount(bins, values)[kept] / counts[kept]
  return 1 + width * kept, means


def entropy_curve(tokens: Tokens) -> tuple[np.ndarray, np.ndarray]:
  """Compute how much of the entropy the tokens of highest entropy hold.

  Returns:
    Shares of the tokens in percent, 0 to 100, and the percentage of the whole
    entropy that this share of the tokens holds.
  """
  descending = np.sort(tokens.entropy)[::-1]
  held = np.concatenate([[0.0], np.cumsum(descending)])
  percent = np.arange(101)
  at = percent / 100 * descending.size
  return percent, 100 * np.interp(at, np.arange(held.size), held) / (
    held[-1] or np.nan
  )


def candidates(tokens: Tokens, marked: np.ndarray | None = None) -> np.ndarray:
  """Compute the mean probability f[K] of the k-th likeliest candidate.

  Args:
    tokens: N tokens.
    marked: bool[N], the tokens that count; None: all.
  """
  top = tokens.top if marked is None else tokens.top[marked]
  return top.mean(axis=0) if len(top) else np.full(top.shape[1], np.nan)
