"""Format the table of verdicts in Markdown."""

from collections.abc import Iterator, Sequence
import math
import re

from entrojax.reporting.differences import Interval
from entrojax.system.help_page import join
from experiments.claims import causes, figure, second_base
from experiments.claims.verdicts import NO_NUMBER, SEEDS_MISSING, Claim, verdict
from experiments.tournament.formats import format_interval
from experiments.tournament.judging import HELD, NOT_HELD, OPEN
from experiments.tournament.measures import Lines

_HEAD = """# Claims of the literature, with verdicts

Each claim has an effect that tests it, a margin, which is the smallest effect
that counts, and a verdict. Effects and margins were written down before their
results were known, with these exceptions: {exceptions}.
The verdict depends on the 95 % interval of the effect
([judging.py](../tournament/judging.py)):

| claim | held | not held here |
| --- | --- | --- |
| a change, margin m | interval above 0, mean at least m | interval below m |
| no change, margin ±m | interval within ±m | interval outside of ±m |

Everything else is inconclusive. A real effect that is wholly smaller than the
margin therefore counts as not held, and one that is held need not be shown to
exceed it. In the first row, a positive effect speaks for the claim. Where a
value is printed "against" another, the effect is their difference. A claim
cannot be tested if a run lacks the number, or if what distinguishes two entries
never acted. Among so many intervals a few exclude zero by chance, so a verdict
whose interval barely does is weak. Claims about GRPO's curve had their margins
first as well, but the rule that joins near points of the curve
([curve.py](../tournament/curve.py)) was added when most runs were known.

A method that learns less also keeps more entropy. So a claim that the entropy
falls less says nothing about a method's use; for that the tournament compares
at equal entropy.

Intervals are over three seeds or more, and for differences in pass@k between
two entries over prompts as well. All runs are entries of
[the tournament](../tournament/README.md) on Countdown, unless another command
is named at the end. This command computes the page from the kept results:

    python -m experiments.claims

A verdict is about this base and these budgets, and not about a paper. Here
answers have 11 tokens, few of them certain, and the base has 0.8 M weights; the
papers have a thousand tokens and a thousand times the weights or more. The last
column has what else differs from the paper's setting. Any of this may explain a
verdict, but was not tested as its cause. A number in the column "source" is a
paper on arXiv. "The survey" is the review of the papers of 2025 with which this
project began, and "ours" are expectations of this project.
"""


FIGURE = "effects.svg"


def page(
  claims: Sequence[Claim], lines: Lines, reasoning: Lines
) -> tuple[str, str | None]:
  """Return the page and its figure; None: no claim has an effect yet.

  Args:
    claims: all claims.
    lines: the kept lines on Countdown.
    reasoning: those on the reasoning base.
  """
  results = [(claim, *verdict(claim, lines)) for claim in claims]
  exceptions = [claim.name for claim in claims if not claim.blind]
  parts = [_HEAD.format(exceptions=join(exceptions) if exceptions else "none")]
  counts = {
    end: sum(own == end for _, own, _ in results)
    for end in (HELD, NOT_HELD, OPEN, NO_NUMBER, SEEDS_MISSING)
  }
  numbers = ", ".join(f"{n} {end}" for end, n in counts.items() if n)
  parts.append(f"{len(claims)} claims: {numbers}. {_sources(claims)}\n")
  measured = [
    (claim, own, effect)
    for claim, own, effect in results
    if effect is not None and math.isfinite(effect.mean) and claim.margin > 0
  ]
  if measured:
    parts.append(f"![the effect of each claim]({FIGURE})\n")
    parts.append(
      "The picture shows each effect divided by its margin. It is cut at "
      f"{figure.FARTHEST:g} margins, and claims with a margin of zero are left "
      "out.\n"
    )
  for end in (NOT_HELD, HELD, OPEN, NO_NUMBER, SEEDS_MISSING):
    if counts[end]:
      parts.append(f"## {end.capitalize()}\n")
      parts += _table([(c, e) for c, own, e in results if own == end])
  parts += _causes(claims, lines, reasoning)
  parts += _second_base(claims, lines, reasoning)
  parts.append("## Commands\n")
  parts += _commands(claims)
  return "\n".join(parts), figure.draw(measured) if measured else None


def print_table(
  claims: Sequence[Claim], lines: Lines, reasoning: Lines
) -> Iterator[str]:
  """Yield a line for each claim on each base, for a terminal."""
  width = max(len(claim.name) for claim in claims)
  for claim in claims:
    own, effect = verdict(claim, lines)
    yield f"{claim.name:<{width}}  {own:<16}  {format_interval(effect)}"
  yield "\non the reasoning base:"
  here = second_base.renamed(reasoning)
  for claim in second_base.comparable(claims):
    own, effect = verdict(claim, here)
    yield f"{claim.name:<{width}}  {own:<16}  {format_interval(effect)}"


def _sources(claims: Sequence[Claim]) -> str:
  """Say whose claims they are."""
  own = [claim.source for claim in claims]
  papers = sum(_linked(source) != source for source in own)
  rest = {"the survey's": "the survey's", "ours": "our own"}
  others = [f"{own.count(source)} {words}" for source, words in rest.items()]
  return f"{papers} are of papers, {join(others)}."


