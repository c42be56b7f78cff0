r"""The answer rules of two published codebases: DAPO and RLVR-Decomposed.

`normalise_dapo` follows DAPO's reward function (arXiv 2503.14476).
`normalise_qwen` and `qwen` follow the code with which RLVR-Decomposed (arXiv
2506.01347) judges MATH. It comes from the evaluations of ToRA and Qwen2.5-Math.
These rules are lenient on purpose, because they reproduce published numbers.

`qwen` accepts an answer if one of these holds after `normalise_qwen`:

    strings   the same apart from case, or without parentheses and braces
    choices   the gold is one of A to E, and so is the answer's last letter of
              these
    numbers   the same up to a relative error of 1e-4, also if one of them is
              100 times the other; commas in numbers are ignored
    tuples    in any brackets: the same number of elements, each accepted
    matrices  the same shape, each element accepted
    equations the same sides, also swapped; or `x =` in front of one of the two
    formulas  the same value up to a relative error of 1e-4, or equal as
              functions of their letters (formula_values.py)

Deviation: the published code compares formulas with sympy. It may hang, and it
evaluates text as code. Here formulas are evaluated at three points, so sets,
integrals and sums that sympy could simplify are compared as strings.
"""

from fractions import Fraction
import re

from entrojax.answers.formula_values import same_formula
from entrojax.answers.numbers import number
from entrojax.answers.spelling import MAX_LENGTH

TOLERANCE = 1e-4  # relative to the gold answer
_SCALES = (Fraction(1), Fraction(1, 100), Fraction(100))
_MAX_DEPTH = 4  # of tuples in tuples

# -- DAPO ---------------------------------------------------------------------

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


# -- RLVR-Decomposed ----------------------------------------------------------


def qwen_answer(response: str) -> str | None:
  """Extract the last box, the text after "he answer is", or the last number.

  Only the first line of the first of these that exists is taken. An unclosed
  box extends to the end of the response, and a box without braces to the next
  dollar sign. This is lenient: a response that was cut off may be rewarded.
  """
  if "boxed" in response:
    text = _after_boxed(response.rpartition("boxed")[2])
  elif "he answer is" in response:
    text = response.rpartition("he answer is")[2]
  else:
    numbers = re.findall(r"-?[0-9]*\.?[0-9]+", response.replace(",", ""))
    text = numbers[-1] if numbers else ""
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


def normalise_qwen(answer: str) -> str:
  r"""Rewrite an answer by the rules of RLVR-Decomposed.

  Removed are line breaks, dots at the end, \!, escaped and plain spaces, \left,
  \right, \cdot, \text and \mathbf (not their content), \mbox with its content,
  degrees, $, %, "and", `x\in`, zeros after the decimal point, and an `x =` with
  a name of one or two letters. A final \text{...} is removed with its content,
  if anything is left: it is a unit. j becomes i, dfrac becomes frac, and .5
  becomes 0.5. \frac12, \sqrt2 and 1/2 get braces.
  """
  text = answer.strip()
  if len(text) > MAX_LENGTH:
    return text
  for pattern, replacement in _QWEN_BEGIN:
    text = pattern.sub(replacement, text)
  text = re.sub(r"\\text\{.*?\}\Z", "", text).strip() or text
  for pattern, replacement in _QWEN_MIDDLE:
    text = pattern.sub(replacement, text)
  if "j" in text and "i" not in text:
    text = text.replace("j", "i")
  sides = text.split("=")
  if len(sides) == 2 and len(sides[0].strip()) <= 2:
    text = sides[1]
  for pattern, replacement in _QWEN_END:
    text = pattern.sub(replacement, text)
  return text


def _compiled(*rules: tuple[str, str]):
  return tuple((re.compile(pattern), new) for pattern, new in rules)


