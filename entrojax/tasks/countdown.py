"""Countdown: reach a target with given numbers, each used exactly once.

Prompt `3 5 7 9=24:`; a right response is an infix expression of the target and
nothing else, such as `(3+9)*(7-5)`. The language of responses:

    sum     = product (('+' | '-') product)*
    product = factor (('*' | '/') factor)*
    factor  = number | '(' sum ')'
    number  = ASCII digits without a leading zero

There is no unary minus. Operators associate to the left; division is rational.
Problems are enumerated, not sampled, so a data set is a pure function of the
arguments of `all_problems`.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
import functools
import itertools
import math

from entrojax.types import Family, Problem, Verdict

MAX_RESPONSE_LENGTH = 64  # characters, spaces included
MAX_DIGITS = 4  # of one number

CHARACTERS = "0123456789+-*/()= :"  # all that prompts and responses contain

_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}
_NUMBER_PRECEDENCE = 3

Multiset = tuple[int, ...]  # numbers in ascending order
Ratio = tuple[int, int]  # reduced (numerator, denominator > 0)
Token = int | str  # a number, or one of + - * / ( )


def format_prompt(numbers: Iterable[int], target: int) -> str:
  """Writes a prompt, e.g. `3 5 7 9=24:`; the numbers in ascending order."""
  return f"{' '.join(str(n) for n in sorted(numbers))}={target}:"


def make_problem(numbers: Iterable[int], target: int) -> Problem:
  """Makes one problem; its answer is what `verify` needs, not a solution."""
  numbers = sorted(int(n) for n in numbers)
  answer = {"numbers": numbers, "target": int(target)}
  return Problem(format_prompt(numbers, target), answer)


# -- enumeration --------------------------------------------------------------


def all_problems(
  *,
  count: int = 4,
  largest: int = 9,
  lowest_target: int = 10,
  highest_target: int = 99,
) -> list[Problem]:
  """Enumerates every solvable problem, in order of numbers, then of target.

  Args:
    count: numbers in a problem.
    largest: numbers are drawn from 1 to this, repeats allowed.
    lowest_target: the smallest target, an integer.
    highest_target: the largest target, included.

  Returns:
    Problems that some expression over the rationals solves.
  """
  if count < 1 or largest < 1:
    raise ValueError(f"count={count} and largest={largest} must be at least 1")
  if largest >= 10**MAX_DIGITS:
    raise ValueError(f"largest={largest} has more than {MAX_DIGITS} digits")
  memo: dict[Multiset, set[Ratio]] = {}
  problems: list[Problem] = []
  for numbers in itertools.combinations_with_replacement(
    range(1, largest + 1), count
  ):
    targets = sorted(
      numerator
      for numerator, denominator in _reachable(numbers, memo)
      if denominator == 1 and lowest_target <= numerator <= highest_target
    )
    problems.extend(make_problem(numbers, target) for target in targets)
  return problems


def _reachable(
  numbers: Multiset, memo: dict[Multiset, set[Ratio]]
) -> set[Ratio]:
  """Returns every value of numbers."""
  if len(numbers) == 1:
    return {(numbers[0], 1)}
  if numbers not in memo:
    memo[numbers] = {
      value
      for left, right in _splits(numbers)
      if left <= right  # _combinations takes both orders
      for x in _reachable(left, memo)
      for y in _reachable(right, memo)
      for value in _combinations(x, y)
    }
  return memo[numbers]


def _combinations(x: Ratio, y: Ratio) -> list[Ratio]:
  """Returns x + y, x - y, y - x, x * y, x / y, y / x, reduced."""
  (a, b), (c, d) = x, y
  ad, bc, bd = a * d, b * c, b * d
  values = [_reduced(ad + bc, bd), _reduced(a * c, bd)]
  values += [_reduced(ad - bc, bd), _reduced(bc - ad, bd)]
  if c:
    values.append(_reduced(ad, bc))
  if a:
    values.append(_reduced(bc, ad))
  return values


def _reduced(numerator: int, denominator: int) -> Ratio:
  divisor = math.gcd(numerator, denominator)
  if denominator < 0:
    divisor = -divisor
  return numerator // divisor, denominator // divisor


@functools.lru_cache(maxsize=4096)
def _splits(numbers: Multiset) -> list[tuple[Multiset, Multiset]]:
  """Returns every ordered pair of non-empty multisets that make up numbers."""
  pairs = set()
  for size in range(1, len(numbers)):
    for chosen in itertools.combinations(range(len(numbers)), size):
      left = tuple(numbers[i] for i in chosen)
      right = tuple(n for i, n in enumerate(numbers) if i not in chosen)
      pairs.add((left, right))
  return sorted(pairs)


# -- solutions for the supervised warm-up -------------------------------------


def solutions_of_multiset(
  numbers: Iterable[int], *, lowest_target: int = 10, highest_target: int = 99
) -> dict[int, list[str]]:
  """Writes every expression of the numbers whose value is in the target range.

  Every intermediate result is an integer (it may be negative), so a problem
  that needs a fraction, such as 3 3 8 8=24, has no entry. Parentheses around a
  part of an expression may stand where they are not needed: (3+5)+7+9.

  Returns:
    target -> its distinct expressions, sorted.
  """
  solutions: dict[int, list[str]] = {}
  for text, value, _ in _expressions(tuple(sorted(numbers))):
    if lowest_target <= value <= highest_target:
      solutions.setdefault(value, []).append(text)
  return {target: sorted(solutions[target]) for target in sorted(solutions)}


def _expressions(numbers: Multiset) -> list[tuple[str, int, int]]:
  """Returns (text, value, precedence) of every expression, each text once."""
  if len(numbers) == 1:
    return [(str(numbers[0]), numbers[0], _NUMBER_PRECEDENCE)]
  expressions = []
  for left, right in _splits(numbers):
    expressions += [
      written
      for x in _small_expressions(left)
      for y in _small_expressions(right)
      for written in _written(x, y)
    ]
  return expressions


# Sub-multisets are shared by many problems; whole problems are not.
_small_expressions = functools.lru_cache(maxsize=4096)(_expressions)


def _written(x, y) -> list[tuple[str, int, int]]:
  """Writes x op y in every way, where the value is an integer."""
  a, b = x[1], y[1]
  values = {"+": a + b, "-": a - b, "*": a * b}
  if b and a % b == 0:
    values["/"] = a // b
  return [
    (f"{left}{symbol}{right}", value, _PRECEDENCE[symbol])
    for symbol, value in values.items()
    for left in _operands(x, _PRECEDENCE[symbol])
    for right in _operands(y, _PRECEDENCE[symbol] + 1)
  ]


def _operands(expression, lowest_precedence: int) -> list[str]:
  """Writes an operand; parentheses are free where they are not needed.

  An expression below `lowest_precedence` needs them, a number never has them.
  """
  text, _, precedence = expression
  if precedence == _NUMBER_PRECEDENCE:
    return [text]
  if precedence < lowest_precedence:
    return [f"({text})"]
  return [text, f"({text})"]


@functools.lru_cache(maxsize=1024)
def _cached_solutions(
  numbers: Multiset, lowest: int, highest: int
) -> dict[int, list[str]]:
  return solutions_of_multiset(
    numbers, lowest_target=lowest, highest_target=highest
  )


def solutions(problem: Problem) -> Sequence[str]:
  """Returns all right responses whose intermediate results are integers.

  Distinct and sorted; none for a problem that needs a fraction.
  """
  numbers, target = problem.answer["numbers"], problem.answer["target"]
  lowest, highest = min(10, target), max(99, target)
  found = _cached_solutions(tuple(sorted(numbers)), lowest, highest)
  return found.get(target, ())


# -- verification -------------------------------------------------------------


def verify(problem: Problem, response: str) -> Verdict:
  """Judges a response; exact, never raises on a str, and never evals.

  Reasons: 'too long', 'unparseable', 'wrong numbers', 'division by zero',
  'wrong value', 'correct'; the first that holds. Spaces are allowed around the
  expression and between its tokens. Whatever parses votes in maj@k.
  """
  if len(response) > MAX_RESPONSE_LENGTH:
    return Verdict(0.0, "too long", None)
  tokens = _tokenize(response)
  if tokens is None or (postfix := _parse(tokens)) is None:
    return Verdict(0.0, "unparseable", None)
  answer = "".join(str(token) for token in tokens)
  numbers = sorted(token for token in tokens if isinstance(token, int))
  if numbers != sorted(problem.answer["numbers"]):
    return Verdict(0.0, "wrong numbers", answer)
  value = _evaluate(postfix)
  if value is None:
    return Verdict(0.0, "division by zero", answer)
  if value != problem.answer["target"]:
    return Verdict(0.0, "wrong value", answer)
  return Verdict(1.0, "correct", answer)


def equivalent(a: str, b: str) -> bool:
  """Says whether two expressions have the same value, exactly."""
  values = [_value(text) for text in (a, b)]
  return values[0] is not None and values[0] == values[1]


def _value(text: str) -> Fraction | None:
  """Returns the value of an expression; None if it has none."""
  if len(text) > MAX_RESPONSE_LENGTH:
    return None
  tokens = _tokenize(text)
  if tokens is None or (postfix := _parse(tokens)) is None:
    return None
  return _evaluate(postfix)


def _tokenize(text: str) -> list[Token] | None:
  """Splits text into numbers and symbols; None at any other character."""
  tokens: list[Token] = []
  i = 0
  while i < len(text):
    end = i
    while end < len(text) and text[end] in "0123456789":
      end += 1
    if end > i:
      if end - i > MAX_DIGITS or (text[i] == "0" and end - i > 1):
        return None
      tokens.append(int(text[i:end]))
      i = end
    elif text[i] in "+-*/()":
      tokens.append(text[i])
      i += 1
    elif text[i] == " ":
      i += 1
    else:
      return None
  return tokens


def _parse(tokens: Sequence[Token]) -> list[Token] | None:
  """Puts infix tokens into postfix order (shunting yard); None if malformed.

  Without recursion, so that no nesting can exhaust the stack.
  """
  postfix: list[Token] = []
  waiting: list[str] = []  # operators and open parentheses
  after_value = False  # whether a complete operand stands to the left
  for token in tokens:
    if (isinstance(token, int) or token == "(") == after_value:
      return None
    if isinstance(token, int):
      postfix.append(token)
      after_value = True
    elif token == "(":
      waiting.append(token)
    elif token == ")":
      while waiting and waiting[-1] != "(":
        postfix.append(waiting.pop())
      if not waiting:
        return None
      waiting.pop()
    else:
      while waiting and (_PRECEDENCE.get(waiting[-1], 0) >= _PRECEDENCE[token]):
        postfix.append(waiting.pop())
      waiting.append(token)
      after_value = False
  if not after_value or "(" in waiting:
    return None
  return postfix + waiting[::-1]


def _evaluate(postfix: Sequence[Token]) -> Fraction | None:
  """Evaluates postfix tokens exactly; None on a division by zero."""
  stack = []
  for token in postfix:
    if isinstance(token, int):
      stack.append(Fraction(token))
      continue
    y, x = stack.pop(), stack.pop()
    if token == "+":
      stack.append(x + y)
    elif token == "-":
      stack.append(x - y)
    elif token == "*":
      stack.append(x * y)
    elif y == 0:
      return None
    else:
      stack.append(x / y)
  return stack.pop()


FAMILY = Family(
  name="countdown",
  levels=(
    {"count": 4, "largest": 9},  # what the base that ships has learnt
    {"count": 4, "largest": 13},
  ),
  problems=all_problems,
  verify=verify,
  characters=CHARACTERS,
  equivalent=equivalent,
  solutions=solutions,
)