def _measured(claim: Claim, effect: Interval | None) -> str:
  """Format an effect; one with a zero of its own as its value beside it."""
  zero = claim.effect.zero
  if not zero or effect is None or not math.isfinite(effect.mean):
    return format_interval(effect)
  mean, low, high = (x + zero for x in effect)
  return f"{mean:.3f} [{low:.3f}, {high:.3f}], against {zero:g}"


def _table(rows: Sequence[tuple[Claim, Interval | None]]) -> Iterator[str]:
  yield "| claim | source | effect | margin | measured | what differs here |"
  yield "| --- | --- | --- | --- | --- | --- |"
  for claim, effect in rows:
    cells = (
      f"**{claim.name}**: {claim.text}",
      _linked(claim.source),
      claim.effect.text,
      f"{'±' if claim.test.__name__ == 'within' else ''}{claim.margin:g}",
      _measured(claim, effect),
      claim.differs,
    )
    yield f"| {' | '.join(cells)} |"
  yield ""


def _causes(
  claims: Sequence[Claim], lines: Lines, reasoning: Lines
) -> Iterator[str]:
  """Yield whether the learning rate or the base explains some verdicts."""
  own = [claim for claim in claims if claim.name in causes.CLAIMS]
  parts = causes.by_rate(lines)
  measured = {
    claim.name: [verdict(claim, part)[1] for part in parts.values()]
    for claim in own
  }
  # the testbed's rate, and another one
  own = [c for c in own if len([x for x in measured[c.name] if x]) > 1]
  if not own:
    return
  here = second_base.renamed(reasoning)
  yield "## The learning rate, the base, or the claim?\n"
  yield (
    "NSR, W-REINFORCE and 80/20 have also run at a quarter and at four times "
    "the testbed's learning rate, with three seeds. What they are compared "
    "with keeps the testbed's. Four times the rate is too high: NSR and "
    "W-REINFORCE end without a right answer, and the alarm `idle` stops 80/20. "
    "A claim that holds at a lower rate need not hold for the method, because "
    "a lower rate alone keeps coverage: in pass@64, at a quarter, "
    f"{causes.coverage_at_low_rate(lines)}. With several tries one is also "
    "more likely to hold by chance.\n"
  )
  rates = [
    "at the testbed's learning rate" if rate == causes.USUAL else f"at {rate}"
    for rate in parts
  ]
  yield (
    f"| claim | {' | '.join(rates)} | on the reasoning base | what may "
    "explain it |"
  )
  yield f"|{' --- |' * (3 + len(rates))}"
  for claim in own:
    cells = (
      f"**{claim.name}**: {claim.text}",
      *(_measured(claim, effect) for effect in measured[claim.name]),
      _measured(claim, verdict(claim, here)[1]),
      causes.cause(claim, lines, here),
    )
    yield f"| {' | '.join(cells)} |"
  yield ""


def _second_base(
  claims: Sequence[Claim], lines: Lines, reasoning: Lines
) -> Iterator[str]:
  """Yield the claims that have a verdict on the reasoning base."""
  here = second_base.renamed(reasoning)
  both = second_base.comparable(claims)
  results = [(claim, *verdict(claim, here)) for claim in both]
  have = [result for result in results if result[2] is not None]
  yield "## On the reasoning base\n"
  yield (
    f"{len(have)} of the {len(both)} claims that "
    "[second_base.py](second_base.py) can repeat have all runs on the base "
    "that writes its search, with the same margins, and with that base's own "
    "budgets: 40 rollout steps in place of 200, and 80 in place of 600. Its "
    "responses have 45 tokens at first instead of 11, at 0.23 nats each "
    "instead of 0.51. A margin of 0.02 nats is 9 % of the entropy there and "
    "4 % on Countdown, so some effects that exclude zero are inconclusive "
    "there.\n"
  )
  if not have:
    return
  yield (
    "| claim | on Countdown | verdict | on the reasoning base | verdict | what "
    "differs there |"
  )
  yield "| --- | --- | --- | --- | --- | --- |"
  for claim, own, effect in have:
    countdown, other = verdict(claim, lines)
    cells = (
      f"**{claim.name}**: {claim.text}",
      _measured(claim, other),
      countdown,
      _measured(claim, effect),
      own,
      second_base.DIFFERS.get(claim.name, ""),
    )
    yield f"| {' | '.join(cells)} |"
  yield ""


def _commands(claims: Sequence[Claim]) -> Iterator[str]:
  """Yield the commands that repeat claims."""
  yield "`--run=NAME` makes the missing runs of one claim, such as:\n"
  yield (
    f"    python -m experiments.claims --run={claims[0].name} "
    "--workdir=runs/tournament\n"
  )
  others: dict[str, list[str]] = {}
  for claim in claims:
    if claim.command:
      others.setdefault(claim.command, []).append(claim.name)
  for command, names in others.items():
    own = ", ".join(names)
    verb = "has its" if len(names) == 1 else "have their"
    yield f"{own} {verb} numbers from the [lab book](../RESULTS.md):\n"
    yield f"    {command}\n"


def _linked(source: str) -> str:
  """Return a source as Markdown, a number of arXiv as a link."""
  if re.fullmatch(r"\d{4}\.\d{5}", source):
    return f"[{source}](https://arxiv.org/abs/{source})"
  return source
