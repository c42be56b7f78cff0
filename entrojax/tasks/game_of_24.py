"""The game of 24: Countdown whose target is always 24.

Prompt `4 7 8 8=24:`; responses are those of Countdown, and so is the verifier.
"""

import functools

from entrojax.tasks import countdown
from entrojax.types import Family

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
)
