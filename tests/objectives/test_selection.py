"""Test selection: shares of a count, and quantiles."""

import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.objectives.selection import (
  above_quantile,
  ceil_share,
  floor_share,
)
from tests.helpers.objective_cases import same

SHARES = [  # fraction, count, (floor, ceil); in float32 0.53 x 100 < 53
  (0.53, 100, (53, 53)),
  (0.13, 900, (117, 117)),
  (0.15, 100, (15, 15)),
  (0.6, 25, (15, 15)),
  (0.2, 14, (2, 3)),
  (0.2, 16, (3, 4)),
  (0.01, 3, (1, 1)),
  (0.0, 3, (0, 0)),
  (1.0, 11, (11, 11)),
  (1.0, 3.5e6, (3.5e6, 3.5e6)),
  (1.0, 16e6, (16e6, 16e6)),
  (2e-4, 1e7, (2000, 2000)),
]


@pytest.mark.parametrize(("fraction", "count", "k"), SHARES)
def test_a_share_of_tokens_is_counted_past_float32_s_rounding(
  fraction, count, k
):
  count = jnp.float32(count)
  assert (floor_share(fraction, count), ceil_share(fraction, count)) == k


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5, 0.8, 1.0])
def test_the_quantile_is_numpy_s(fraction, seed, random_tokens):
  tokens = random_tokens(seed, 5, 7)
  valid = np.asarray(tokens.entropy)[np.asarray(tokens.mask) > 0]
  # numpy interpolates in float64; 1e-6 is below any gap of 20 draws
  threshold = np.quantile(np.float64(valid), 1 - fraction) - 1e-6
  selected = above_quantile(tokens.entropy, tokens.mask, fraction)
  same(selected, np.float32(tokens.entropy >= threshold) * tokens.mask)
