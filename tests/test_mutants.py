"""Test that the list of mutants fits the code and the tests that it names."""

import ast

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.syntax import parse
from tests.mutants.__main__ import MUTANTS, mutated_source, select

every_mutant = pytest.mark.parametrize(
  "mutant", MUTANTS, ids=lambda mutant: mutant.name
)


def functions(path: str) -> set[str]:
  """Return the names of a file's top-level functions."""
  body = parse(ROOT / path).body
  return {node.name for node in body if isinstance(node, ast.FunctionDef)}


@every_mutant
def test_the_text_that_a_mutant_replaces_occurs_once(mutant):
  assert mutant.new in mutated_source(ROOT, mutant)


@every_mutant
def test_the_test_that_must_catch_a_mutant_exists(mutant):
  path, _, test = mutant.test.partition("::")
  assert test.partition("[")[0] in functions(path)


def test_text_that_does_not_occur_is_named_with_its_file():
  mutant = MUTANTS[0]._replace(old="no such text")
  with pytest.raises(ValueError, match=rf"{mutant.file} .* 0 times: no such"):
    mutated_source(ROOT, mutant)


def test_no_two_mutants_have_the_same_name():
  assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_mutants_are_selected_by_a_part_of_their_name():
  assert [m.name for m in select(["inverted"])] == [
    "erc: the entropy ratio is inverted",
    "rloo: the factor is inverted",
    "seed_grpo: the factor is inverted",
  ]
  assert select([]) == list(MUTANTS)
  with pytest.raises(ValueError, match="no mutant has 'nonsense'"):
    select(["nonsense"])
