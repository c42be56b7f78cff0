"""Countdown with working: write the search for the target, step by step.

The prompt `3 5 7 9=24:` is a prompt of Countdown: reach the target with all of
the numbers, each used exactly once. A response shows how:

    9+3=12 5 7;7-5=2 12;12*2=24>

A step computes with two of the numbers that are left. After its equals sign
stand the numbers that are then left: first the result, then the rest. So the
current state can always be read from the last move. A response may take moves
back, however many, by naming the earlier state from which it continues:

    9+3=12 5 7;12+7=19 5;19+5=24>                     straight to the target
    9*7=63 3 5;63-5=58 3;<3 5 7 9;9+3=12 5 7;...      back to the start
    9+3=12 5 7;7+5=12 12;12*12=144;<12 5 7;7-5=2 12;12*2=24>

The language of responses has one parse for each text:

    response  = move (';' move)* '>'
    move      = step | take-back
    step      = number ('+' | '-' | '*' | '/') number '=' state
    take-back = '<' state
    state     = number (' ' number)*
    number    = 0, or 1 to 3 ASCII digits without a leading zero

`;` ends a move and `>` hands in the answer: the one number that is left. All
numbers are integers from 0 to 999, so no step may have another result. A number
of the state may be listed at any place after the result. `+` and `*` take their
operands in either order.

Verification follows the moves and keeps those that are not taken back. A step
is valid if its operands are left, its arithmetic is right and it lists the rest
correctly. A take-back is valid if it names an earlier state of the path. After
an invalid move nothing counts until a valid take-back. A response is right if
every kept move is valid and the target alone is left at the end. So a wrong
move is tolerated if the response takes it back, as in

    9+3=13 5 7;<3 5 7 9;9+3=12 5 7;12+7=19 5;19+5=24>

In the language of characters, most tokens are copied or computed. The choices
are at the operands, the operators, and at `<` and `>`: whether to continue, to
go back, or to hand in.

`judge_pieces` is an exact oracle of the moves. Answers are compared in two
ways: two right responses have the same answer if they have the same solution
(countdown_moves.expression), and `equivalent` compares values.
"""

from collections.abc import Sequence

import numpy as np

from entrojax.arguments import require_in
from entrojax.tasks import countdown_traces
from entrojax.tasks.countdown_moves import (
  Path,
  can_reach,
  expression,
  follow,
  parse_move,
  steps_from,
)
from entrojax.tasks.families import countdown
from entrojax.tasks.sampling import problem_source
from entrojax.tasks.step_pieces import judge_by_steps
from entrojax.types import Family, Problem, Summary, Verdict

CHARACTERS = "0123456789+-*/=<>;: "  # the alphabet of prompts and responses
MAX_RESPONSE_LENGTH = 512  # characters, spaces at the ends included

_END = ">"
_TAKE_BACK = "<"
_LOWEST_TARGET, _HIGHEST_TARGET = 10, 99


def draw_problem(
  rng: np.random.Generator, *, count: int, largest: int
) -> Problem:
  """Draw numbers, and a target that random steps reach from them.

  A target is thus the likelier the more ways lead to it.

  Args:
    rng: the source of randomness; it is advanced.
    count: the number of numbers, from 2 to 5.
    largest: the numbers are integers from 1 to this, from 5 to 99.

  Returns:
    A solvable problem. Its answer holds numbers and target, no solution.

  Raises:
    ValueError: count or largest is out of range.
  """
  require_in("countdown_steps.count", count, "[2, 5]")
  require_in("countdown_steps.largest", largest, "[5, 99]")
  while True:
    numbers = sorted(int(n) for n in rng.integers(1, largest + 1, size=count))
    state = tuple(numbers)
    while len(state) > 1:
      steps = steps_from(state)
      state = tuple(sorted(steps[rng.integers(len(steps))].numbers))
    if _LOWEST_TARGET <= state[0] <= _HIGHEST_TARGET:
      return countdown.make_problem(numbers, state[0])


