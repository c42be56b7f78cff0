"""The moves of Countdown with working: steps, take-backs and what they lead to.

In this task a response writes its search for the target move by move, as in
`9+3=12 5 7;12+7=19 5;19+5=24>`. countdown_steps.py describes the whole text and
verifies it. This file has the single moves.

A state is the multiset of the numbers that are left, as a sorted tuple. A step
replaces two of them by their sum, difference, product or quotient. A take-back
such as `<12 5 7` returns to any earlier state of the path. All numbers are
integers from 0 to 999, so a step with another result is wrong.

`parse_move` and `write_move` convert a move from and to text. `follow` makes a
move at the end of a path, and finds what is wrong with it. `steps_from` lists
the right steps at a state, and `can_reach` tells whether they can lead to the
target. `expression` writes the steps of a path as one arithmetic expression.
"""

from collections.abc import Sequence
import functools
import re
from typing import NamedTuple

State = tuple[int, ...]  # the numbers that are left, in ascending order

LARGEST = 999  # no number in a response is larger

_NUMBER = "(?:0|[1-9][0-9]{0,2})"
_MOVE = re.compile(
  rf"(?:({_NUMBER})([-+*/])({_NUMBER})=|<)({_NUMBER}(?: {_NUMBER})*)"
)


class Step(NamedTuple):
  """A step such as `9+3=12 5 7`."""

  left: int
  operator: str  # one of + - * /
  right: int
  numbers: tuple[int, ...]  # after the equals sign: the result, then the rest


class TakeBack(NamedTuple):
  """A take-back such as `<12 5 7`: continue from this earlier state."""

  numbers: tuple[int, ...]


Move = Step | TakeBack


class Path(NamedTuple):
  """The moves of a response that have not been taken back.

  `states[0]` is the prompt's and `steps[i]` leads from `states[i]` to
  `states[i + 1]`. If `error` is set, a wrong move was made at the last state
  and has not been taken back; nothing that follows it counts.
  """

  states: tuple[State, ...]
  steps: tuple[Step, ...] = ()
  error: str = ""  # what is wrong with the first wrong move; "" = nothing


def parse_move(text: str) -> Move | None:
  """Read one move; None if the text is not exactly one."""
  match = _MOVE.fullmatch(text)
  if match is None:
    return None
  left, operator, right, rest = match.groups()
  numbers = tuple(int(number) for number in rest.split(" "))
  if operator is None:
    return TakeBack(numbers)
  return Step(int(left), operator, int(right), numbers)


def write_move(move: Move) -> str:
  """Write a move in the form that parse_move reads."""
  numbers = " ".join(str(number) for number in move.numbers)
  if isinstance(move, TakeBack):
    return f"<{numbers}"
  return f"{move.left}{move.operator}{move.right}={numbers}"


def follow(path: Path, move: Move | None) -> Path:
  """Make a move at the end of a path.

  Args:
    path: the moves before it.
    move: the move; None = a text that is no move.

  Returns:
    The path after the move. Its error is 'unparseable', 'wrong numbers' (an
    operand is not left), 'wrong arithmetic' (including results that are no
    integers from 0 to 999), 'wrong rest' (the numbers after the result are not
    those that are left) or 'wrong take-back' (to a state that is not an earlier
    one of the path).
  """
  if isinstance(move, TakeBack):
    earlier = path.states if path.error else path.states[:-1]
    state = tuple(sorted(move.numbers))
    if state not in earlier:
      return path._replace(error=path.error or "wrong take-back")
    depth = earlier.index(state)
    return Path(path.states[: depth + 1], path.steps[:depth])
  if path.error:
    return path
  error = "unparseable" if move is None else _error(path.states[-1], move)
  if move is None or error:
    return path._replace(error=error)
  state = tuple(sorted(move.numbers))
  return Path((*path.states, state), (*path.steps, move))


def _error(state: State, step: Step) -> str:
  """Return what is wrong with a step at a state; "" if nothing is."""
  left = list(state)
  for operand in (step.left, step.right):
    if operand not in left:
      return "wrong numbers"
    left.remove(operand)
  result, *rest = step.numbers
  if result != compute(step.left, step.operator, step.right):
    return "wrong arithmetic"
  return "" if sorted(rest) == left else "wrong rest"


