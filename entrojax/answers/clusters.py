"""Cluster the answers of a group by meaning, on the host.

`cluster` gives each of G answers the number of its cluster. It compares answers
by an equivalence, which is any function (answer, answer) -> bool. Examples are
`exact` and `normalised` in spelling.py, a grader's equality
(`math_answers.make_equivalence`), entailment in both directions
(`entailment_equivalence`), and the similarity of embeddings (embeddings.py).
"""

from collections.abc import Callable, Sequence
from typing import Literal
import warnings

from entrojax.arguments import require_one_of

Equivalent = Callable[[str, str], bool]
Label = Literal["entailment", "neutral", "contradiction"]
Entailment = Callable[[str, str], Label]  # (premise, hypothesis) -> label

LABELS = ("entailment", "neutral", "contradiction")
UNPARSED = ("singleton", "shared", "drop")


class Guarded:
  """An equivalence that never raises.

  Two answers whose comparison raises count as different, which at worst
  overstates the semantic entropy. The first failure gives a warning, and all
  failures are counted. To monitor `failures` over a whole run, use the same
  Guarded in all its steps.
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
  """Assign each answer to the first cluster whose representative matches.

  The representative of a cluster is its first answer. An answer that matches no
  representative starts a new cluster. No answer is ever reassigned, so the
  order matters if the equivalence is not transitive. Equal strings are
  equivalent without a comparison, and no pair is compared twice. If a
  comparison raises, the answers count as different; see `Guarded`.

  This is the procedure of SEED-GRPO, arXiv 2505.12346, with `exact` as its
  equivalence.

  Deviation: the code of Farquhar et al. (2024) lets a later representative
  take an answer away from its cluster.

  Args:
    answers: G answers; None = no answer could be read from the response.
    equivalent: called with (representative, answer).
    unparsed: each None is a cluster of its own ("singleton", as in SEED), all
      None are one cluster ("shared"), or they do not count ("drop").

  Returns:
    G cluster ids, numbered from 0 by first appearance; -1 = does not count.

  Raises:
    ValueError: `unparsed` is not one of UNPARSED.
  """
  require_one_of("clusters.unparsed", unparsed, UNPARSED)
  guarded = equivalent
  if not isinstance(equivalent, Guarded):
    guarded = Guarded(equivalent)
  cluster_of: dict[str | None, int] = {}  # for every answer so far
  representatives: dict[str, int] = {}
  ids: list[int] = []
  num_clusters = 0
  for answer in answers:
    if answer is None and unparsed == "drop":
      ids.append(-1)
      continue
    number = cluster_of.get(answer)
    if number is None and answer is not None:
      number = next(
        (c for r, c in representatives.items() if guarded(r, answer)), None
      )
    if number is None:
      number = num_clusters
      num_clusters += 1
      if answer is not None:
        representatives[answer] = number
    if answer is not None or unparsed == "shared":
      cluster_of[answer] = number
    ids.append(number)
  return ids


def entailment_equivalence(
  entailment: Entailment, *, question: str | None = None, strict: bool = True
) -> Equivalent:
  """Build an equivalence of free text from an entailment function.

  Semantic entropy (Kuhn et al., arXiv 2302.09664; Farquhar et al., 2024): two
  answers mean the same if each entails the other. The lenient rule requires
  less: neither answer contradicts the other, and at least one entails the
  other.

  Deviation: strict is the default; Farquhar's code uses the lenient rule.

  Args:
    entailment: (premise, hypothesis) -> "entailment", "neutral" or
      "contradiction". It may be a classifier of natural-language inference or a
      prompted language model.
    question: put before both answers, so that "Paris" and "It is Paris" are
      read as answers to it.
    strict: whether both directions must be "entailment".

  Returns:
    An equivalence. It raises ValueError if `entailment` returns another label.
  """

  def labels(a, b):
    if question is not None:
      a, b = f"{question} {a}", f"{question} {b}"
    for premise, hypothesis in ((a, b), (b, a)):
      label = entailment(premise, hypothesis)
      if label not in LABELS:
        raise ValueError(
          f"entailment must return one of {LABELS}, got {label!r}"
        )
      yield label

  def both_entail(a, b):
    return all(label == "entailment" for label in labels(a, b))

  def compatible(a, b):
    both = set(labels(a, b))
    return "contradiction" not in both and "entailment" in both

  return both_entail if strict else compatible
