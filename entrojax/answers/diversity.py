"""How different texts are, and which of them stand for all.

    distinct-n = different n-grams of words / all n-grams of words

Li et al., arXiv 1510.03055. It falls with the amount of text: compare sets of
one size. `spread_rows` clusters embeddings by k-means and takes the text
nearest to each centre: some 600 of 17,000 prompts chosen so trained about as
well as all of them (arXiv 2511.05993).
"""

from collections.abc import Sequence
import re

import numpy as np

_WORD = re.compile(r"\w+|[^\w\s]")  # also each other sign
_NUM_FEATURES = 1024
_CHARACTERS = (3, 4, 5)  # of an n-gram
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd: 2^64 / the golden ratio
_MAX_PASSES = 100  # of k-means


def distinct_n(texts: Sequence[str], n: int) -> float:
  """Returns the share of n-grams of words that are different; 0 of none."""
  grams = [
    tuple(words[i : i + n])
    for words in map(_WORD.findall, texts)
    for i in range(len(words) - n + 1)
  ]
  return len(set(grams)) / max(len(grams), 1)


def ngram_embedding(texts: Sequence[str]) -> np.ndarray:
  """Embeds texts by the characters' n-grams, hashed, as tf-idf.

    x_j = log(1 + count of j) log(N / texts that have j),   then |x| = 1

  For n = 3, 4, 5, in lower case. It needs no model, and tells wordings apart,
  not meanings.

  Args:
    texts: N of them.

  Returns:
    f32[N, 1024], of length 1; 0 for a text without an n-gram of its own.
  """
  counts = np.stack([_hashed_counts(text.lower()) for text in texts])
  have = np.count_nonzero(counts, axis=0)
  weights = np.log(len(texts) / np.maximum(have, 1))
  found = np.log1p(counts) * weights.astype(np.float32)
  lengths = np.linalg.norm(found, axis=1, keepdims=True)
  return found / np.maximum(lengths, np.finfo(np.float32).tiny)


def _hashed_counts(text: str) -> np.ndarray:
  """Counts the n-grams of a text's bytes by their hashes, f32[1024]."""
  data = np.frombuffer(text.encode("utf-8", "replace"), np.uint8)
  data = data.astype(np.uint64) + np.uint64(1)  # a zero byte counts as well
  counts = np.zeros(_NUM_FEATURES, np.float32)
  for n in _CHARACTERS:
    if len(data) < n:
      break
    hashes = np.zeros(len(data) - n + 1, np.uint64)
    for i in range(n):  # uint64 wraps around
      hashes = (hashes + data[i : len(data) - n + 1 + i]) * _FACTOR
      hashes ^= hashes >> np.uint64(29)
    rows = (hashes % np.uint64(_NUM_FEATURES)).astype(np.int64)
    counts += np.bincount(rows, minlength=_NUM_FEATURES)
  return counts


def spread_rows(embeddings: np.ndarray, size: int, *, seed: int) -> np.ndarray:
  """Returns the rows nearest to the centres of `size` clusters, sorted.

  k-means++ (Arthur and Vassilvitskii, 2007), then Lloyd's passes until no row
  changes its cluster, 100 at most. Rows are distinct: of two centres with one
  nearest row the later takes its next.

  Args:
    embeddings: f[N, D].
    size: of the subset, 1 <= size <= N.
    seed: of the first centres.

  Raises:
    ValueError: there are fewer rows, or a number is not finite.
  """
  points = np.asarray(embeddings, np.float32)
  if not 1 <= size <= len(points):
    raise ValueError(f"size must lie in [1, {len(points)} rows], got {size}")
  if not np.isfinite(points).all():
    raise ValueError("embeddings are not finite")
  centres = _first_centres(points, size, np.random.default_rng(seed))
  before = None
  for _ in range(_MAX_PASSES):
    distances = _squared_distances(points, centres)
    nearest = distances.argmin(axis=1)
    if before is not None and np.array_equal(nearest, before):
      break
    before = nearest
    centres = _means(points, nearest, centres)
  distances = _squared_distances(points, centres)
  rows = np.empty(size, np.int64)
  for j in range(size):
    rows[j] = distances[:, j].argmin()
    distances[rows[j]] = np.inf
  return np.sort(rows)


def _first_centres(
  points: np.ndarray, size: int, rng: np.random.Generator
) -> np.ndarray:
  """Draws rows with a probability of their squared distance to those drawn."""
  rows = [int(rng.integers(len(points)))]
  closest = _squared_distances(points, points[rows])[:, 0]
  while len(rows) < size:
    total = closest.sum(dtype=np.float64)
    # 0: every row equals one of those drawn
    chances = closest.astype(np.float64) / total if total > 0 else None
    rows.append(int(rng.choice(len(points), p=chances)))
    closest = np.minimum(
      closest, _squared_distances(points, points[rows[-1:]])[:, 0]
    )
  return points[rows]


def _squared_distances(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
  """Returns f32[N, K], never below 0."""
  norms = [np.square(x).sum(axis=1) for x in (points, centres)]
  found = norms[0][:, None] + norms[1] - 2 * points @ centres.T
  return np.maximum(found, 0)


def _means(
  points: np.ndarray, nearest: np.ndarray, centres: np.ndarray
) -> np.ndarray:
  """Returns the mean of each cluster; an empty one keeps its centre."""
  order = np.argsort(nearest, kind="stable")
  found, first = np.unique(nearest[order], return_index=True)
  sums = np.add.reduceat(points[order], first, axis=0)
  counts = np.diff(np.append(first, len(points)))
  means = centres.copy()
  means[found] = sums / counts[:, None]
  return means
