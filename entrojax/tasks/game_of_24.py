"""The game of 24: Countdown whose target is always 24.

For the prompt `4 7 8 8=24:` a right response is `(7-8/8)*4`. The language of
responses and the verifier are shared with countdown.py.
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
