"""The claims again, on the base that writes its search before it answers.

Effect, margin and test stay those that were written down for Countdown. Only
the entries change: each is replaced by the one of the same part in the
tournament on the reasoning base. A claim is left out if it needs an entry that
has no counterpart there, or if its effect has a number of nats that suits
Countdown's base alone.
"""

from collections.abc import Sequence

from experiments.claims.effects import GRPO, LONG
from experiments.claims.verdicts import Claim
from experiments.tournament.entries import entries
from experiments.tournament.measures import Lines
from experiments.tournament.rule import BASES

BASE = "reasoning"
# entry on Countdown -> entry here, where they have different names
COUNTERPARTS = {
  GRPO: f"grpo,steps={BASES[BASE].steps}",
  LONG: f"grpo,steps={max(BASES[BASE].budgets)}",
  "entropic,target=0.36": "entropic,target=0.16",
  "projection,target=0.36": "projection,target=0.16",
}
_SAME_SHARE = (
  "the selected share stays 2 %, scaled for mini-batches of 700 tokens; here "
  "they have 6,000 to 10,000"
)
_LITTLE_FALL = "the entropy moves by 0.08 nats at most, and a law needs 0.1"
# claim -> what differs from Countdown, if it may explain another result
DIFFERS = {
  "slower_clip_cov": _SAME_SHARE,
  "slower_kl_cov": _SAME_SHARE,
  "clip_cov_gains": _SAME_SHARE,
  "kl_cov_gains": _SAME_SHARE,
  "law": _LITTLE_FALL,
  "law_forecast": _LITTLE_FALL,
}


def names_on_countdown() -> dict[str, str]:
  """Return the entry of Countdown that each entry here takes the place of."""
  same = {
    entry.name: entry.name
    for entry in entries(BASE)
    if entry.role in ("method", "extra")
  }
  return same | {here: there for there, here in COUNTERPARTS.items()}


def comparable(claims: Sequence[Claim]) -> list[Claim]:
  """Return the claims that can be tested here as well."""
  available = set(names_on_countdown().values())
  return [
    claim
    for claim in claims
    if claim.effect.entries
    and not claim.effect.one_base
    and available.issuperset(claim.effect.entries)
  ]


def renamed(lines: Lines) -> Lines:
  """Return lines of this base under the names that the claims use."""
  own = names_on_countdown()
  return {
    name: line._replace(entry=own[line.entry])
    for name, line in lines.items()
    if line.entry in own
  }
