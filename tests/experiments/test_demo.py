"""The claims that the demo checks about its two runs."""

import pytest

from entrojax.reporting.differences import Interval
from experiments.demo import TARGET, check_claims


def row(entropy: float, pass_1: float, pass_64: float) -> dict[str, float]:
  """Return a run's summary: entropy .5, pass@1 .2 and pass@64 .9 at first."""
  ends = {"entropy": (0.5, entropy), "pass@1": (0.2, pass_1)}
  ends["pass@64"] = (0.9, pass_64)
  return {
    f"val/countdown/{measure}/{when}": value
    for measure, pair in ends.items()
    for when, value in zip(("start", "end"), pair, strict=True)
  }


GRPO = (0.2, 0.4, 0.7)
CONTROLLED = (TARGET, 0.35, 0.85)
AHEAD = Interval(0.15, 0.05, 0.25)


def holds(grpo=GRPO, controlled=CONTROLLED, deviation=0.02, ahead=AHEAD):
  """Return whether each claim holds, in their order."""
  own = row(*controlled) | {
    "entropy/target": TARGET,
    "entropy/max_deviation": deviation,
  }
  return [*check_claims(row(*grpo), own, ahead).values()]


def test_all_claims_hold_of_runs_that_behave_as_claimed():
  assert holds() == [True] * 6


@pytest.mark.parametrize(
  ("index", "case"),
  [
    (0, {"grpo": (0.3, 0.4, 0.7)}),  # loses 40 % of its entropy
    (1, {"grpo": (0.2, 0.4, 0.85)}),  # loses .05 of pass@64
    (3, {"deviation": 0.1}),  # 28 % off its target
    (4, {"controlled": (TARGET, 0.25, 0.85)}),  # keeps a quarter of the gain
    (5, {"ahead": Interval(0.02, -0.01, 0.05)}),
  ],
)
def test_a_claim_fails_alone_where_the_runs_do_not_support_it(index, case):
  assert holds(**case) == [i != index for i in range(6)]


def test_without_a_gain_of_grpo_there_is_none_to_keep():
  assert [i for i, h in enumerate(holds(grpo=(0.2, 0.2, 0.7))) if not h] == [
    *(2, 4)
  ]
