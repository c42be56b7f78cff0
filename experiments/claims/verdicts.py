"""A claim, the effect that tests it, and the verdict.

A claim's effect, its margin and its test were written down before the runs. The
effect is a mean with a 95 % interval over three seeds. It is positive if the
claim is right, and the margin is the smallest effect that counts.

    test       held                          not held here
    at_least   low > 0 and mean >= margin    high < margin
    within     -margin < low, high < margin  low > margin or high < -margin

Everything else is inconclusive. Three seeds give wide intervals, so an
inconclusive verdict is common and means that more seeds are needed.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from entrojax.reporting.differences import Interval
from experiments.tournament.curve import Lines

HELD, NOT_HELD = "held", "not held here"
OPEN, SEEDS_MISSING = "inconclusive", "seeds missing"

Test = Callable[[Interval, float], str]


class Effect(NamedTuple):
  """A statistic of kept lines.

  Attributes:
    text: what is computed.
    entries: the entries of the tournament that it needs.
    measure: kept lines -> a mean with its interval; None: runs are missing.
    one_base: whether it has a number of nats that suits one base alone.
  """

  text: str
  entries: Sequence[str]
  measure: Callable[[Lines], Interval | None]
  one_base: bool = False


class Claim(NamedTuple):
  """A claim of the literature, and how it is tested here.

  Attributes:
    name: for --run.
    text: the claim in one sentence.
    source: the number of the paper on arXiv, or another word.
    effect: what tests it.
    margin: the smallest effect that counts, in the effect's unit.
    differs: how the test here differs from the paper's setting.
    test: at_least or within.
    command: what repeats it; "": --run=NAME.
    blind: whether the margin was set before the result was known.
  """

  name: str
  text: str
  source: str
  effect: Effect
  margin: float
  differs: str
  test: Test
  command: str = ""
  blind: bool = True


def at_least(effect: Interval, margin: float) -> str:
  """Return the verdict on a claim that something is larger than nothing."""
  if effect.low > 0 and effect.mean >= margin:
    return HELD
  return NOT_HELD if effect.high < margin else OPEN


def within(effect: Interval, margin: float) -> str:
  """Return the verdict on a claim that something is about zero."""
  if -margin < effect.low and effect.high < margin:
    return HELD
  return NOT_HELD if effect.low > margin or effect.high < -margin else OPEN


def verdict(claim: Claim, lines: Lines) -> tuple[str, Interval | None]:
  """Return the verdict on a claim from kept lines, and its effect."""
  effect = claim.effect.measure(lines)
  if effect is None:
    return SEEDS_MISSING, None
  return claim.test(effect, claim.margin), effect
