r"""Graders for mathematics: extract the answer of a response and compare it.

A grader has three parts: a function that extracts the answer of a response,
equalities that are tried in order to compare it with the gold answer, and a
spelling. Answers with the same spelling vote together in maj@k. README.md has
one table with the rules of all graders: what the answer is, and what is done
with numbers, units, percent signs, names, lists and formulas.

If the last \boxed{} is not closed, there is no answer; only qwen reads it to
the end. Numbers are exact fractions. Except in qwen, an exact gold answer takes
equal values only, and a rounded one takes values that round to it (see
answers/numbers.py).

A verifier built here never raises, never evaluates an answer as code, and takes
time linear in the length of the response. Only short answers are compared. Only
math_verify does algebra, in separate processes with time limits for one
response and for a batch.

Deviation: DAPO's reward is +1 or -1. Here every reward is 1 or 0; a shift
belongs to the shaping of rewards.
"""

from collections.abc import Callable, Iterable, Sequence
import importlib.util
import re
from typing import NamedTuple, Protocol, runtime_checkable
import warnings

from entrojax.answers import numbers, parts, symbolic_equality
from entrojax.answers.process_pool import (
  NotReachedError,
  Pool,
  WorkerError,
  num_workers,
)
from entrojax.answers.published_rules import (
  normalise_dapo,
  normalise_qwen,
  qwen,
  qwen_answer,
)
from entrojax.answers.spelling import (
  MAX_LENGTH,
  boxed,
  exact,
  normalise,
  respelt,
)
from entrojax.arguments import require_in
from entrojax.types import Problem, Verdict, Verifier

DAPO_TAIL = 300  # `dapo` reads this many characters at the end of a response
DAPO_BOX_TAIL = 100  # and `dapo_box` this many
VERIFY_SECONDS = 5.0  # time limit of one comparison by math-verify
BATCH_SECONDS = 60.0  # time limit of the comparisons of a batch of responses
MAX_REMEMBERED = 65_536  # outcomes of comparisons by math-verify

Extract = Callable[[str], str | None]  # response -> its answer, or None
Equal = Callable[[str, str], bool]  # (answer, gold) -> whether they are equal
Pair = tuple[str, str]  # answer, gold


@runtime_checkable
class Prepared(Protocol):
  """An equality that compares many pairs faster at once than one by one."""

  def __call__(self, answer: str, gold: str) -> bool: ...

  def prepare(self, pairs: Iterable[Pair]) -> None:
    """Compare pairs in advance, so that calls with them return at once."""


class Grader(NamedTuple):
  """How to extract an answer from a response and compare it with the gold."""

  extract: Extract
  equalities: Sequence[Equal]  # tried in this order, cheap ones first
  spelling: Callable[[str], str] = normalise  # equal spellings vote together


# -- extracting the answer from a response ------------------------------------


def dapo_answer(response: str) -> str | None:
  """Extract the text after the last `Answer:` of the last 300 characters.

  The text ends with its line. The word may be in upper or lower case, and line
  breaks are allowed around the colon. This is the rule of DAPO's reward
  function, arXiv 2503.14476.
  """
  answers = re.findall(r"(?i)answer\s*:\s*([^\n]+)", response[-DAPO_TAIL:])
  return (answers[-1].strip() or None) if answers else None


def dapo_box(response: str) -> str | None:
  r"""Extract the last \boxed{...} of the last 100 characters."""
  return boxed(response[-DAPO_BOX_TAIL:])


def gsm8k_answer(response: str) -> str | None:
  r"""Extract the last \boxed{...}, the last `#### number`, or the last number.

  The first of these that exists is taken. If the last box was cut off, there is
  no answer, and no number replaces it. A line such as `#### 2. Add up` is a
  heading, not an answer.
  """
  if "\\boxed" in response:
    return boxed(response)
  marked = None
  for match in _MARKED.finditer(response):
    marked = match[1]
  return _digits(marked) if marked else last_number(response)


