"""Claims whose numbers stand in the lab book, experiments/RESULTS.md."""

import numpy as np

from entrojax.reporting.differences import Interval
from experiments.claims.verdicts import Claim, Effect
from experiments.tournament.judging import at_least, over_seeds

# pass@1 of BCPG-NSA with beta 0.5 minus BCPG's, for seeds 0, 1 and 2
_NSA = (0.0063, 0.0022, 0.0035)
# the same from the base that writes its search
_NSA_SEARCH = (0.0049, 0.0139, 0.0042)
# task -> entropy at the start (nats) and its fall per update (% of the start):
# mean and standard deviation over three seeds
_MATH = {
  "arithmetic_chain#2": ((0.106, 0.010), (0.44, 0.11)),
  "arithmetic_chain#3": ((0.151, 0.006), (0.37, 0.17)),
}
_PUZZLES = {
  "sudoku#3": ((0.100, 0.004), (0.47, 0.04)),
  "knights_and_knaves#1": ((0.321, 0.038), (0.55, 0.06)),
}
_SEEDS = 3
_WELCH = 4.303  # Student's quantile for the fewest degrees of freedom, 2


def _smallest_gap(place: int) -> Interval:
  """Return the smallest gap between a puzzle-like task and a math-like one.

  A claim that the kinds differ needs each puzzle-like task above each math-like
  one, so the smallest gap decides. Its interval is the widest that Welch's test
  could have.

  Args:
    place: 0 for the entropy at the start, 1 for its fall.
  """
  gaps = []
  for puzzle in _PUZZLES.values():
    for math in _MATH.values():
      (one, one_sd), (two, two_sd) = puzzle[place], math[place]
      half = _WELCH * float(np.hypot(one_sd, two_sd)) / _SEEDS**0.5
      gaps.append(Interval(one - two, one - two - half, one - two + half))
  return min(gaps)


_DOMAINS = "small tasks of a base that was trained on all of them alike"

CLAIMS = (
  Claim(
    "domains_start",
    "Math-like tasks start at a lower entropy than puzzle-like tasks.",
    "the survey's",
    Effect(
      "smallest gap of the entropy at the start, puzzle-like - math-like, nats",
      (),
      lambda lines: _smallest_gap(0),
    ),
    0.02,
    _DOMAINS,
    at_least,
    "python -m experiments.domains runs/domains",
    blind=False,
  ),
  Claim(
    "domains_fall",
    "The entropy falls faster on puzzle-like tasks than on math-like tasks.",
    "the survey's",
    Effect(
      "smallest gap of the fall per update, puzzle-like - math-like, %",
      (),
      lambda lines: _smallest_gap(1),
    ),
    0.1,
    _DOMAINS,
    at_least,
    "python -m experiments.domains runs/domains",
    blind=False,
  ),
  Claim(
    "bcpg_nsa",
    "Punishing right steps of wrong responses less helps: BCPG-NSA has a "
    "higher pass@1 than BCPG.",
    "2505.14403",
    Effect(
      "pass@1, BCPG-NSA with beta 0.5 - BCPG, from a weak base",
      (),
      lambda lines: over_seeds(_NSA),
    ),
    0.002,
    "an exact oracle judges the steps of arithmetic chains, and three seeds "
    "are too few for a gain of this size",
    at_least,
    "python -m entrojax.sweep --config=configs/sweeps/negative_samples.py "
    "--workdir=runs/negative_samples",
    blind=False,
  ),
  Claim(
    "bcpg_nsa_search",
    "Punishing right steps of wrong responses less helps, on the base that "
    "writes its search.",
    "2505.14403",
    Effect(
      "pass@1, BCPG-NSA with beta 0.5 - BCPG, Countdown with working",
      (),
      lambda lines: over_seeds(_NSA_SEARCH),
    ),
    0.01,
    "an exact oracle judges the steps, and a quarter of the tokens of wrong "
    "responses are in right ones",
    at_least,
    "python -m entrojax.sweep "
    "--config=configs/sweeps/negative_samples.py:reasoning "
    "--workdir=runs/negative_samples",
  ),
)
