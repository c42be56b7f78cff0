r"""How answers in mathematics are taken out of responses and compared.

A grader is a way to take the answer out, equalities that are tried in order,
and a spelling in which equal answers vote together:

    name         answer                      equal if
    boxed        last closed \boxed{}        same spelling, or same number
    integer      last closed \boxed{}        same integer (AIME: 025 is 25)
    math_verify  last closed \boxed{}        as boxed, or math-verify says so
    gsm8k        that, or the last number    as boxed
    dapo         last line `Answer:`         same string after DAPO's rules
    dapo_box     box in the last 100 chars   same string
    qwen         box, `he answer is`, or     same string after Qwen's rules, or
                 the last number             same number, percent or not

Nothing here evaluates an answer, raises on a str, or takes more than linear
time in a response: what is compared is short, and numbers are fractions of
bounded size. Only math_verify computes, in processes with a time limit.

Deviation: DAPO's reward is +1 or -1; here every verdict is 1 or 0, and the
shift is a matter of shaping the reward.
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
from entrojax.types import Problem, Verdict, Verifier

DAPO_TAIL = 300  # characters of a response that dapo reads
DAPO_BOX_TAIL = 100  # and dapo_box
TOLERANCE = 1e-4  # relative to the gold answer, arXiv 2506.01347's code
VERIFY_SECONDS = 5.0  # for one comparison by math-verify

Extract = Callable[[str], str | None]  # response -> answer; None: there is none
Equal = Callable[[str, str], bool]  # (answer, gold)


class Grader(NamedTuple):
  """A way to judge responses."""

  extract: Extract
  equalities: Sequence[Equal]  # tried in this order, cheap ones first
  spelling: Callable[[str], str] = normalise  # in which answers vote


# -- taking the answer out of a response --------------------------------------


def dapo_answer(response: str) -> str | None:
  """Returns what follows the last `Answer:` of the last 300 characters.

  Up to the end of its line, in any case; white space around the colon may be a
  line break. DAPO, arXiv 2503.14476, its reward function.
  """
  found = re.findall(r"(?i)answer\s*:\s*([^\n]+)", response[-DAPO_TAIL:])
  return (found[-1].strip() or None) if found else None


def dapo_box(response: str) -> str | None:
  r"""Returns the last \boxed{...} of the last 100 characters."""
  return boxed(response[-DAPO_BOX_TAIL:])


def gsm8k_answer(response: str) -> str | None:
  r"""Returns the last \boxed{...}, or else the last number.

  A box that was cut off is no answer, and no number replaces it.
  """
  if "\\boxed" in response:
    return boxed(response)
  return last_number(response)


def last_number(response: str) -> str | None:
  """Returns the last number in a text, without commas."""
  last = None
  for match in _NUMBER_IN_TEXT.finditer(response):
    last = match[0]
  return last.replace(",", "") if last else None


def qwen_answer(response: str) -> str | None:
  r"""Returns a box, what follows "he answer is", or else the last number.

  The first line of it. An unclosed box gives all that follows, a box without
  braces what stands before a dollar sign. Lenient: a response that was cut off
  may be rewarded. Evaluation code of Qwen2.5-Math as in RLVR-Decomposed,
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
  """Says whether both are the same integer, such as 025 and 25."""
  value = normalise(answer)
  return bool(re.fullmatch("-?[0-9]+", value)) and value == normalise(gold)


def numeric(*, tolerance: float = TOLERANCE, percent: bool = False) -> Equal:
  """Makes an equality of numbers: decimals, fractions, powers of ten, percents.

      |answer - gold| <= tolerance |gold|

  Deviation: a gold answer that is written as an integer wants that integer, for
  9,999 is not 10,000.

  Args:
    tolerance: relative to the gold answer.
    percent: whether a hundredth or the hundredfold of the gold answer is right
      too, as in the code of arXiv 2506.01347: 50 for 0.5, a false positive.

  Raises:
    ValueError: the tolerance is out of range.
  """
  if not 0 <= tolerance < 1:
    raise ValueError(f"numeric.tolerance must lie in [0, 1), got {tolerance}")
  scales = _PERCENT if percent else (Fraction(1),)

  def equal(answer: str, gold: str) -> bool:
    whole = re.fullmatch("-?[0-9]+", normalise(gold))
    return _near(answer, gold, 0.0 if whole else tolerance, scales)

  return equal


_PERCENT = (Fraction(1), Fraction(1, 100), Fraction(100))


