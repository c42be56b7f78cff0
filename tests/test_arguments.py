"""Checks of hyperparameters: what passes, and what the message says."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.arguments import require_at_least, require_in, require_one_of


@pytest.mark.parametrize(
  "value, interval",
  [(0, "[0, 1)"), (0.5, "(0, 1)"), (1, "(0, 1]"), (1e9, "(1, inf)")],
)
def test_a_number_in_the_interval_passes(value, interval):
  require_in("x.y", value, interval)


@pytest.mark.parametrize(
  "value, interval, message",
  [
    (1, "[0, 1)", r"x\.y must lie in \[0, 1\), got 1"),
    (0, "(0, 1]", r"x\.y must lie in \(0, 1\], got 0"),
    (1, "(1, inf)", r"x\.y must be above 1, got 1"),
    (math.nan, "[0, 1]", r"x\.y must lie in \[0, 1\], got nan"),
    (math.inf, "(0, inf)", r"x\.y must be finite, got inf"),
    (math.inf, "[0, inf)", r"x\.y must be finite, got inf"),
    (math.nan, "(0, inf)", r"x\.y must be above 0, got nan"),
  ],
)
def test_a_number_outside_is_refused_with_name_and_interval(
  value, interval, message
):
  with pytest.raises(ValueError, match=message):
    require_in("x.y", value, interval)


def test_a_number_that_is_not_set_is_named():
  with pytest.raises(ValueError, match=r"^x\.y must be set$"):
    require_in("x.y", None, "[0, 1]")
  with pytest.raises(ValueError, match=r"^x\.y must be set$"):
    require_at_least("x.y", None, 0)


def test_a_value_that_is_no_number_is_named():
  for value in ("0.2", [0.2], {}):
    with pytest.raises(ValueError, match=r"^x\.y must be a number, got "):
      require_at_least("x.y", value, 0)
    with pytest.raises(ValueError, match=r"^x\.y must be a number, got "):
      require_in("x.y", value, "[0, 1]")
  for value in (1, np.float32(0.5), np.int64(1), jnp.float32(0.5)):
    require_in("x.y", value, "[0, 1]")


@pytest.mark.parametrize("value", [-0.1, math.nan])
def test_a_number_below_its_least_is_refused(value):
  require_at_least("x.y", 0.0, 0)
  with pytest.raises(ValueError, match=r"x\.y must be at least 0, got"):
    require_at_least("x.y", value, 0)


def test_an_infinite_number_is_refused_unless_it_is_a_bound():
  with pytest.raises(ValueError, match="coef must be finite, got inf"):
    require_at_least("coef", math.inf, 0)
  require_at_least("clip_high", math.inf, 0, or_inf=True)
  with pytest.raises(ValueError, match="clip_high must be at least 0"):
    require_at_least("clip_high", -math.inf, 0, or_inf=True)


def test_a_choice_that_does_not_exist_is_refused_with_those_that_do():
  require_one_of("x.y", "a", ("a", "b"))
  with pytest.raises(
    ValueError, match=r"x\.y must be one of 'a', 'b'; got 'c'"
  ):
    require_one_of("x.y", "c", ("a", "b"))
