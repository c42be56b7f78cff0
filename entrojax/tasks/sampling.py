"""Draw random problems, each a pure function of (seed, index) and the level.

A family's module writes `generate(rng, **level)`, which draws one problem.
`problem_source` turns it into the sequence of distinct problems from which a
data set is made. The sequence ends after 9,216 problems, or after twice as many
draws if the level has too few distinct ones.
"""

from collections.abc import Callable, Iterator

import numpy as np

from entrojax.types import Problem

# prompts per level: 8,192 for training, 512 each for validation and test
NUM_PROBLEMS = 9_216
# at most this many draws per problem, so that a level with few distinct
# problems ends
_DRAWS_PER_PROBLEM = 2

Generate = Callable[..., Problem]  # (rng, **level) -> a solvable problem


def draw(generate: Generate, *, seed: int, index: int, **level) -> Problem:
  """Draw the problem with a given seed and index at a level.

  Args:
    generate: draws one problem from a random number generator.
    seed: shared by all problems of a data set.
    index: number of the draw, from 0.
    **level: the level's arguments for `generate`; they seed the draw, too.
  """
  rng = np.random.default_rng([seed, index, *level.values()])
  return generate(rng, **level)


def problem_source(
  generate: Generate, *, num_problems: int = NUM_PROBLEMS, seed: int = 0
) -> Callable[..., Iterator[Problem]]:
  """Build problems(**level), which yields draws 0, 1, 2, ... of a level.

  A draw whose prompt has occurred before is left out.

  Args:
    generate: draws one problem from a random number generator.
    num_problems: the number of distinct prompts after which to stop.
    seed: shared by all draws.

  Returns:
    A function from a level's arguments to an iterator of problems with distinct
    prompts; it yields fewer than num_problems if the level has too few.
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