def compute(x: int, operator: str, y: int) -> int | None:
  """Compute x operator y; None unless it is an integer from 0 to LARGEST."""
  if operator == "/":
    return x // y if y and x % y == 0 else None
  value = x + y if operator == "+" else x - y if operator == "-" else x * y
  return value if 0 <= value <= LARGEST else None


@functools.lru_cache(maxsize=2**14)
def steps_from(state: State) -> tuple[Step, ...]:
  """List the right steps at a state, each once.

  The larger operand comes first, and the numbers after the result are in
  ascending order.
  """
  steps: dict[Step, None] = {}  # in order, without repetition
  for x, y, rest in _pairs(state):
    for operator in "+-*/":
      result = compute(x, operator, y)
      if result is not None:
        steps[Step(x, operator, y, (result, *rest))] = None
  return tuple(steps)


@functools.lru_cache(maxsize=2**16)
def can_reach(state: State, target: int) -> bool:
  """Return whether some right steps lead from a state to the target alone."""
  if len(state) == 1:
    return state[0] == target
  if len(state) == 2:
    return target in _results(state[1], state[0])
  return any(
    can_reach(tuple(sorted((result, *rest))), target)
    for x, y, rest in _pairs(state)
    for result in _results(x, y)
  )


def _pairs(state: State) -> list[tuple[int, int, State]]:
  """List (x, y, the other numbers) for each pair x >= y of a state."""
  return [
    (state[j], state[i], state[:i] + state[i + 1 : j] + state[j + 1 :])
    for j in range(len(state))
    for i in range(j)
  ]


def _results(x: int, y: int) -> set[int]:
  """Compute the results of all right steps with two numbers x >= y."""
  results = (compute(x, operator, y) for operator in "+-*/")
  return {result for result in results if result is not None}


def expression(numbers: Sequence[int], steps: Sequence[Step]) -> str:
  """Write the steps of a path as one expression in its canonical form.

  Steps that differ only in their order, in the order of the operands of + and
  *, or in how sums and products are nested have the same expression: the terms
  of a sum and the factors of a product are collected and sorted, and there are
  no needless parentheses. If several equal numbers are left, a step uses the
  one that was made last.

  Args:
    numbers: the numbers of the prompt.
    steps: right steps, which leave one number.

  Returns:
    An expression of Countdown (countdown.py), such as `(3+9)*(7-5)`.
  """
  # the made numbers first, the newest one foremost
  left = [(number, _Terms("", (str(number),), ())) for number in numbers]
  for step in steps:
    operands = []
    for operand in (step.left, step.right):
      i = next(i for i, (number, _) in enumerate(left) if number == operand)
      operands.append(left.pop(i)[1])
    left.insert(0, (step.numbers[0], _combine(step.operator, *operands)))
  return _write(left[0][1])


class _Terms(NamedTuple):
  """A number, a sum or a product, with everything of its own kind flattened."""

  kind: str  # "" = a number, "+" = a sum, "*" = a product
  plain: tuple[str, ...]  # terms that are added, or factors
  inverse: tuple[str, ...]  # terms that are subtracted, or divisors


def _combine(operator: str, x: _Terms, y: _Terms) -> _Terms:
  kind = "+" if operator in "+-" else "*"
  x, y = (
    z if z.kind == kind else _Terms(kind, (_operand(z, kind),), ())
    for z in (x, y)
  )
  if operator in "-/":
    y = _Terms(kind, y.inverse, y.plain)
  return _Terms(kind, x.plain + y.plain, x.inverse + y.inverse)


def _operand(terms: _Terms, kind: str) -> str:
  text = _write(terms)
  return f"({text})" if kind == "*" and terms.kind == "+" else text


def _write(terms: _Terms) -> str:
  signs = {"+": ("+", "-"), "*": ("*", "/"), "": ("", "")}[terms.kind]
  plain, inverse = (
    sorted(texts, key=lambda text: (len(text), text))
    for texts in (terms.plain, terms.inverse)
  )
  return signs[0].join(plain) + "".join(signs[1] + text for text in inverse)
