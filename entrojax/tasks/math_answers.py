r"""Graders for mathematics: extract the answer of a response and compare it.

A grader has three parts: a function that extracts the answer of a response,
equalities that are tried in order to compare it with the gold answer, and a
spelling. Answers with the same spelling vote together in maj@k.

    name         answer                      right if
    boxed        last closed \boxed{}        same spelling, or same number
    integer      last closed \boxed{}        same integer (AIME: 025 is 25)
    math_verify  last closed \boxed{}        by boxed's rules, or by math-verify
    gsm8k        last closed \boxed{}, or    by boxed's rules
                 without a box last number
    dapo         text after last `Answer:`   same string after DAPO's rules
    dapo_box     box in last 100 characters  same string
    qwen         box, text after "he answer  same string after Qwen's rules, or
                 is", or last number         same number, or 100 x or / 100

A verifier built here never raises, never evaluates an answer as code, and takes
time linear in the length of the response. Only short answers are compared, and
numbers are exact fractions of bounded size. Only math_verify does algebra, in
separate processes with a time limit.

Deviation: DAPO's reward is +1 or -1. Here every reward is 1 or 0; a shift
belongs to the shaping of rewards.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
import functools
import importlib.util
import re
from typing import NamedTuple

from entrojax.answers import symbolic_equality
from entrojax.answers.process_pool import Pool, WorkerError
from entrojax.answers.spelling import (
  MAX_LENGTH,
  boxed,
  exact,
  normalise,
  normalised,
)
from entrojax.arguments import require_in
from entrojax.types import Problem, Verdict, Verifier

DAPO_TAIL = 300  # `dapo` reads this many characters at the end of a response
DAPO_BOX_TAIL = 100  # and `dapo_box` this many
TOLERANCE = 1e-4  # relative to the gold answer, from arXiv 2506.01347's code
VERIFY_SECONDS = 5.0  # time limit of one comparison by math-verify

Extract = Callable[[str], str | None]  # response -> its answer, or None
Equal = Callable[[str, str], bool]  # (answer, gold) -> whether they are equal


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
  r"""Extract the last \boxed{...}; without a box, extract the last number.

  If the last box was cut off, there is no answer, and no number replaces it.
  """
  if "\\boxed" in response:
    return boxed(response)
  return last_number(response)


def last_number(response: str) -> str | None:
  """Extract the last number in a text, without commas."""
  last = None
  for match in _NUMBER_IN_TEXT.finditer(response):
    last = match[0]
  return last.replace(",", "") if last else None


def qwen_answer(response: str) -> str | None:
  r"""Extract the last box, the text after "he answer is", or the last number.

  Only the first line of the first of these that exists is taken. An unclosed
  box extends to the end of the response, and a box without braces to the next
  dollar sign. This is lenient: a response that was cut off may be rewarded. The
  rules come from Qwen2.5-Math's evaluation code as used by RLVR-Decomposed,
  arXiv 2506.01347.
  """
  if "boxed" in response:
    text = _after_boxed(response.rpartition("boxed")[2])
  elif "he answer is" in response:
    text = response.rpartition("he answer is")[2]
  else:
    text = last_number(response) or ""
  line = text.strip().partition("\n")[0].removeprefix(":").strip()
  return line.removesuffix(".").removesuffix("/").strip() or None


def _after_boxed(text: str) -> str:
  """Return the inside of a box, given the text after the word `boxed`."""
  if not text.startswith("{"):
    return text.partition("$")[0]
  depth = 0
  for brace in re.finditer("[{}]", text):
    depth += 1 if brace[0] == "{" else -1
    if depth == 0:
      return text[1 : brace.start()]
  return text[1:]


# -- equality -----------------------------------------------------------------


def integer(answer: str, gold: str) -> bool:
  """Return whether both are the same integer, such as 025 and 25."""
  value = normalise(answer)
  return bool(re.fullmatch("-?[0-9]+", value)) and value == normalise(gold)


def numeric(*, tolerance: float = TOLERANCE, percent: bool = False) -> Equal:
  """Build an equality of decimals, fractions, powers of ten and percentages.

      |answer - gold| <= tolerance |gold|

  Deviation: if the gold answer is written as an integer, only that integer is
  right, because 9,999 is not 10,000.

  Args:
    tolerance: the largest difference, relative to the gold answer, in [0, 1).
    percent: if True, a hundredth of the gold answer and a hundred times the
      gold answer are right too, as in the code of arXiv 2506.01347. This
      accepts 50 for 0.5, which is a false positive.

  Returns:
    An equality of (answer, gold).

  Raises:
    ValueError: the tolerance is out of range.
  """
  require_in("numeric.tolerance", tolerance, "[0, 1)")
  scales = _PERCENT if percent else (Fraction(1),)

  def equal(answer: str, gold: str) -> bool:
    whole = re.fullmatch("-?[0-9]+", normalise(gold))
    return _near(answer, gold, 0.0 if whole else tolerance, scales)

  return equal


_PERCENT = (Fraction(1), Fraction(1, 100), Fraction(100))


def _near(answer: str, gold: str, tolerance: float, scales) -> bool:
  """Return whether a number is near another one times any of some scales."""
  value, target = number(answer), number(gold)
  if value is None or target is None:
    return False
  targets = [scale * target for scale in scales]
  return any(abs(value - t) <= Fraction(tolerance) * abs(t) for t in targets)


def number(text: str) -> Fraction | None:
  """Parse a number: a decimal or a fraction, a power of ten, a percentage.

  Examples are 1.5, 1/2, 3e8, 3*10^8 and 50%. Returns None for any other text,
  and for exponents of more than three digits.
  """
  text = normalise(text)
  if len(text) > MAX_LENGTH:
    return None
  match = _NUMBER.fullmatch(_IN_PARENTHESES.sub(r"\1", text))
  if not match:
    return None
  top, bottom, exponent, power, percent = match.groups()
  if bottom and not Fraction(bottom):
    return None
  value = Fraction(top) / Fraction(bottom or 1)
  value *= Fraction(10) ** int(exponent or power or 0)
  return value / 100 if percent else value


def same_spelling(spelling: Callable[[str], str]) -> Equal:
  """Build the equality of answers that have the same spelling."""
  return lambda answer, gold: spelling(answer) == spelling(gold)


def qwen(answer: str, gold: str) -> bool:
  """Return whether two answers are equal by the rules of RLVR-Decomposed.

  They are equal if one of these holds: they are the same string apart from
  case; they are the same number to a relative 1e-4, or one is 100 times the
  other; they are the same string without parentheses and braces; they are
  tuples with equal elements.

  Deviation: matrices and symbolic equality are left to math_verify.
  """
  a, b = (normalise_qwen(text).lower() for text in (answer, gold))
  bare = [re.sub(r"[(){}]", "", text) for text in (a, b)]
  if a == b or _near_qwen(a, b) or (bare[0] == bare[1] and bare[0]):
    return True
  tuples = [_elements(text) for text in (a, b)]
  if not all(tuples) or len(tuples[0]) != len(tuples[1]):
    return False
  return all(x == y or _near_qwen(x, y) for x, y in zip(*tuples, strict=True))


def _near_qwen(a: str, b: str) -> bool:
  return _near(a, b, TOLERANCE, _PERCENT)


def _elements(text: str) -> list[str]:
  """Split a tuple or an interval at its commas; [] for any other text."""
  if not re.fullmatch(r"[(\[].*[)\]]", text, re.DOTALL):
    return []
  return text[1:-1].split(",")


def math_verify(*, size: int = 1, seconds: float = VERIFY_SECONDS) -> Equal:
  """Build the equality of the package math-verify, run in separate processes.

  Answers and gold answers are read as LaTeX. The package accepts 50% for both
  50 and 0.5, and ignores units.

  Args:
    size: the number of processes, which all threads share.
    seconds: the time limit of one comparison.

  Returns:
    An equality of (answer, gold). It raises TimeoutError if a comparison hangs
    and WorkerError if it fails; make_verifier turns both into verdicts. The
    results of recent pairs, hanging ones included, are remembered.

  Raises:
    ValueError: the package is missing, or an argument is out of range.
  """
  if importlib.util.find_spec("math_verify") is None:
    raise ValueError(
      "task.name: math/math_verify needs a package that is not installed: "
      "pip install 'entrojax[math]'"
    )
  pool = Pool(
    symbolic_equality.same, size=size, seconds=seconds, warm_up=("1", "1")
  )
  try:
    pool.call("1", "1")
  except (TimeoutError, WorkerError) as error:
    raise ValueError(
      f"task.name: math-verify does not work here: {error}"
    ) from error

  @functools.lru_cache(maxsize=65_536)
  def outcome(answer: str, gold: str) -> bool | type[Exception]:
    try:
      return pool.call(answer, gold)
    except (TimeoutError, WorkerError) as error:
      return type(error)

  def equal(answer: str, gold: str) -> bool:
    if max(len(answer), len(gold)) > MAX_LENGTH:
      return False
    result = outcome(answer, gold)
    if isinstance(result, type):
      raise result(f"math-verify gave no verdict on {answer[:80]!r}")
    return result

  return equal


# -- spellings of other codebases ---------------------------------------------

_DAPO_WORDS = (
  *("square", "ways", "integers", "dollars", "mph", "inches", "hours", "km"),
  *("units", "points", "feet", "minutes", "digits", "cents", "degrees", "cm"),
  *("gm", "pounds", "meters", "meals", "edges", "students", "multiples"),
  *(r"\ldots", r"\dots", r"^\circ", r"^{\circ}", r"\;", "{,}", '"'),
  *(r"\text{}", r"\mathrm{th}"),
)


def normalise_dapo(answer: str) -> str:
  r"""Rewrite an answer by DAPO's rules (arXiv 2503.14476), after Minerva's.

  Only the text after the last `=` is kept. Articles, spaces, units, degrees and
  quotes are removed wherever their letters occur, so words may lose letters, in
  answer and gold answer alike. If there is a $...$, only its inside is kept,
  and so is the inside of \text and \boxed. \frac12 and \sqrt2 get braces.
  Commas between digits are removed.
  """
  if len(answer) > MAX_LENGTH:
    return answer.strip()
  text = answer.rpartition("=")[2]
  for old, new in (
    *(("an ", ""), ("a ", ""), (".$", "$"), (r"\$", ""), (r"\ ", "")),
    *((" ", ""), ("mbox", "text"), (r",\text{and}", ","), (r"\text{and}", ",")),
    *((word, "") for word in _DAPO_WORDS),
  ):
    text = text.replace(old, new)
  inside = re.search(r"\$(.*?)\$", text, re.DOTALL)
  text = inside[1] if inside else text
  for pattern, replacement in (
    (r"\\(?:text|textbf|overline)\{(.*?)\}", r"\1"),
    (r"\\boxed\{(.*)\}", r"\1"),
    (r"frac([^{}])([^{}])", r"frac{\1}{\2}"),
    (r"sqrt([^{}])", r"sqrt{\1}"),
    (r"\$", ""),
  ):
    text = re.sub(pattern, replacement, text)
  digits = text.replace(",", "").strip()
  return digits if re.fullmatch("[0-9]+", digits) else text.strip()


def normalise_qwen(answer: str) -> str:
  r"""Rewrite an answer by Qwen2.5-Math's rules, as RLVR-Decomposed uses them.

  Line breaks, \!, \left, \right, \cdot, degrees, $, %, "and" and spaces are
  removed. So are a unit in a final \text, zeros after the decimal point, and an
  `x =` with a name of one or two letters. dfrac becomes frac, and \frac12,
  \sqrt2 and 1/2 get braces.
  """
  text = answer.strip()
  if len(text) > MAX_LENGTH:
    return text
  for pattern, replacement in _QWEN_RULES:
    text = re.sub(pattern, replacement, text).strip()
  return text


_QWEN_RULES = (
  (r"\n|\\!", ""),
  (r"[dt]frac", "frac"),
  (r"\\left|\\right|\\cdot", ""),
  (r"(?<=.)\\text\s*\{[^{}]*\}\Z", ""),
  (r"\^\s*\{\s*\\circ\s*\}|\^\s*\\circ|\\?\$|\\?%|and", ""),
  (r"([0-9])\.0+(?![0-9])", r"\1"),
  (r"\A[^=]{1,2}?\s*=([^=]*)\Z", r"\1"),
  (r"\s", ""),
  (r"\\sqrt([^{\\])", r"\\sqrt{\1}"),
  (r"\\frac([^{\\])([^{\\])", r"\\frac{\1}{\2}"),
  (r"\\frac([^{\\])\{", r"\\frac{\1}{"),
  (r"\\frac\{([^{}]*)\}([^{\\])", r"\\frac{\1}{\2}"),
  (r"\A(-?[0-9]+)/(-?[0-9]+)\Z", r"\\frac{\1}{\2}"),
)

_DIGITS = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_NUMBER = re.compile(
  rf"([+-]?{_DIGITS})"
  rf"(?:/({_DIGITS})|e([+-]?[0-9]{{1,3}})|\*10\^([+-]?[0-9]{{1,3}}))?(%)?"
)
_IN_PARENTHESES = re.compile(
  rf"(?<![\w.)])\(([+-]?{_DIGITS})\)(?![\w.(])", re.ASCII
)
_NUMBER_IN_TEXT = re.compile(
  r"(?:(?<![0-9)])-)?(?:[0-9]+(?:,[0-9]{3}(?![0-9]))*(?:\.[0-9]+)?|\.[0-9]+)"
)


# -- graders and the verifier -------------------------------------------------

GRADERS: dict[str, Callable[[], Grader]] = {
  "boxed": lambda: Grader(boxed, (normalised, numeric())),
  "integer": lambda: Grader(boxed, (integer,)),
  "math_verify": lambda: Grader(boxed, (normalised, numeric(), math_verify())),
  "gsm8k": lambda: Grader(gsm8k_answer, (normalised, numeric())),
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
    'too long', 'timeout', 'failed', 'wrong' or 'correct'.
  """

  def verify(problem: Problem, response: str) -> Verdict:
    golds = problem.answer["gold"]
    answer = grader.extract(response)
    if answer is None:
      return Verdict(0.0, "no answer", None)
    if len(answer) > max(MAX_LENGTH, *map(len, golds)):
      return Verdict(0.0, "too long", None)
    reason = _compare(answer, golds, grader.equalities)
    reward = float(reason == "correct")
    return Verdict(reward, reason, grader.spelling(answer))

  return verify


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
  """Build the equivalence of two answers, for clusters: any equality holds."""
  return lambda a, b: any(equal(a, b) for equal in grader.equalities)
