r"""Parse numbers in answers and compare their values exactly.

Values are exact fractions of bounded size, so 2014/2015 is not 2015/2016. Only
a rounded gold answer has a tolerance. A gold answer counts as rounded if it is
a decimal with four or more digits after its point that is no fraction
with a denominator of up to 256. Then every value is right that differs from it
by at most half a unit of its last digit: 1/3 is right for 0.3333, and 3.14159
for 3.1416. By this rule 1012.50, 0.333 and 0.0625 (a sixteenth) are exact.
"""

from fractions import Fraction
import math
import re

from entrojax.answers.spelling import MAX_LENGTH, normalise

ROUNDED_DIGITS = 4  # a decimal with fewer digits after its point is exact
SIMPLE = 256  # so is a fraction whose denominator is not above this


def same_number(answer: str, gold: str) -> bool:
  """Return whether an answer is the number that a gold answer states.

  The tolerance of a rounded gold answer is described in the module's docstring.
  Returns False if one of the two is no number.
  """
  value, target = number(answer), number(gold)
  if value is None or target is None:
    return False
  return abs(value - target) <= tolerance(gold)


def tolerance(gold: str) -> Fraction:
  """Return how much an answer may differ from a gold answer: 0 if exact."""
  match = re.fullmatch(r"[+-]?[0-9]*\.([0-9]+)", gold.strip(" $"))
  if not match or len(match[1]) < ROUNDED_DIGITS or len(gold) > MAX_LENGTH:
    return Fraction(0)
  if Fraction(match[0]).denominator <= SIMPLE:
    return Fraction(0)
  return Fraction(1, 2 * 10 ** len(match[1]))


def number(text: str) -> Fraction | None:
  r"""Parse a number: a decimal or a fraction, a power of ten, a percentage.

  Examples are 1.5, 1/2, 3e8, 3*10^8, 10^8, 50% and the mixed number
  1\frac{1}{2}.
  Returns None for any other text, and for exponents of more than three digits.
  """
  text = normalise(text)
  if len(text) > MAX_LENGTH:
    return None
  mixed = _MIXED.fullmatch(text)
  if mixed:
    whole, above, below = (int(digits) for digits in mixed.group(2, 3, 4))
    if not above < below:
      return None
    mixed_value = whole + Fraction(above, below)
    return -mixed_value if mixed[1] == "-" else mixed_value
  text = _IN_PARENTHESES.sub(r"\1", text)
  match = _NUMBER.fullmatch(re.sub(r"\A([+-]?)10\^", r"\g<1>1*10^", text))
  if not match:
    return None
  top, bottom, exponent, power, percent = match.groups()
  if bottom and not Fraction(bottom):
    return None
  value = Fraction(top) / Fraction(bottom or 1)
  value *= Fraction(10) ** int(exponent or power or 0)
  return value / 100 if percent else value


def same_multiple(answer: str, gold: str) -> bool:
  r"""Return whether both are the same multiple of the same root or constant.

  Examples are \frac{3\pi}{2} and \frac{3}{2}\pi, or \frac{\sqrt2}{2} and
  \frac{1}{2}\sqrt{2}.
  """
  first, second = _multiple(answer), _multiple(gold)
  return first is not None and first == second


def _multiple(text: str) -> tuple[Fraction, str] | None:
  """Divide a text into a factor and roots, letters or pi; None for others."""
  match = _MULTIPLE.fullmatch(normalise(text))
  if not match:
    return None
  sign, factor, top, bottom, rest, below = match.groups()
  divisors = [int(digits or 1) for digits in (bottom, below)]
  if not all(divisors):
    return None
  value = Fraction(factor or top or 1) / math.prod(divisors)
  return (-value if sign == "-" else value), rest


_MULTIPLE = re.compile(
  r"(-?)\(?(?:([0-9]{1,40})|\(([0-9]{1,40})/([0-9]{1,40})\))?\*?"
  r"((?:\\pi|sqrt\([0-9a-z+-]{1,80}\)|[a-z]){1,8})\)?(?:/([0-9]{1,40}))?"
)
_DIGITS = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_NUMBER = re.compile(
  rf"([+-]?{_DIGITS})(?:/([+-]?{_DIGITS})|e([+-]?[0-9]{{1,3}})"
  rf"|\*10\^([+-]?[0-9]{{1,3}}))?(%)?"
)
_MIXED = re.compile(  # 1(1/2) or 1 1/2, but 11/2 is a fraction
  r"([+-]?)([0-9]{1,40})(?: (?=[^()]*\Z)|\((?=.*\)\Z))([0-9]{1,40})/"
  r"([0-9]{1,40})\)?"
)
_IN_PARENTHESES = re.compile(
  rf"(?<![\w.)])\(([+-]?{_DIGITS})\)(?![\w.(])", re.ASCII
)