def verify(problem: Problem, response: str) -> Verdict:
  """Verify a response; no str makes this raise.

  Spaces around the response are ignored. The reason is the first of these that
  holds: 'too long'; 'unparseable'; 'unfinished' (all moves parse, but no answer
  is handed in); what is wrong with a kept move, see countdown_moves.follow;
  'numbers left'; 'wrong value'; 'correct'.

  If all kept moves are valid and leave one number, the answer is the canonical
  expression of the solution. Otherwise it is the number that was handed in. The
  part 'take_back' is 1 if the response takes a move back.
  """
  verdict = _verify(problem, response)
  return verdict._replace(parts={"take_back": float(_TAKE_BACK in response)})


def _verify(problem: Problem, response: str) -> Verdict:
  """Verify a response, without parts."""
  if len(response) > MAX_RESPONSE_LENGTH:
    return Verdict(0.0, "too long", None)
  text = response.strip(" ")
  moves = [parse_move(move) for move in text.removesuffix(_END).split(";")]
  last = moves[-1]
  if last is None or None in moves:
    return Verdict(0.0, "unparseable", None)
  if not text.endswith(_END):
    return Verdict(0.0, "unfinished", None)
  path = _start(problem)
  for move in moves:
    path = follow(path, move)
  named = str(last.numbers[0])
  if path.error:
    return Verdict(0.0, path.error, named)
  if len(path.states[-1]) > 1:
    return Verdict(0.0, "numbers left", named)
  answer = expression(problem.answer["numbers"], path.steps)
  if path.states[-1] != (problem.answer["target"],):
    return Verdict(0.0, "wrong value", answer)
  return Verdict(1.0, "correct", answer)


def judge_moves(problem: Problem, response: str) -> list[bool]:
  """Decide for each move of a response whether it is right.

  A move is right if it is valid and the target can still be reached from the
  state after it. This holds for take-backs too: one to a state from which the
  target is out of reach is wrong. A hand-in belongs to the last move, which is
  then right only if it leaves the target alone. A move at which an earlier
  invalid move has not been taken back is wrong. Right moves can follow wrong
  ones. Spaces around the response are ignored. No str makes this raise. The
  search is bounded: at most four numbers are left after a step, and the start
  needs no search, as every problem of the family is solvable.

  Deviation: BCPG-NSA (arXiv 2505.14403) lets a judge decide. Here a right move
  is one after which a right response needs no take-back, which is exact.

  Returns:
    bool per move of response.split(";"), True = right.
  """
  if len(response) > MAX_RESPONSE_LENGTH:
    return [False] * (response.count(";") + 1)
  texts = response.strip(" ").split(";")
  target = problem.answer["target"]
  path = _start(problem)
  right = []
  for i, text in enumerate(texts):
    handed_in = i == len(texts) - 1 and text.endswith(_END)
    path = follow(path, parse_move(text.removesuffix(_END * handed_in)))
    state = path.states[-1]
    valid = not path.error and (not path.steps or can_reach(state, target))
    right.append(valid and not (handed_in and len(state) > 1))
  return right


def judge_pieces(problem: Problem, pieces: Sequence[str]) -> list[bool]:
  """Decide for each piece of a response whether it is free of wrong moves."""
  return judge_by_steps(pieces, judge_moves(problem, "".join(pieces)))


def _start(problem: Problem) -> Path:
  """Return the path before the first move."""
  return Path((tuple(sorted(problem.answer["numbers"])),))


FAMILY = Family(
  name="countdown_steps",
  levels=(
    {"count": 3, "largest": 19},
    {"count": 4, "largest": 9},
    {"count": 4, "largest": 19},
    {"count": 5, "largest": 9},
  ),
  problems=problem_source(draw_problem),
  verify=verify,
  characters=CHARACTERS,
  equivalent=countdown.equivalent,
  judge_steps=judge_pieces,
  solutions=countdown_traces.solutions,
  traces=countdown_traces.traces,
  summary=Summary(
    "Countdown, with every step of the search",
    "3 5 7 9=24:",
    "9+3=12 5 7;7-5=2 12;12*2=24>",
    "3 numbers up to 19, 4 up to 9 or 19, 5 up to 9",
    "every search that ends at the target",
  ),
)
