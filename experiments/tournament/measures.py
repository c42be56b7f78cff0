"""Numbers of an entry's kept lines, and how two entries differ in them."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from entrojax.answers.pass_at_k import pass_at_k
from entrojax.reporting.differences import Estimate, paired_estimate
from experiments.tournament.lines import Line
from experiments.tournament.rule import BASELINE

ENTROPY = "entropy"

Lines = Mapping[str, Line]  # by the names of their runs


def of_entry(lines: Lines, entry: str) -> dict[int, Line]:
  """Return the kept lines of an entry by seed."""
  own = [line for line in lines.values() if line.entry == entry]
  return {line.seed: line for line in sorted(own, key=lambda l: l.seed)}


def steps_of(lines: Lines, entry: str) -> int:
  """Return the rollout steps of an entry's runs; 0 without any."""
  return next((line.steps for line in of_entry(lines, entry).values()), 0)


def values(runs: Mapping[int, Line], measure: str) -> np.ndarray:
  """Return a measure of the last evaluation for each seed, f64[S]."""
  own = [line.end.get(measure) for line in runs.values()]
  return np.array([np.nan if x is None else x for x in own], np.float64)


def mean_of(lines: Lines, name: str, measure: str) -> float:
  """Return the mean of a measure over an entry's seeds; NaN without any."""
  measured = values(of_entry(lines, name), measure)
  return float(measured.mean()) if measured.size else float("nan")


def start_of(lines: Lines, measure: str) -> np.ndarray:
  """Return a measure of the base for each seed, from GRPO's runs, f64[S]."""
  own = {
    line.seed: line.start[measure]
    for line in lines.values()
    if line.method == BASELINE
  }
  return np.array([*own.values()], np.float64)


def starts_of(lines: Lines, name: str, measure: str) -> np.ndarray:
  """Return a measure before the first step of an entry's runs, f64[S]."""
  runs = of_entry(lines, name).values()
  return np.array([line.start[measure] for line in runs], np.float64)


def finite_mean(own: np.ndarray) -> float:
  """Average the finite values; NaN without any."""
  finite = own[np.isfinite(own)]
  return float(finite.mean()) if finite.size else float("nan")


def ranked(
  names: Sequence[str], scores: Mapping[str, float | None]
) -> list[str]:
  """Sort names by descending score; those without a score come last."""

  def key(name: str) -> tuple[bool, float]:
    score = scores.get(name)
    absent = score is None or not np.isfinite(score)
    return absent, 0.0 if absent or score is None else -score

  return sorted(names, key=key)


def difference(
  own: Mapping[int, Line], other: Mapping[int, Line], k: int
) -> Estimate | None:
  """Estimate how two entries differ in pass@k, paired by seed and prompt.

  Args:
    own: the lines of one entry, by seed.
    other: the lines of the other.
    k: at most the number of samples.

  Returns:
    own minus other; None without a seed in common.

  Raises:
    ValueError: two runs were evaluated on different prompts.
  """
  pairs = [(own[seed], other[seed]) for seed in own if seed in other]
  if not pairs:
    return None
  rows = []
  for one, two in pairs:
    if one.right["prompts"] != two.right["prompts"]:
      raise ValueError(f"{one.name} and {two.name} have different prompts")
    rows.append(_pass(one, k) - _pass(two, k))
  return paired_estimate(np.array(rows))


def _pass(line: Line, k: int) -> np.ndarray:
  """Return pass@k of each prompt, f64[Q]."""
  return pass_at_k(line.right["num_samples"], line.counts(), k)


def samples(lines: Lines, name: str, baseline: str) -> float | None:
  """Return the responses sampled per rollout step, relative to GRPO's."""
  own, other = (
    [_batches(line) for line in of_entry(lines, n).values()]
    for n in (name, baseline)
  )
  return float(np.mean(own) / np.mean(other)) if own and other else None


def _batches(line: Line) -> float:
  """Return the mean number of batches that a rollout step samples."""
  own = line.course.get("dynamic_sampling/batches", [1.0])
  return float(np.nanmean(np.array(own, np.float64)))


def twins(lines: Lines, names: Sequence[str]) -> Iterator[Sequence[str]]:
  """Yield groups of entries that end alike to the last digit, seed by seed.

  Such entries differ in settings that did nothing here, or in nothing else.
  """
  groups: dict[str, list[str]] = {}
  for name in names:
    runs = of_entry(lines, name)
    ends = {s: (l.end.get(ENTROPY), l.right["counts"]) for s, l in runs.items()}
    if ends:
      groups.setdefault(repr(ends), []).append(name)
  yield from (group for group in groups.values() if len(group) > 1)
