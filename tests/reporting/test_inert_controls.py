"""Messages about the effect of each control."""

import math

from entrojax.reporting.inert_controls import ControlEffects


def test_an_effect_that_is_not_a_number_is_not_printed_as_one():
  metrics = {"erc/gradient_change": math.nan, "erc/gradient_touched": math.nan}
  (note,) = ControlEffects(("erc",)).notes(metrics)
  assert note == "erc: its effect could not be measured in this step"
