"""Sorts the answers of a group into clusters of one meaning, on the host.

An equivalence is any function (answer, answer) -> bool: `exact` or
`normalised` of spelling.py, a verifier's equality, a judge of entailment (here)
or the similarity of embeddings (embeddings.py).
"""

from collections.abc import Callable, Sequence
from typing import Literal
import warnings

Equivalent = Callable[[str, str], bool]
Label = Literal["entailment", "neutral", "contradiction"]
Judge = Callable[[str, str], Label]  # (premise, hypothesis) -> label

LABELS = ("entailment", "neutral", "contradiction")
UNPARSED = ("singleton", "shared", "drop")


class Guarded:
  """An equivalence that never raises.

  Two answers whose comparison raises are not equivalent, which at worst
  overstates the entropy. The first failure warns, all are counted: keep one
  Guarded over the steps of a run to watch its `failures`.
  """

  def __init__(self, equivalent: Equivalent):
    self.equivalent = equivalent
    self.failures = 0  # comparisons that raised

  def __call__(self, a: str, b: str) -> bool:
    try:
      return bool(self.equivalent(a, b))
    except Exception as error:
      self.failures += 1
      if self.failures == 1:
        warnings.warn(
          "two answers could not be compared and count as different: "
          f"{type(error).__name__}: {str(error)[:200]}",
          RuntimeWarning,
          stacklevel=2,
        )
      return False


def cluster(
  answers: Sequence[str | None],
  equivalent: Equivalent,
  *,
  unparsed: str = "singleton",
) -> list[int]:
  """Assigns each answer to the first cluster whose representative matches.

  A cluster's representative is its first answer; an answer that matches none
  opens a cluster, and none is ever reassigned, so with an equivalence that is
  not transitive the order matters. Equal strings are equivalent unasked, and
  no pair is compared twice. An equivalence that raises says no: see `Guarded`.

  SEED-GRPO, arXiv 2505.12346, whose `equivalent` is `exact`.

  Deviation: the code of Farquhar et al. (2024) lets a later representative
  take an answer away from its cluster.

  Args:
    answers: G answers; None = the response has none that could be read.
    equivalent: called with (representative, answer).
    unparsed: each None is a cluster of its own ("singleton", as in SEED), all
      are one ("shared"), or they do not count ("drop").

  Returns:
    G cluster ids, numbered from 0 by first appearance; -1 = does not count.

  Raises:
    ValueError: `unparsed` is none of these.
  """
  if unparsed not in UNPARSED:
    raise ValueError(
      f"cluster.unparsed must be one of {UNPARSED}, got {unparsed!r}"
    )
  guarded = equivalent
  if not isinstance(equivalent, Guarded):
    guarded = Guarded(equivalent)
  cluster_of: dict[str | None, int] = {}  # of every answer met so far
  representatives: dict[str, int] = {}
  ids: list[int] = []
  num_clusters = 0
  for answer in answers:
    if answer is None and unparsed == "drop":
      ids.append(-1)
      continue
    known = cluster_of.get(answer)
    if known is None and answer is not None:
      known = next(
        (c for r, c in representatives.items() if guarded(r, answer)), None
      )
    if known is None:
      known = num_clusters
      num_clusters += 1
      if answer is not None:
        representatives[answer] = known
    if answer is not None or unparsed == "shared":
      cluster_of[answer] = known
    ids.append(known)
  return ids


def entailment_equivalence(
  judge: Judge, *, question: str | None = None, strict: bool = True
) -> Equivalent:
  """Makes an equivalence of free text from a judge of entailment.

  Semantic entropy (Kuhn et al., arXiv 2302.09664; Farquhar et al., 2024): two
  answers mean the same if each entails the other. A lenient judgement asks
  less: neither contradicts the other, and not both directions are neutral.

  Deviation: strict is the default; Farquhar's code has the lenient one.

  Args:
    judge: (premise, hypothesis) -> "entailment", "neutral" or "contradiction":
      a classifier of natural-language inference, or a prompted model.
    question: stands before both answers, so that "Paris" and "It is Paris" are
      read as answers to it.
    strict: whether both directions have to be entailment.

  Returns:
    An equivalence, which raises ValueError if the judge returns another label.
  """

  def labels(a, b):
    if question is not None:
      a, b = f"{question} {a}", f"{question} {b}"
    for premise, hypothesis in ((a, b), (b, a)):
      label = judge(premise, hypothesis)
      if label not in LABELS:
        raise ValueError(f"a judge must return one of {LABELS}, got {label!r}")
      yield label

  def both_entail(a, b):
    return all(label == "entailment" for label in labels(a, b))

  def compatible(a, b):
    found = set(labels(a, b))
    return "contradiction" not in found and "entailment" in found

  return both_entail if strict else compatible
