"""Test 80/20: which tokens learn, and which ones denominators count."""

import numpy as np
import pytest

from entrojax.objectives import chain, ppo_clip, top_entropy
from tests.helpers.objective_cases import (
  OBJECTIVES,
  evaluate,
  hand_tokens,
  near,
)


@pytest.mark.parametrize(
  ("which", "kept"), [("high", [1, 3, 4]), ("low", [0, 2, 5])]
)
def test_top_entropy_learns_from_exactly_the_share_of_tokens(which, kept):
  tokens = hand_tokens(
    np.zeros((1, 6)), np.ones((1, 6)), entropy=np.float32([[0, 3, 1, 9, 2, 1]])
  )
  # ceil(0.41 * 6) = 3
  objective = chain(ppo_clip(), top_entropy(fraction=0.41, which=which))
  _, (gradient, _) = evaluate(objective, tokens)
  expected = np.zeros(6)
  expected[kept] = -1 / 3
  near(gradient, np.float32([expected]))


def test_top_entropy_breaks_ties_and_the_quantile_keeps_them():
  tokens = hand_tokens(np.zeros((2, 5)), np.ones((2, 5)))
  for select, count in (("top", 2), ("quantile", 10)):
    _, metrics = evaluate(
      chain(ppo_clip(), top_entropy(select=select)), tokens
    )[0]
    assert metrics["top_entropy/touched"].total == count


def test_norm_all_is_smaller_by_the_share_of_tokens(random_tokens):
  tokens = random_tokens(15, 5, 7)
  (loss, metrics), _ = evaluate(OBJECTIVES["top_entropy"], tokens)
  (small, _), _ = evaluate(
    chain(ppo_clip(), top_entropy(fraction=0.4, norm="all")), tokens
  )
  touched = metrics["top_entropy/touched"]
  near(small, loss * touched.total / touched.count)
