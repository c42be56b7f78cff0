"""Countdown: reach a target with given numbers, each used exactly once.

For the prompt `3 5 7 9=24:` a right response is an infix expression whose value
is the target, such as `(3+9)*(7-5)`. Spaces between its tokens are ignored, and
any other text makes it wrong. The language of responses:

    sum     = product (('+' | '-') product)*
    product = factor (('*' | '/') factor)*
    factor  = number | '(' sum ')'
    number  = at most 4 ASCII digits without a leading zero

There is no unary minus. Operators associate to the left, and division is exact
(rational). A response of more than 64 characters is wrong.

Problems are enumerated, not sampled, so a data set is a pure function of the
arguments of `all_problems`. Every problem can be solved. `solutions` lists the
right responses whose intermediate results are all integers.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
import functools
import itertools
import math

from entrojax.arguments import require_at_least, require_in
from entrojax.types import Family, Problem, Summary, Verdict

MAX_RESPONSE_LENGTH = 64  # characters, spaces included
MAX_DIGITS = 4  # digits of one number

CHARACTERS = "0123456789+-*/()= :"  # the alphabet of prompts and responses

_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}
_NUMBER_PRECEDENCE = 3

Multiset = tuple[int, ...]  # numbers in ascending order
Ratio = tuple[int, int]  # reduced (numerator, denominator > 0)
Token = int | str  # a number, or one of + - * / ( )


def format_prompt(numbers: Iterable[int], target: int) -> str:
  """Write a prompt such as `3 5 7 9=24:`, with the numbers sorted."""
  return f"{' '.join(str(n) for n in sorted(numbers))}={target}:"


def make_problem(numbers: Iterable[int], target: int) -> Problem:
  """Build one problem; its answer holds numbers and target, no solution."""
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
  """Enumerate every solvable problem, sorted by numbers, then by target.

  Args:
    count: the number of numbers in a problem.
    largest: the numbers are integers from 1 to this; they may repeat.
    lowest_target: the smallest target, an integer.
    highest_target: the largest target, inclusive.

  Returns:
    The problems that some expression over the rationals solves.

  Raises:
    ValueError: count or largest is out of range.
  """
  require_at_least("countdown.count", count, 1)
  require_in("countdown.largest", largest, f"[1, {10**MAX_DIGITS - 1}]")
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
  """Compute the value of every expression that uses all of the numbers."""
  if len(numbers) == 1:
    return {(numbers[0], 1)}
  if numbers not in memo:
    memo[numbers] = {
      value
      for left, right in _splits(numbers)
      if left <= right  # _combinations covers both orders
      for x in _reachable(left, memo)
      for y in _reachable(right, memo)
      for value in _combinations(x, y)
    }
  return memo[numbers]


def _combinations(x: Ratio, y: Ratio) -> list[Ratio]:
  """Compute x + y, x - y, y - x, x * y, x / y, y / x as reduced ratios."""
  (a, b), (c, d) = x, y
  ad, bc, bd = a * d, b * c, b * d
  values = [_reduce(ad + bc, bd), _reduce(a * c, bd)]
  values += [_reduce(ad - bc, bd), _reduce(bc - ad, bd)]
  if c:
    values.append(_reduce(ad, bc))
  if a:
    values.append(_reduce(bc, ad))
  return values


def _reduce(numerator: int, denominator: int) -> Ratio:
  """Reduce a fraction and make its denominator positive."""
  divisor = math.gcd(numerator, denominator)
  if denominator < 0:
    divisor = -divisor
  return numerator // divisor, denominator // divisor


@functools.lru_cache(maxsize=4096)
def _splits(numbers: Multiset) -> list[tuple[Multiset, Multiset]]:
  """List the ordered pairs of non-empty multisets that make up the numbers."""
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
  """Write every expression of the numbers with a value in the target range.

  All intermediate results are integers (they may be negative). A problem that
  needs a fraction, such as 3 3 8 8=24, therefore has no entry. Expressions may
  contain parentheses that are not needed, as in (3+5)+7+9.

  Args:
    numbers: the numbers; an expression uses each exactly once.
    lowest_target: the smallest value, an integer.
    highest_target: the largest value, inclusive.

  Returns:
    A dict from each target to its distinct expressions, sorted.
  """
  solutions: dict[int, list[str]] = {}
  for text, value, _ in _expressions(tuple(sorted(numbers))):
    if lowest_target <= value <= highest_target:
      solutions.setdefault(value, []).append(text)
  return {target: sorted(solutions[target]) for target in sorted(solutions)}


def _expressions(numbers: Multiset) -> list[tuple[str, int, int]]:
  """List (text, value, precedence) of every expression, each text once."""
  if len(numbers) == 1:
    return [(str(numbers[0]), numbers[0], _NUMBER_PRECEDENCE)]
  expressions = []
  for left, right in _splits(numbers):
    expressions += [
      expression
      for x in _small_expressions(left)
      for y in _small_expressions(right)
      for expression in _combine(x, y)
    ]
  return expressions


# Cached because many problems share sub-multisets; whole problems are not
# shared, and so not cached.
_small_expressions = functools.lru_cache(maxsize=4096)(_expressions)


def _combine(x, y) -> list[tuple[str, int, int]]:
  """Write x op y in every way, for each op with an integer value."""
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
  """Write an operand, with and without parentheses where both are allowed.

  An expression of a precedence below `lowest_precedence` needs parentheses. A
  number never has them.
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
  """Call solutions_of_multiset and remember its result."""
  return solutions_of_multiset(
    numbers, lowest_target=lowest, highest_target=highest
  )


