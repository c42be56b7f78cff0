"""Messages about the effect of each control."""

import math

from entrojax.reporting.inert_controls import ControlEffects


def test_an_effect_that_is_not_a_number_is_not_printed_as_one():
  metrics = {"erc/gradient_change": math.nan, "erc/gradient_touched": math.nan}
  (note,) = ControlEffects(("erc",)).notes(metrics)
  assert note == "erc: its effect could not be measured in this step"


def test_a_step_in_which_no_token_counted_is_a_sentence():
  metrics = {
    "overlong/gradient_change": 0.0,
    "overlong/gradient_touched": math.nan,
  }
  (note,) = ControlEffects(("overlong",)).notes(metrics)
  assert "nan" not in note and note.startswith("overlong: no token counted")
