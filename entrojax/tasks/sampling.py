"""Problems drawn one by one: a function of (seed, index) and the level."""

from collections.abc import Callable, Iterator

import numpy as np

from entrojax.types import Problem

NUM_PROBLEMS = (
  9_216  # prompts of a level: 8,192 to train on, twice 512 held out
)
_DRAWS_PER_PROBLEM = 2  # at most; a level with few problems ends with fewer

Generate = Callable[..., Problem]  # (rng, **level) -> a solvable problem


def draw(generate: Generate, *, seed: int, index: int, **level) -> Problem:
  """Returns the problem of (seed, index) at a level."""
  rng = np.random.default_rng([seed, index, *level.values()])
  return generate(rng, **level)


def sampled(
  generate: Generate, *, num_problems: int = NUM_PROBLEMS, seed: int = 0
) -> Callable[..., Iterator[Problem]]:
  """Makes problems(**level): draws 0, 1, 2, ... without repeated prompts.

  Args:
    generate: draws one problem.
    num_problems: how many prompts to stop at.
    seed: of all draws.
  """

  def problems(**level) -> Iterator[Problem]:
    prompts: set[str] = set()
    for index in range(_DRAWS_PER_PROBLEM * num_problems):
      problem = draw(generate, seed=seed, index=index, **level)
      if problem.prompt not in prompts:
        prompts.add(problem.prompt)
        yield problem
      if len(prompts) == num_problems:
        return

  return problems
