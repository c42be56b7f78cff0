"""A claim, the effect that tests it, and the verdict.

A claim's effect, its margin and its test were written down before the runs. The
effect is a mean with a 95 % interval over three seeds or more. It is positive
if the claim is right, and the margin is the smallest effect that counts. The
tests are in experiments/tournament/judging.py, because the targets of entropy
on the tournament's page are judged in the same way.
"""

from collections.abc import Callable, Sequence
import math
from typing import NamedTuple

from entrojax.reporting.differences import Interval
from experiments.tournament.judging import Test
from experiments.tournament.measures import Lines

SEEDS_MISSING = "seeds missing"
NO_NUMBER = "cannot be tested"  # a run has no such number


class Effect(NamedTuple):
  """A statistic of kept lines.

  Attributes:
    text: what is computed.
    entries: the entries of the tournament that it needs.
    measure: kept lines -> a mean with its interval; None: runs are missing.
    one_base: whether it has a number of nats that suits one base alone.
    zero: what `measure` has subtracted, so that a claim's effect is positive.
  """

  text: str
  entries: Sequence[str]
  measure: Callable[[Lines], Interval | None]
  one_base: bool = False
  zero: float = 0.0


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


def verdict(claim: Claim, lines: Lines) -> tuple[str, Interval | None]:
  """Return the verdict on a claim from kept lines, and its effect."""
  effect = claim.effect.measure(lines)
  if effect is None:
    return SEEDS_MISSING, None
  if not math.isfinite(effect.mean):
    return NO_NUMBER, effect
  return claim.test(effect, claim.margin), effect
