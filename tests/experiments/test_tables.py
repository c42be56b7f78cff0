"""The generated tables of methods."""

import pytest

from experiments.tables import entropy_beside_grpo
from tests.helpers.kept_lines import by_name, invented


@pytest.mark.parametrize(
  ("entropies", "expected"),
  [
    ((), ""),
    ((0.4,), "+0.100 (one seed)"),
    ((0.4, 0.44), "+0.110 ± 0.014 (2 seeds)"),
    ((0.4, 0.44, 0.43), "+0.110 ± 0.010"),
  ],
)
def test_entropies_are_compared_with_grpo_s_of_the_same_seed(
  entropies, expected
):
  grpo = [
    invented("grpo,steps=200", seed, entropy)
    for seed, entropy in enumerate((0.3, 0.32, 0.32))
  ]
  own = [invented("nsr", seed, x) for seed, x in enumerate(entropies)]
  assert entropy_beside_grpo("nsr", by_name([*grpo, *own])) == expected


def test_grpo_is_not_compared_with_itself():
  assert entropy_beside_grpo("grpo", by_name([invented("grpo", 0)])) == ""