def number_alone(response: str) -> str | None:
  """Extract the number of a response that holds nothing else.

  White space at both ends is ignored, and so are separators of thousands. One
  word more, before the number or after it, and there is no answer.
  """
  number = response.strip()
  if "$" in number or not _NUMBER_IN_TEXT.fullmatch(number):
    return None
  return _digits(number)


def last_number(response: str) -> str | None:
  r"""Extract the last number in a text, without separators of thousands.

  Separators are `,` and, as in LaTeX, `{,}`, `\,` and `,\!`. A minus sign may
  also be Unicode's, and a dollar sign may stand behind it.
  """
  last = None
  for match in _NUMBER_IN_TEXT.finditer(response):
    last = match[0]
  return _digits(last) if last else None


def _digits(number: str) -> str:
  """Remove the separators of thousands and a dollar sign."""
  return re.sub(r"[^0-9.-]", "", number.replace("−", "-"))


_NUMBER = (
  r"(?:(?<![0-9)])[-−](?:\\?\$)?)?"
  r"(?:[0-9]+(?:(?:,(?:\\!)?|\{,\}|\\,)[0-9]{3}(?![0-9]))*(?:\.[0-9]+)?"
  r"|\.[0-9]+)"
)
_NUMBER_IN_TEXT = re.compile(_NUMBER)
_MARKED = re.compile(
  rf"####[ \t]{{0,4}}\*{{0,2}}(?:\\?\$|[€£])?[ \t]?({_NUMBER})"
  r"(?:[ \t]{0,2}(?:\\?%|[A-Za-z][A-Za-z ]{0,30}))?\$?\.?\*{0,2}[ \t\r]{0,8}$",
  re.MULTILINE,
)


# -- equality -----------------------------------------------------------------


def integer(answer: str, gold: str) -> bool:
  """Return whether both are the same integer, such as 025 and 25."""
  value = normalise(answer)
  return bool(re.fullmatch("-?[0-9]+", value)) and value == normalise(gold)


def same_spelling(spelling: Callable[[str], str]) -> Equal:
  """Build the equality of answers that have the same spelling."""
  return lambda answer, gold: spelling(answer) == spelling(gold)


