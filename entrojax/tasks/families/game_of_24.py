"""The game of 24: Countdown with four numbers and the target 24.

For the prompt `4 7 8 8=24:` one right response is `(7-8/8)*4`, and so is any
other expression of the four numbers whose value is 24. The problems, the
language of responses, the verifier and the solutions come from countdown.py.
"""

import functools

from entrojax.tasks.families import countdown
from entrojax.types import Family, Summary

TARGET = 24

FAMILY = Family(
  name="game_of_24",
  levels=({"largest": 9}, {"largest": 13}),
  problems=functools.partial(
    countdown.all_problems,
    count=4,
    lowest_target=TARGET,
    highest_target=TARGET,
  ),
  verify=countdown.verify,
  characters=countdown.CHARACTERS,
  solutions=countdown.solutions,
  equivalent=countdown.equivalent,
  summary=Summary(
    "make 24 from four numbers",
    "4 7 8 8=24:",
    "(7-8/8)*4",
    "numbers up to 9 or 13",
    "every expression with this value",
  ),
)