_QWEN_BEGIN = _compiled(
  (r"\n", ""),
  (r"(?<!\.)\.+\Z", ""),
  (r"\\!|(?<!\\)\\ ", ""),
  (r"\\begin\{array\}\{[^{}]*\}", r"\\begin{pmatrix}"),
  (r"\\end\{array\}", r"\\end{pmatrix}"),
  (r"bmatrix", "pmatrix"),
  (r"[dt]frac", "frac"),
  (r"\\([nlg])eq(?![A-Za-z])", r"\\\1e"),
  (r"\\(?:left|right)(?!arrow)", ""),
)
_QWEN_MIDDLE = _compiled(
  (r"\^\{\\circ\}|\^\\circ", ""),
  (r"\\?\$|(?<!\\)\\[()]", ""),
  (r"\\text|[xyz]\\in(?![A-Za-z])", ""),
  (r"\\?%", ""),
  (r"([ {])\.", r"\g<1>0."),
  (r"\\cdot(?![A-Za-z])", ""),
  (r"infinity", r"\\infty"),
  (r"(?<!\\)inf(?!ty)", r"\\infty"),
  (r"and|\\mathbf", ""),
  (r"\\mbox\{.*?\}", ""),
  (r"([0-9])\.0+(?![0-9])", r"\1"),
  (r"\A\.", "0."),
)
_QWEN_END = _compiled(
  (r"\\sqrt(\w+)", r"\\sqrt{\1}"),
  (r"\s", ""),
  (r"\\frac([^{\\])([^{\\])", r"\\frac{\1}{\2}"),
  (r"\\frac([^{\\])\{", r"\\frac{\1}{"),
  (r"\A(-?[0-9]+)/(-?[0-9]+)\Z", r"\\frac{\1}{\2}"),
)


def qwen(answer: str, gold: str) -> bool:
  """Return whether two answers are equal by the rules of RLVR-Decomposed."""
  if max(len(answer), len(gold)) > MAX_LENGTH:
    return answer.strip() == gold.strip()
  return _equal(normalise_qwen(answer), normalise_qwen(gold), 0)


def _equal(answer: str, gold: str, depth: int) -> bool:
  """Compare two answers that normalise_qwen has rewritten."""
  if gold in tuple("ABCDE"):
    choices = re.findall(r"\b[A-E]\b", answer.upper())
    if choices and choices[-1] == gold:
      return True
  a, b = answer.lower(), gold.lower()
  if a == b or _near(a, b):
    return True
  bare = [re.sub(r"[(){}]", "", text) for text in (a, b)]
  if not a or (bare[0] == bare[1] and bare[0]):
    return bool(a)
  cells = [_cells(text) for text in (a, b)]
  if all(cells) and depth < _MAX_DEPTH:
    return len(cells[0]) == len(cells[1]) and all(
      _equal(x, y, depth + 1) for x, y in zip(*cells, strict=True)
    )
  return _same_equation(a, b, depth)


def _same_equation(a: str, b: str, depth: int) -> bool:
  """Compare two equations or formulas."""
  sides = [text.split("=") for text in (a, b)]
  if len(sides[0]) == len(sides[1]) == 2:
    differences = [f"({left})-({right})" for left, right in sides]
    return any(
      same_formula(difference, differences[1], TOLERANCE)
      for difference in (differences[0], f"-({differences[0]})")
    )
  for one, other in ((0, 1), (1, 0)):
    simple = len(sides[one]) == 2 and len(sides[one][0]) <= 2
    if simple and len(sides[other]) == 1 and depth < _MAX_DEPTH:
      values = [a, b]
      values[one] = sides[one][1]
      return _equal(values[0], values[1], depth + 1)
  return same_formula(a, b, TOLERANCE)


def _near(answer: str, gold: str) -> bool:
  """Return whether a number is near another, its hundredth or hundredfold."""
  if any(re.match(r"[+-]?10\^", text) for text in (answer, gold)):
    return False  # a formula in the published code, which allows no hundredfold
  value, target = (number(text.replace(",", "")) for text in (answer, gold))
  if value is None or target is None:
    return False
  return any(
    abs(value - scale * target) <= Fraction(TOLERANCE) * abs(scale * target)
    for scale in _SCALES
  )


def _cells(text: str) -> list[str]:
  """Split a tuple, an interval or a matrix; [] for any other text."""
  matrix = re.fullmatch(r"\\begin\{pmatrix\}(.*)\\end\{pmatrix\}", text)
  if matrix:
    rows = [row for row in matrix[1].split(r"\\") if row]
    return [f"{cell}" for row in rows for cell in (*row.split("&"), "\\\\")]
  if not re.fullmatch(r"[(\[].*[)\]]", text, re.DOTALL):
    return []
  return text[1:-1].split(",")