class MathVerify:
  """The equality of the package math-verify, run in separate processes.

  It is stricter than the package: parts.differ and symbolic_equality.py refuse
  pairs that the package takes for equal although their values differ. Recent
  outcomes are remembered, also if a comparison hung.
  """

  def __init__(self, pool: Pool, batch_seconds: float):
    """Build the equality.

    Args:
      pool: runs symbolic_equality.same.
      batch_seconds: the time limit of all comparisons of `prepare`.
    """
    self._pool, self._batch_seconds = pool, batch_seconds
    self._outcomes: dict[Pair, bool | Exception] = {}

  def __call__(self, answer: str, gold: str) -> bool:
    """Return whether two answers in LaTeX are equal.

    Raises:
      TimeoutError: the comparison took too long.
      WorkerError: the comparison raised, or its process died.
    """
    pair = (answer, gold)
    if max(len(answer), len(gold)) > MAX_LENGTH:
      return False
    if pair not in self._outcomes and parts.differ(answer, gold):
      self._remember(pair, False)
    if pair not in self._outcomes:
      try:
        self._remember(pair, bool(self._pool.call(*_arguments(pair))))
      except (TimeoutError, WorkerError) as error:
        self._remember(pair, error)
    outcome = self._outcomes[pair]
    if isinstance(outcome, Exception):
      raise type(outcome)(*outcome.args)  # a copy, without the old traceback
    return outcome

  def prepare(self, pairs: Iterable[Pair]) -> None:
    """Compare pairs with all processes at once."""
    for pair, outcome in list(self._outcomes.items()):
      if isinstance(outcome, NotReachedError):  # try again in this batch
        del self._outcomes[pair]
    work = []
    for pair in dict.fromkeys(pairs):
      if pair in self._outcomes or max(map(len, pair)) > MAX_LENGTH:
        continue
      if parts.differ(*pair):
        self._remember(pair, False)
      else:
        work.append(pair)
    # powers of powers and factorials hang: they come last, in every round
    work.sort(key=lambda pair: sum(map(pair[0].count, "^!")))
    results = self._pool.map(map(_arguments, work), self._batch_seconds)
    for pair, result in zip(work, results, strict=True):
      self._remember(
        pair, result if isinstance(result, Exception) else bool(result)
      )
    late = sum(isinstance(result, NotReachedError) for result in results)
    if late:
      warnings.warn(
        f"task.name: math/math_verify: {late} of {len(work)} comparisons did "
        f"not end within {self._batch_seconds:g} s for the batch, and count as "
        "wrong with the reason 'timeout'",
        stacklevel=2,
      )

  def close(self) -> None:
    """End the processes; a later comparison starts new ones."""
    self._pool.close()

  def _remember(self, pair: Pair, outcome: bool | Exception) -> None:
    if len(self._outcomes) >= MAX_REMEMBERED:
      oldest = list(self._outcomes)[: MAX_REMEMBERED // 2]
      for old in oldest:
        self._outcomes.pop(old, None)
    self._outcomes[pair] = outcome


def _arguments(pair: Pair) -> tuple[str, str, float]:
  """Return the arguments of symbolic_equality.same."""
  answer, gold = pair
  return answer, gold, float(numbers.tolerance(gold))


def math_verify(
  *,
  size: int | None = None,
  seconds: float = VERIFY_SECONDS,
  batch_seconds: float = BATCH_SECONDS,
) -> MathVerify:
  """Build the equality of the package math-verify.

  Answers and gold answers are read as LaTeX.

  Args:
    size: the number of processes, which all threads share; None: one for each
      core, at most process_pool.MAX_WORKERS.
    seconds: the time limit of one comparison.
    batch_seconds: the time limit of all comparisons of a batch of responses.

  Raises:
    ValueError: the package is missing, or an argument is out of range.
  """
  require_in("math_verify.batch_seconds", batch_seconds, "(0, inf)")
  if importlib.util.find_spec("math_verify") is None:
    raise ValueError(
      "task.name: math/math_verify needs a package that is not installed: "
      "pip install 'entrojax[math]'"
    )
  pool = Pool(
    symbolic_equality.same,
    size=num_workers() if size is None else size,
    seconds=seconds,
    warm_up=symbolic_equality.EXAMPLES,
    fork=True,
  )
  try:
    pool.call("1", "1")
  except (TimeoutError, WorkerError) as error:
    raise ValueError(
      f"task.name: math-verify does not work here: {error}"
    ) from error
  return MathVerify(pool, batch_seconds)


# -- graders and the verifier -------------------------------------------------

GRADERS: dict[str, Callable[[], Grader]] = {
  "boxed": lambda: Grader(boxed, (parts.same_answer,)),
  "integer": lambda: Grader(boxed, (integer,)),
  "math_verify": lambda: Grader(boxed, (respelt, math_verify())),
  "number": lambda: Grader(number_alone, (parts.same_answer,)),
  "gsm8k": lambda: Grader(gsm8k_answer, (parts.same_answer,)),
  "dapo": lambda: Grader(
    dapo_answer, (same_spelling(normalise_dapo),), normalise_dapo
  ),
  "dapo_box": lambda: Grader(dapo_box, (exact,), str.strip),
  "qwen": lambda: Grader(qwen_answer, (qwen,), normalise_qwen),
}


def make_grader(name: str) -> Grader:
  """Build the grader with a given name, a key of GRADERS.

  Raises:
    ValueError: there is no grader with this name, or its package is missing.
  """
  if name not in GRADERS:
    raise ValueError(
      f"task.name: math/... ends in one of {tuple(GRADERS)}, got {name!r}"
    )
  return GRADERS[name]()


def make_verifier(grader: Grader) -> Verifier:
  """Build the verifier of problems whose answer holds a list 'gold'.

  Args:
    grader: extracts and compares answers.

  Returns:
    verify(problem, response) -> Verdict, which no str makes raise. An answer is
    right if it equals one of the gold answers. The reason is 'no answer',
    'too long', 'timeout', 'failed', 'wrong' or 'correct'. If an equality is
    Prepared, the verifier is a types.BatchVerifier.
  """
  if any(isinstance(equal, Prepared) for equal in grader.equalities):
    return _BatchVerifier(grader)

  def verify(problem: Problem, response: str) -> Verdict:
    return _verify(grader, problem, response)

  return verify


def _verify(grader: Grader, problem: Problem, response: str) -> Verdict:
  golds = problem.answer["gold"]
  answer = grader.extract(response)
  if answer is None:
    return Verdict(0.0, "no answer", None)
  if _too_long(answer, golds):
    return Verdict(0.0, "too long", None)
  reason = _compare(answer, golds, grader.equalities)
  reward = float(reason == "correct")
  return Verdict(reward, reason, grader.spelling(answer))


class _BatchVerifier:
  """A verifier that prepares the comparisons of a whole batch."""

  def __init__(self, grader: Grader):
    self._grader = grader
    cheap = [e for e in grader.equalities if not isinstance(e, Prepared)]
    self._first = grader._replace(equalities=cheap)

  def __call__(self, problem: Problem, response: str) -> Verdict:
    """Verify one response."""
    return _verify(self._grader, problem, response)

  def batch(
    self, problems: Sequence[Problem], responses: Sequence[str]
  ) -> list[Verdict]:
    """Verify one response to each problem, with all processes at once."""
    pairs = []
    for problem, response in zip(problems, responses, strict=True):
      if _verify(self._first, problem, response).reason == "wrong":
        answer = self._grader.extract(response)
        assert answer is not None
        pairs += [(answer, gold) for gold in problem.answer["gold"]]
    for equal in self._grader.equalities:
      if isinstance(equal, Prepared):
        equal.prepare(pairs)
    return list(map(self, problems, responses))


def _too_long(answer: str, golds: Sequence[str]) -> bool:
  return len(answer) > max(MAX_LENGTH, *map(len, golds))


def _compare(answer: str, golds: Sequence[str], equalities) -> str:
  """Compare an answer with the gold answers; return the verdict's reason."""
  reason = "wrong"
  for equal in equalities:
    for gold in golds:
      try:
        if equal(answer, gold):
          return "correct"
      except TimeoutError:
        reason = "timeout"
      except WorkerError:
        reason = "failed"
  return reason


def make_equivalence(grader: Grader) -> Equal:
  """Build the equivalence of two answers, for clusters: any equality holds.

  It raises what an equality raises, TimeoutError for example.
  """
  equalities = list(map(_patient_once, grader.equalities))
  return lambda a, b: any(equal(a, b) for equal in equalities)


def _patient_once(equal: Equal) -> Equal:
  """Build an equality that waits only once for an answer that hangs.

  Otherwise one such answer would cost the time limit again for each other
  answer of its group. After a comparison took too long, each of its answers is
  compared with 1. One that takes too long again is to blame, and from then on
  its comparisons raise TimeoutError at once.
  """
  hangs: dict[str, bool] = {}

  def examine(answer: str) -> None:
    if answer in hangs:
      return
    if len(hangs) >= MAX_REMEMBERED:
      hangs.clear()
    hangs[answer] = False
    try:
      equal(answer, "1")
    except TimeoutError:
      hangs[answer] = True
    except WorkerError:
      pass

  def patient_once(a: str, b: str) -> bool:
    if hangs.get(a) or hangs.get(b):
      raise TimeoutError("comparisons with one of the two answers hang")
    try:
      return equal(a, b)
    except TimeoutError:
      examine(a)
      examine(b)
      raise

  return patient_once
