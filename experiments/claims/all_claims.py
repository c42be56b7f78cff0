"""List all claims, and find one by its name."""

import difflib

from experiments.claims import collapse, controls, lab_book, methods
from experiments.claims.verdicts import Claim

CLAIMS = (
  *collapse.CLAIMS,
  *methods.CLAIMS,
  *controls.CLAIMS,
  *lab_book.CLAIMS,
)


def find(name: str) -> Claim:
  """Return a claim; raise ValueError if its name is unknown."""
  by_name = {claim.name: claim for claim in CLAIMS}
  if name not in by_name:
    near = difflib.get_close_matches(name, by_name, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "the page lists them"
    raise ValueError(f"there is no claim {name!r}; {hint}")
  return by_name[name]
