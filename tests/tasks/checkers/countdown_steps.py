"""Check searches for Countdown, move by move."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
import functools
import itertools

from entrojax.tasks.families.countdown_steps import judge_moves
from tests.helpers.exact_arithmetic import evaluate

judge = judge_moves
HAND = {"numbers": [3, 5, 7, 9], "target": 24}
BY_HAND = [
  (HAND, "9+3=12 5 7;7-5=2 12;12*2=24>", "correct"),
  (HAND, "9+3=13 5 7;<3 5 7 9;9+3=12 5 7;12+7=19 5;19+5=24>", "correct"),
  (HAND, "9+3=12 5 7;7-5=2 12;12+2=14>", "wrong value"),
]


def check(prompt: str, text: str) -> bool:
  moves = text[:-1].split(";")
  if not text.endswith(">") or None in map(_read_move, moves):
    return False
  last = list(_kept_numbers(prompt, moves))[-1]
  return last == (int(prompt.rstrip(":").split("=")[1]),)


def check_steps(prompt: str, text: str) -> list[bool]:
  """Decide for each move whether the target is within reach after it."""
  target = int(prompt.rstrip(":").split("=")[1])
  text = text.strip(" ")
  handed_in = text.endswith(">")
  moves = (text[:-1] if handed_in else text).split(";")
  right = [
    numbers is not None and target in _values(numbers)
    for numbers in _kept_numbers(prompt, moves)
  ]
  if handed_in:
    right[-1] = list(_kept_numbers(prompt, moves))[-1] == (target,)
  return right


def _kept_numbers(
  prompt: str, moves: Sequence[str]
) -> Iterator[tuple[int, ...] | None]:
  """Yield the numbers that are left after each move; None = not valid."""
  given = (int(n) for n in prompt.partition("=")[0].split(" "))
  states: list[tuple[int, ...] | None] = [tuple(sorted(given))]
  for move in map(_read_move, moves):
    if move is None or (move[0] is not None and states[-1] is None):
      states.append(None)
    elif move[0] is None:
      places = [i for i, s in enumerate(states[:-1]) if s == move[1]]
      states = states[: places[0] + 1] if places else [*states, None]
    else:
      states.append(_make_step(states[-1] or (), *move))
    yield states[-1]


def _make_step(
  numbers: tuple[int, ...], left: str, state: tuple[int, ...], result: int
) -> tuple[int, ...] | None:
  """Return the state that a step claims; None if the claim is false."""
  (operator,) = set(left) & set("+-*/")
  x, y = (int(n) for n in left.split(operator))
  before = sorted([*numbers, result])
  after = sorted([*state, x, y])
  value = None if operator == "/" and y == 0 else evaluate(left)
  enough = numbers.count(x) > (x == y) and y in numbers
  return state if value == result and before == after and enough else None


def _read_move(
  move: str,
) -> tuple[str, tuple[int, ...], int] | tuple[None, tuple[int, ...]] | None:
  """Split a move into the step's left side (None: take-back) and the rest."""
  if not move.isascii():
    return None
  is_step = move.count("=") == 1
  head, _, tail = move.partition("=" if is_step else "<")
  words = tail.split(" ")
  operators = [c for c in head if c in "+-*/"]
  operands = head.split(operators[0]) if operators else []
  if is_step and (len(operators) != 1 or len(operands) != 2):
    return None
  if not is_step and (head or not move.startswith("<")):
    return None
  for word in (*words, *operands):
    if not word.isdigit() or len(word) > 3 or str(int(word)) != word:
      return None
  state = tuple(sorted(int(word) for word in words))
  return (head, state, int(words[0])) if is_step else (None, state)


@functools.lru_cache(maxsize=2**16)
def _values(numbers: tuple[int, ...]) -> frozenset[int]:
  """Compute every number that integers from 0 to 999 can be reduced to."""
  if len(numbers) == 1:
    return frozenset(numbers)
  values: set[int] = set()
  for i, j in itertools.permutations(range(len(numbers)), 2):
    rest = [n for k, n in enumerate(numbers) if k not in (i, j)]
    x, y = Fraction(numbers[i]), Fraction(numbers[j])
    for value in (x + y, x - y, x * y, *([x / y] if y else [])):
      if value.denominator == 1 and 0 <= value <= 999:
        values |= _values(tuple(sorted([*rest, int(value)])))
  return frozenset(values)
