r"""Compare formulas in LaTeX by their values, without computer algebra.

`same_formula` parses two formulas and evaluates them at three points. It knows
numbers, letters, + - * / ^, \frac, \sqrt, \pi, e, i, functions such as \sin and
\log, brackets, and products without a sign. Values are complex floating-point
numbers, so none grows without bound. A formula that cannot be parsed or
evaluated equals nothing. The time is linear in the length.
"""

import cmath
from collections.abc import Callable, Mapping, Sequence
import re

MAX_TOKENS = 256
_MAX_NESTING = 24  # of brackets and commands; deeper formulas are not parsed
_EXACT = 1e-9  # relative error of two functions that are equal
# arbitrary values of letters: no two formulas of different values share them
_POINTS = (0.731, 1.377, 2.193)

Value = Callable[[Mapping[str, complex]], complex]  # letters -> value


def same_formula(a: str, b: str, tolerance: float) -> bool:
  """Return whether two formulas have the same value.

  Args:
    a: a formula in LaTeX.
    b: another formula; the tolerance is relative to its value.
    tolerance: of formulas without letters, in [0, 1). Formulas with letters are
      compared to nine digits.
  """
  letters = [_letters(text) for text in (a, b)]
  if letters[0] != letters[1]:
    return False
  first, second = parse(a), parse(b)
  if first is None or second is None:
    return False
  error = max(tolerance, _EXACT) if not letters[0] else _EXACT
  for point in _POINTS if letters[0] else _POINTS[:1]:
    values = _at(sorted(letters[0]), point)
    try:
      x, y = first(values), second(values)
      near = abs(x - y) <= error * abs(y)
    except (ArithmeticError, ValueError, RecursionError):
      return False
    if not near:  # infinities and NaN are near nothing
      return False
  return True


def different_formulas(a: str, b: str) -> bool:
  r"""Return whether two formulas certainly have different values.

  Formulas that readers of LaTeX may read in two ways, such as \sin 2x, x^23 or
  1\frac12, are never certainly different.
  """
  texts = [
    _SPACE.sub(" ", re.sub(r"\\(?:cdot|times)\b", "*", t)) for t in (a, b)
  ]
  if not all(map(_PLAIN.fullmatch, texts)) or any(
    map(_AMBIGUOUS.search, texts)
  ):
    return False
  first, second = map(parse, texts)
  if first is None or second is None:
    return False
  letters = sorted(_letters(texts[0]) | _letters(texts[1]))
  for point in _POINTS:
    values = _at(letters, point)
    try:
      x, y = first(values), second(values)
      if abs(x - y) > _DIFFERENT * max(abs(x), abs(y)):
        return True
    except (ArithmeticError, ValueError, RecursionError):
      return False
  return False


def _at(letters: Sequence[str], point: float) -> dict[str, complex]:
  """Return a value of each letter."""
  return {
    letter: complex(point + 0.618 * k * point**2)
    for k, letter in enumerate(letters)
  }


_PRODUCT = re.compile(r"\\(?:cdot|times)(?![A-Za-z])")
_SPACE = re.compile(r"\\[,;:! ]|\\left(?![a-z])|\\right(?![a-z])|\s+")
_PLAIN = re.compile(r"(?:[0-9A-Za-z.+*/^(){} -]|\\frac|\\sqrt|\\pi(?![a-z]))+")
_AMBIGUOUS = re.compile(
  r"[0-9] *\\frac|[0-9] +[0-9]|\^[0-9][0-9]|\\(?:frac|sqrt) *[0-9]|"
  r"(?<![A-Za-z\\])[A-Za-z](?:[A-Za-z]|\()"
)
_DIFFERENT = 1e-6  # relative difference of values that are certainly not equal


