"""Whether the learning rate or the base explains why some claims do not hold.

The claims about NSR, W-REINFORCE and 80/20 are tested again with runs of these
methods at other learning rates, and on the base whose answers are longer. The
entries that they are compared with keep the testbed's learning rate; GRPO has
also run at the lower one.
"""

from collections.abc import Mapping, Sequence

from entrojax.system.help_page import join
from experiments.claims.effects import GRPO
from experiments.claims.verdicts import SEEDS_MISSING, Claim, verdict
from experiments.tournament.judging import HELD, NOT_HELD, OPEN
from experiments.tournament.measures import Lines, mean_of, of_entry
from experiments.tournament.rule import BASELINE, RATED, RATES

CLAIMS = (
  *("top_20_equals_all", "nsr_keeps_coverage", "nsr_beats_grpo"),
  *("w_reinforce_keeps_accuracy", "w_reinforce_beats_grpo"),
)
USUAL = "testbed's"  # the learning rate of all other runs


def at_rate(lines: Lines, rate: float, *, also_grpo: bool = False) -> Lines:
  """Return lines in which RATED have run at another learning rate.

  Args:
    lines: the kept lines on Countdown.
    rate: the learning rate.
    also_grpo: whether GRPO has run at it as well.
  """
  usual = {method: method for method in RATED}
  if also_grpo:
    usual[BASELINE] = GRPO
  names = {f"{method},learning_rate={rate:g}": n for method, n in usual.items()}
  return {
    name: line._replace(entry=names.get(line.entry, line.entry))
    for name, line in lines.items()
    if line.entry not in usual.values()
  }


def by_rate(lines: Lines) -> Mapping[str, Lines]:
  """Return the lines for each learning rate, the testbed's in the middle."""
  low, high = RATES
  return {
    f"{low:g}": at_rate(lines, low),
    USUAL: lines,
    f"{high:g}": at_rate(lines, high),
  }


def coverage_at_low_rate(lines: Lines) -> str:
  """List the pass@64 of GRPO and of RATED at the lower learning rate."""
  methods = (BASELINE, *RATED)
  names = [f"{method},learning_rate={RATES[0]:g}" for method in methods]
  return join(
    f"`{name}` has {mean_of(lines, name, 'pass@64'):.3f}"
    for name in names
    if of_entry(lines, name)
  )


def cause(claim: Claim, lines: Lines, longer: Lines) -> str:
  """Say what explains that a claim does not hold with the testbed's rate.

  Args:
    claim: the claim.
    lines: the kept lines on Countdown.
    longer: those of the base with longer answers, under Countdown's names.
  """
  ends = {rate: verdict(claim, own)[0] for rate, own in by_rate(lines).items()}
  ends = {rate: end for rate, end in ends.items() if end != SEEDS_MISSING}
  there = verdict(claim, longer)[0]
  if USUAL not in ends:
    return "open"
  if ends[USUAL] == HELD:
    return "nothing to explain: it holds"
  if rates := [rate for rate, end in ends.items() if end == HELD]:
    held = f"it holds at {' and '.join(rates)}"
    both = verdict(claim, at_rate(lines, RATES[0], also_grpo=True))[0]
    if GRPO in claim.effect.entries and both in (NOT_HELD, OPEN):
      word = "not" if both == NOT_HELD else "inconclusively"
      return f"{held}, but {word} against GRPO at {RATES[0]:g}"
    return f"the learning rate: {held}"
  if there == HELD:
    return "the base or the length of its answers: it holds there"
  if _all(NOT_HELD, [*ends.values(), there]):
    return "neither: it holds at no rate and on neither base"
  if _all(NOT_HELD, [*ends.values()]):
    return "not the learning rate: it holds at none"
  return "open"


def _all(end: str, ends: Sequence[str]) -> bool:
  return all(own == end for own in ends)
