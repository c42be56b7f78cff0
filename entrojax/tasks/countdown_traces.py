"""Write traces of a randomised search, for the warm-up on `countdown_steps`.

A base model learns from these traces before reinforcement learning.

The search goes from state to state as a person would who is neither very good
nor very patient. It sometimes sees which step keeps the target in reach and
otherwise takes any step; it sometimes notices that a state is hopeless; and at
a wrong number it goes back or, in haste, hands it in. `Habits` holds the
probabilities. A trace is thus a mixture of right and wrong turns, with
take-backs, and its answer may be wrong. A model that has learnt from such
traces leaves reinforcement learning something to choose: better turns, earlier
and more take-backs, no haste.

A trace is a pure function of the problem, the habits and an index.
"""

from collections.abc import Iterator, Sequence
import functools
from typing import NamedTuple

import numpy as np

from entrojax.tasks.countdown_moves import (
  State,
  Step,
  TakeBack,
  can_reach,
  steps_from,
  write_move,
)
from entrojax.types import Problem

NUM_TRACES = 32  # per problem
_DRAWS_PER_TRACE = 2  # at most, until enough distinct traces are found


class Habits(NamedTuple):
  """How the search behaves. Probabilities lie in [0, 1]."""

  # of choosing among the steps that keep the target in reach, if there are any;
  # also of going back to the last state that has such a step
  insight: float = 0.5
  # of taking back at once when a state is hopeless but more than one number is
  # left
  notice: float = 0.3
  # of handing in a number that is not the target
  haste: float = 0.4
  largest: int = 199  # no step has a result above this
  longest: int = 127  # characters of a trace; longer ones are dropped


class Trace(NamedTuple):
  """A response that the search wrote."""

  text: str
  right: bool  # whether it hands in the target


HABITS = Habits()


def search(
  rng: np.random.Generator,
  numbers: Sequence[int],
  target: int,
  habits: Habits = HABITS,
) -> Trace | None:
  """Write one search.

  Args:
    rng: the source of randomness; it is advanced.
    numbers: the numbers of the prompt.
    target: the target.
    habits: how the search behaves.

  Returns:
    The trace; None if it became longer than habits.longest or ran out of steps.
  """
  root = tuple(sorted(numbers))
  path = [_Node(root, root, set())]
  text = ""
  while len(text) <= habits.longest:
    node = path[-1]
    if len(node.state) == 1:
      right = node.state == (target,)
      if right or rng.random() < habits.haste:
        text = f"{text[:-1]}>"
        return Trace(text, right) if len(text) <= habits.longest else None
      step = None
    else:
      step = _choose_step(rng, node, target, habits, first=len(path) == 1)
    if step is not None:
      node.tried.add(step)
      state = tuple(sorted(step.numbers))
      path.append(_Node(state, step.numbers, set()))
      text += f"{write_move(_swapped(rng, step))};"
    elif len(path) > 1:
      del path[_choose_depth(rng, path, target, habits) + 1 :]
      text += f"{write_move(TakeBack(path[-1].numbers))};"
    else:
      return None
  return None


class _Node(NamedTuple):
  """A state on the path of a search."""

  state: State
  numbers: tuple[int, ...]  # the state in the order in which it was written
  tried: set[Step]  # the steps that were made from here


def _options(node: _Node, habits: Habits) -> list[Step]:
  """List the steps that the search has not yet made at a node."""
  return [
    step
    for step in steps_from(node.state)
    if step.numbers[0] <= habits.largest and step not in node.tried
  ]


def _right(steps: Sequence[Step], state: State, target: int) -> list[Step]:
  """Return those steps from a state that keep the target in reach."""
  return [step for step in steps if step in _all_right(state, target)]


@functools.lru_cache(maxsize=2**14)
def _all_right(state: State, target: int) -> frozenset[Step]:
  """Return all steps from a state that keep the target in reach."""
  return frozenset(
    step
    for step in steps_from(state)
    if can_reach(tuple(sorted(step.numbers)), target)
  )


def _choose_step(
  rng: np.random.Generator,
  node: _Node,
  target: int,
  habits: Habits,
  *,
  first: bool,
) -> Step | None:
  """Choose the next step; None to take back. `first`: nothing to take back."""
  options = _options(node, habits)
  hopeless = not can_reach(node.state, target)
  if hopeless and not first and rng.random() < habits.notice:
    return None
  if not hopeless and rng.random() < habits.insight:
    options = _right(options, node.state, target) or options
  return options[rng.integers(len(options))] if options else None


def _choose_depth(
  rng: np.random.Generator, path: Sequence[_Node], target: int, habits: Habits
) -> int:
  """Choose the number of the state to go back to: not the last one."""
  depths = range(len(path) - 1)
  if rng.random() < habits.insight:
    for depth in reversed(depths):
      options = _options(path[depth], habits)
      if _right(options, path[depth].state, target):
        return depth
  return int(rng.integers(len(depths)))


def _swapped(rng: np.random.Generator, step: Step) -> Step:
  """Swap the operands of + and * in half of all cases."""
  if step.operator in "+*" and rng.random() < 0.5:
    return step._replace(left=step.right, right=step.left)
  return step


def draw_traces(problem: Problem, habits: Habits = HABITS) -> Iterator[Trace]:
  """Yield distinct traces for a problem, in an order that is always the same.

  Args:
    problem: a problem of Countdown with working.
    habits: how the search behaves.

  Yields:
    At most NUM_TRACES traces; fewer if the search finds no more.
  """
  numbers, target = problem.answer["numbers"], problem.answer["target"]
  texts: set[str] = set()
  for index in range(_DRAWS_PER_TRACE * NUM_TRACES):
    rng = np.random.default_rng([index, target, *numbers])
    trace = search(rng, numbers, target, habits)
    if trace is not None and trace.text not in texts:
      texts.add(trace.text)
      yield trace
    if len(texts) == NUM_TRACES:
      return


def traces(problem: Problem) -> Sequence[str]:
  """Write the traces that a base learns from, right and wrong ones."""
  return [trace.text for trace in draw_traces(problem)]


def solutions(problem: Problem) -> Sequence[str]:
  """Write right responses: traces of a search that is never in haste."""
  patient = HABITS._replace(haste=0.0)
  return [trace.text for trace in draw_traces(problem, patient)]