def _near(answer: str, gold: str, tolerance: float, scales) -> bool:
  """Says whether a number is near another, or near a multiple of it."""
  value, target = number(answer), number(gold)
  if value is None or target is None:
    return False
  targets = [scale * target for scale in scales]
  return any(abs(value - t) <= Fraction(tolerance) * abs(t) for t in targets)


def number(text: str) -> Fraction | None:
  """Reads a decimal, a fraction of two, times a power of ten, or a percentage.

  None for all else, and for exponents of more than three digits.
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


def spelled(spelling: Callable[[str], str]) -> Equal:
  """Makes an equality of two answers' spellings."""
  return lambda answer, gold: spelling(answer) == spelling(gold)


def qwen(answer: str, gold: str) -> bool:
  """Says whether two answers are equal by the rules of RLVR-Decomposed.

  The same string but for case, the same number to 1e-4 or a hundredth or the
  hundredfold of it, the same string without parentheses and braces, or tuples
  whose members are equal.

  Deviation: matrices and symbolic equality are left to math_verify.
  """
  a, b = (normalise_qwen(text).lower() for text in (answer, gold))
  bare = [re.sub(r"[(){}]", "", text) for text in (a, b)]
  if a == b or _as_qwen(a, b) or (bare[0] == bare[1] and bare[0]):
    return True
  members = [_members(text) for text in (a, b)]
  if not all(members) or len(members[0]) != len(members[1]):
    return False
  return all(x == y or _as_qwen(x, y) for x, y in zip(*members, strict=True))


def _as_qwen(a: str, b: str) -> bool:
  return _near(a, b, TOLERANCE, _PERCENT)


def _members(text: str) -> list[str]:
  if not re.fullmatch(r"[(\[].*[)\]]", text, re.DOTALL):
    return []
  return text[1:-1].split(",")


def math_verify(*, size: int = 1, seconds: float = VERIFY_SECONDS) -> Equal:
  """Makes an equality by the package math-verify, in processes of their own.

  Gold answers and answers are read as LaTeX. Raises TimeoutError or WorkerError
  where a comparison hangs or fails, which a verifier turns into a verdict. No
  pair is compared twice while it is remembered, hanging ones included. The
  package takes 50% for both 50 and 0.5, and drops units.

  Args:
    size: processes, which threads may share.
    seconds: for one comparison.

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
    found = outcome(answer, gold)
    if isinstance(found, type):
      raise found(f"math-verify gave no verdict on {answer[:80]!r}")
    return found

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
  r"""Rewrites an answer by DAPO's rules (arXiv 2503.14476; Minerva's before).

  What follows the last `=`; articles, spaces, units, degrees and quotes go,
  wherever these letters stand; the first $...$ and the inside of \text and
  \boxed replace what holds them; \frac12 and \sqrt2 get braces; commas between
  digits go. Words may lose letters, on both sides alike.
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
  r"""Rewrites an answer by Qwen2.5-Math's rules, as RLVR-Decomposed uses them.

  Line breaks, \!, \left, \right, \cdot, degrees, $, %, "and" and spaces go; so
  do a unit in a \text at the end, zeros behind the point and an `x =` of one or
  two letters; dfrac is frac; \frac12, \sqrt2 and 1/2 get braces.
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
    dapo_answer, (spelled(normalise_dapo),), normalise_dapo
  ),
  "dapo_box": lambda: Grader(dapo_box, (exact,), str.strip),
  "qwen": lambda: Grader(qwen_answer, (qwen,), normalise_qwen),
}


def make_grader(name: str) -> Grader:
  """Makes one of GRADERS.

  Raises:
    ValueError: there is none of this name, or its package is missing.
  """
  if name not in GRADERS:
    raise ValueError(
      f"task.name: math/... ends in one of {tuple(GRADERS)}, got {name!r}"
    )
  return GRADERS[name]()


def make_verifier(grader: Grader) -> Verifier:
  """Makes verify(problem, response) of problems whose answer has 'gold'.

  An answer is right if it equals one of the gold answers. It never raises on a
  str. Reasons: 'no answer', 'too long', 'timeout', 'failed', 'wrong',
  'correct'.
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
  """Returns the reason of a verdict: what the first success or failure says."""
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


def equivalent(grader: Grader) -> Equal:
  """Makes what says whether two answers mean the same, for clusters."""
  return lambda a, b: any(equal(a, b) for equal in grader.equalities)
