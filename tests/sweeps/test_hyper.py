"""The functions that list the units of a sweep."""

import numpy as np
import pytest

from entrojax.sweeps import hyper
from entrojax.sweeps.hyper import (
  chainit,
  fixed,
  product,
  read_units,
  sweep,
  zipit,
)

SEEDS = sweep("config.seed", range(2))
RATES = sweep("config.optimizer.learning_rate", [1e-3, 1e-4])


def test_a_product_has_every_combination_and_its_last_list_varies_first():
  assert product([SEEDS, RATES]) == [
    {"config.seed": 0, "config.optimizer.learning_rate": 1e-3},
    {"config.seed": 0, "config.optimizer.learning_rate": 1e-4},
    {"config.seed": 1, "config.optimizer.learning_rate": 1e-3},
    {"config.seed": 1, "config.optimizer.learning_rate": 1e-4},
  ]


def test_zipit_takes_the_units_side_by_side_and_chainit_in_a_row():
  assert zipit([SEEDS, RATES]) == [
    {"config.seed": 0, "config.optimizer.learning_rate": 1e-3},
    {"config.seed": 1, "config.optimizer.learning_rate": 1e-4},
  ]
  assert chainit([SEEDS, RATES]) == [*SEEDS, *RATES]


def test_a_fixed_value_goes_into_every_unit():
  assert fixed("config.seed", 3) == [{"config.seed": 3}]
  assert len(fixed("config.seed", 3, length=2)) == 2
  assert product([SEEDS, fixed("config.lora.rank", 4)]) == [
    {"config.seed": 0, "config.lora.rank": 4},
    {"config.seed": 1, "config.lora.rank": 4},
  ]


def test_values_of_numpy_become_plain():
  units = read_units(
    lambda hyper: hyper.sweep("config.seed", np.arange(2)), "f.py"
  )
  assert units == SEEDS
  assert all(type(unit["config.seed"]) is int for unit in units)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda h: h.sweep("config.seed", []), "'config.seed' has no values"),
    (lambda h: h.sweep("config.seed", "012"), "are the text '012'"),
    (lambda h: h.sweep("seed", [1]), "did you mean 'config.seed'"),
    (lambda h: h.fixed("config.seed", 1, 0), "must be at least 1, got 0"),
    (lambda h: h.product([]), "hyper.product: there are no lists"),
    (lambda h: h.product([SEEDS, []]), "hyper.product: list 1 is empty"),
    (lambda h: h.product([SEEDS, SEEDS]), "two lists set 'config.seed'"),
    (lambda h: h.product(SEEDS), "number 0 is {'config.seed': 0}; expected"),
    (lambda h: h.zipit([SEEDS, RATES[:1]]), "the lists have 2 and 1 units"),
    (lambda h: h.chainit([[]]), "hyper.chainit: list 0 is empty"),
    (lambda h: [], "get_hyper returned no units"),
    (lambda h: None, "get_hyper returned None; expected a list of dicts"),
    (lambda h: [{"seed": 1}], "did you mean 'config.seed'"),
    (lambda h: 1 / 0, "get_hyper raised ZeroDivisionError: division"),
    (lambda h: h.swep("config.seed", []), "get_hyper raised AttributeError"),
  ],
)
def test_a_mistake_is_named(call, message):
  with pytest.raises(ValueError) as raised:
    read_units(call, "f.py")
  assert str(raised.value).startswith("f.py: ")
  assert message in str(raised.value)
  assert hyper.CONFIG == "config"