def _letters(text: str) -> set[str]:
  """Return the letters of a formula that stand for variables."""
  return set(re.findall(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", " ", text))) - {
    *"ei"
  }


def parse(text: str) -> Value | None:
  """Parse a formula; None if it is none."""
  tokens = [token for token in _TOKEN.findall(text) if token.strip()]
  if not tokens or len(tokens) > MAX_TOKENS or not text.isascii():
    return None
  parser = _Parser(tokens)
  try:
    value = parser.sum()
  except (_ParseError, ValueError, RecursionError):  # '.' is no number
    return None
  return value if parser.done() else None


class _ParseError(Exception):
  """The text is not a formula."""


class _Parser:
  """A recursive descent over the tokens of a formula."""

  def __init__(self, tokens: list[str]):
    self._tokens = tokens
    self._next = 0
    self._depth = 0

  def done(self) -> bool:
    return self._next == len(self._tokens)

  def _peek(self) -> str:
    return "" if self.done() else self._tokens[self._next]

  def _take(self, *expected: str) -> str:
    token = self._peek()
    if not token or (expected and token not in expected):
      raise _ParseError
    self._next += 1
    return token

  def sum(self) -> Value:
    """Parse terms with + and - between them."""
    total = self._signed()
    while self._peek() in ("+", "-"):
      plus = self._take() == "+"
      total = _add(total, self._product(), 1 if plus else -1)
    return total

  def _signed(self) -> Value:
    """Parse the first term, which may have signs."""
    negative = False
    while self._peek() in ("+", "-"):
      negative ^= self._take() == "-"
    term = self._product()
    return _add(lambda values: 0j, term, -1) if negative else term

  def _product(self) -> Value:
    """Parse factors with *, / or nothing between them."""
    product = self._power()
    while self._peek() not in ("", "+", "-", ")", "]", "}"):
      divide = False
      if self._peek() in ("*", "/"):
        divide = self._take() == "/"
      factor = self._power(after_sign=True)
      product = _divide(product, factor) if divide else _times(product, factor)
    return product

  def _power(self, after_sign: bool = False) -> Value:
    """Parse a factor and its exponent."""
    negative = after_sign and self._peek() == "-"
    if negative:
      self._take()
    power = self._atom()
    if self._peek() == "^":
      self._take()
      power = _raise(power, self._exponent())
    return _add(lambda values: 0j, power, -1) if negative else power

  def _exponent(self) -> Value:
    """Parse an exponent: a group, or one atom with its sign."""
    if self._peek() == "-":
      self._take()
      return _add(lambda values: 0j, self._atom(), -1)
    return self._atom()

  def _group(self, closing: str) -> Value:
    value = self.sum()
    self._take(closing)
    return value

  def _argument(self) -> Value:
    """Parse the argument of a command: {...}, or one digit or letter."""
    if self._peek() == "{":
      self._take()
      return self._group("}")
    token = self._peek()
    if len(token) > 1 and token.isdigit():  # \frac12 is one half
      self._tokens[self._next : self._next + 1] = [token[0], token[1:]]
    return self._atom()

  def _atom(self) -> Value:
    """Parse a number, a letter, a group or a command with its arguments."""
    self._depth += 1
    if self._depth > _MAX_NESTING:
      raise _ParseError
    atom = self._one()
    self._depth -= 1
    return atom

  def _one(self) -> Value:
    token = self._take()
    if token in _CLOSING:
      return self._group(_CLOSING[token])
    if token[0].isdigit() or token[0] == ".":
      number = complex(float(token))
      return lambda values: number
    if token in _CONSTANTS:
      constant = _CONSTANTS[token]
      return lambda values: constant
    if token == "\\frac":
      return _divide(self._argument(), self._argument())
    if token == "\\sqrt":
      return self._root()
    if token in _FUNCTIONS:
      return self._function(_FUNCTIONS[token])
    if len(token) == 1 and token.isalpha():
      return lambda values: values[token]
    raise _ParseError

  def _root(self) -> Value:
    r"""Parse what follows \sqrt: a degree in brackets, and the argument."""
    degree: Value = lambda values: 2 + 0j
    if self._peek() == "[":
      self._take()
      degree = self._group("]")
    inside = self._argument()
    return _raise(inside, _divide(lambda values: 1 + 0j, degree))

  def _function(self, function: Callable[[complex], complex]) -> Value:
    r"""Parse what follows \sin: an exponent, and the argument."""
    exponent = None
    if self._peek() == "^":
      self._take()
      exponent = self._exponent()
    argument = self._power()
    value: Value = lambda values: function(argument(values))
    return value if exponent is None else _raise(value, exponent)


def _add(a: Value, b: Value, sign: int) -> Value:
  return lambda values: a(values) + sign * b(values)


def _times(a: Value, b: Value) -> Value:
  return lambda values: a(values) * b(values)


def _divide(a: Value, b: Value) -> Value:
  return lambda values: a(values) / b(values)


def _raise(a: Value, b: Value) -> Value:
  return lambda values: a(values) ** b(values)


_CLOSING = {"(": ")", "[": "]", "{": "}"}
_CONSTANTS = {"\\pi": complex(cmath.pi), "e": complex(cmath.e), "i": 1j}
_FUNCTIONS = {
  "\\sin": cmath.sin,
  "\\cos": cmath.cos,
  "\\tan": cmath.tan,
  "\\cot": lambda x: 1 / cmath.tan(x),
  "\\sec": lambda x: 1 / cmath.cos(x),
  "\\csc": lambda x: 1 / cmath.sin(x),
  "\\ln": cmath.log,
  "\\log": cmath.log10,
  "\\exp": cmath.exp,
}
_TOKEN = re.compile(
  r"[0-9]+(?:\.[0-9]+)?|\.[0-9]+|\\[A-Za-z]+|[A-Za-z]|[-+*/^()\[\]{}]|\s+|.",
  re.DOTALL,
)
