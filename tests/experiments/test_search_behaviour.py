"""The figures that describe a search on Countdown with working."""

import numpy as np
import pytest

from entrojax.rollouts.evaluation import Evaluation
from entrojax.tasks.families import countdown
from entrojax.tasks.families.countdown_steps import verify
from experiments.search_behaviour import (
  Samples,
  column,
  describe,
  entropy_by_fifth,
  first_half_is_right,
  has_right_step,
  read_models,
  side_by_side,
)

PROBLEM = countdown.make_problem([3, 5, 7, 9], 24)
STRAIGHT = "9+3=12 5 7;7-5=2 12;12*2=24>"
BACK = "9*7=63 3 5;<3 5 7 9;9+3=12 5 7;7-5=2 12;12*2=24>"
LATE = "9+3=12 5 7;7-5=2 12;12-2=10>"  # wrong in its last move
# a right step after a take-back, and then a wrong one
BACK_LATE = "9*7=63 3 5;<3 5 7 9;9+3=12 5 7;12-5=7 7;7+7=14>"
EARLY = "9*7=63 3 5;63-5=58 3;58-3=55>"  # wrong from its first move


def evaluation(*texts) -> Evaluation:
  verdicts = [verify(PROBLEM, text) for text in texts]
  return Evaluation([list(texts)], [verdicts], 28.0, 0.0, 0.5)


def test_the_fifths_of_entropy_begin_with_the_highest():
  entropies = np.array([0, 0, 1, 0, 3, 0, 0, 0, 0, 0], np.float32)
  np.testing.assert_allclose(entropy_by_fifth(entropies), [1, 0, 0, 0, 0])
  np.testing.assert_allclose(entropy_by_fifth(np.ones(10)), [0.2] * 5)


@pytest.mark.parametrize(
  ("response", "right"),
  [(STRAIGHT, True), (LATE, True), (EARLY, False), ("x", False)],
)
def test_the_first_half_of_the_moves_is_judged(response, right):
  assert first_half_is_right(PROBLEM, response) == right


@pytest.mark.parametrize(
  ("response", "right"),
  [
    (LATE, True),
    (BACK_LATE, True),
    (EARLY, False),
    (EARLY.replace(";", ";<3 5 7 9;", 1), False),  # only the take-back is right
    ("x", False),
    ("", False),
  ],
)
def test_a_right_step_may_stand_anywhere(response, right):
  assert has_right_step(PROBLEM, response) == right


def test_shares_are_taken_of_the_right_and_of_the_wrong_responses():
  behaviour = describe([PROBLEM], evaluation(STRAIGHT, BACK, LATE, EARLY, "x"))
  assert behaviour.take_back_right == 0.5
  assert behaviour.take_back_wrong == 0
  assert behaviour.right_first_half == pytest.approx(1 / 3)
  assert behaviour.right_step == pytest.approx(1 / 3)
  assert list(behaviour.reasons) == ["wrong value", "unparseable"]
  assert behaviour.reasons["wrong value"] == pytest.approx(2 / 3)


def test_a_column_and_the_responses_name_what_they_show():
  samples = Samples(
    [PROBLEM], evaluation(STRAIGHT, LATE), np.ones(10), np.array([28, 27])
  )
  cells = column(samples)
  assert cells["pass@1"].startswith("0.500")
  assert cells["wrong because: wrong value"] == "100 %"
  lines = side_by_side({"base": samples}, num_prompts=3)
  assert lines == ["", PROBLEM.prompt, f"  base  {STRAIGHT}   [correct]"]


@pytest.mark.parametrize("labels", [["base"], ["=x"], ["a=x", "a=y"]])
def test_a_wrong_label_of_a_model_is_named(labels):
  with pytest.raises(ValueError, match=f"--model={labels[-1]}"):
    read_models(labels)
