"""SynLogic's games: what each records, and how an answer to it is verified.

Four files hold them: `own_families`, whose rules a family of this package has,
`one_answer`, with one right answer in the record, and `placements` and
`fillings`, where every answer that obeys the rules is right. `forms` extracts
answers from responses.
"""

from entrojax.tasks.synlogic_games import (
  fillings,
  one_answer,
  own_families,
  placements,
)
from entrojax.tasks.synlogic_games.forms import (
  MAX_ANSWER_LENGTH,
  Game,
  UnreadableError,
)

RULES = (
  own_families.RULES | one_answer.RULES | placements.RULES | fillings.RULES
)
ALIASES = {"mathador": "game_of_24"}  # data_source -> key of RULES