def solutions(problem: Problem) -> Sequence[str]:
  """List the right responses whose intermediate results are all integers.

  They are distinct and sorted. A problem that needs a fraction has none.
  """
  numbers, target = problem.answer["numbers"], problem.answer["target"]
  lowest, highest = min(10, target), max(99, target)
  texts_by_target = _cached_solutions(tuple(sorted(numbers)), lowest, highest)
  return texts_by_target.get(target, ())


# -- verification -------------------------------------------------------------


def verify(problem: Problem, response: str) -> Verdict:
  """Verify a response with exact arithmetic; no str makes this raise.

  The text is parsed, never evaluated as Python. Spaces around the expression
  and between its tokens are ignored. Every response that parses votes in maj@k.
  The reason is the first of these that holds: 'too long', 'unparseable',
  'wrong numbers', 'division by zero', 'wrong value', 'correct'.
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
  """Return whether two expressions have exactly the same value."""
  values = [_value(text) for text in (a, b)]
  return values[0] is not None and values[0] == values[1]


def _value(text: str) -> Fraction | None:
  """Compute the exact value of an expression; None if it has none."""
  if len(text) > MAX_RESPONSE_LENGTH:
    return None
  tokens = _tokenize(text)
  if tokens is None or (postfix := _parse(tokens)) is None:
    return None
  return _evaluate(postfix)


def _tokenize(text: str) -> list[Token] | None:
  """Split a text into numbers and symbols; None if it holds anything else."""
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
  """Put infix tokens into postfix order (shunting yard); None if malformed.

  There is no recursion, so no depth of nesting can exhaust the stack.
  """
  postfix: list[Token] = []
  waiting: list[str] = []  # operators and open parentheses
  after_value = False  # whether a complete operand is to the left
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
  """Evaluate postfix tokens exactly; None on a division by zero."""
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
    {"count": 4, "largest": 9},  # the shipped base has learnt this level
    {"count": 4, "largest": 13},
  ),
  problems=all_problems,
  verify=verify,
  characters=CHARACTERS,
  equivalent=equivalent,
  solutions=solutions,
  summary=Summary(
    "reach the target with all numbers",
    "3 5 7 9=24:",
    "(3+9)*(7-5)",
    "numbers up to 9 or 13",
    "every expression with this value",
  ),
)
