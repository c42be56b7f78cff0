"""Particular families: their levels, solutions and steps; and data sets.

test_family_contract.py has what every family must keep to.
"""

import importlib
import itertools

import numpy as np
import pytest

from entrojax.tasks import builder, formulas, grids, make_task
from entrojax.tasks.families import (
  FAMILIES,
  arithmetic_chain,
  dyck,
  futoshiki,
  knights_and_knaves,
  n_queens,
  propositional_logic,
  sudoku,
  word_sorting,
)
from entrojax.tasks.sampling import draw, problem_source
from entrojax.types import Problem
from tests import attack_verifiers
from tests.tasks.checkers import CHECKERS
from tests.tasks.checkers.arithmetic_chain import CHAIN

pytestmark = pytest.mark.slow

MODULES = {
  name: importlib.import_module(f"entrojax.tasks.families.{name}")
  for name in FAMILIES
}
# families whose problems are drawn, not enumerated
SAMPLED = {
  name: module
  for name, module in MODULES.items()
  if hasattr(module, "generate")
}


def first_problems(name, level, count, seed=0):
  module = SAMPLED[name]
  return [
    draw(module.generate, seed=seed, index=i, **module.LEVELS[level])
    for i in range(count)
  ]


# -- problems -----------------------------------------------------------------


def test_sampled_problems_have_distinct_prompts_and_come_in_order():
  problems = list(
    problem_source(dyck.generate, num_problems=300)(**dyck.LEVELS[0])
  )
  prompts = [problem.prompt for problem in problems]
  assert len(set(prompts)) == len(prompts)
  draws = [problem.prompt for problem in first_problems("dyck", 0, 600)]
  assert prompts == list(dict.fromkeys(draws))[: len(prompts)]


def test_a_level_with_few_problems_ends():
  # eight queens with none given: one prompt
  problems = problem_source(n_queens.generate, num_problems=50)(
    size=8, missing=8
  )
  assert [problem.prompt for problem in problems] == ["........:"]


# -- what a level means -------------------------------------------------------


@pytest.mark.parametrize("name", ["sudoku", "number_path"])
def test_empty_is_the_number_of_empty_cells(name):
  for level, knobs in enumerate(SAMPLED[name].LEVELS):
    for problem in first_problems(name, level, 5):
      assert problem.prompt.count(".") == knobs["empty"]
      assert problem.prompt.count("/") == knobs["size"] - 1


def test_a_futoshiki_has_its_givens_and_inequalities():
  for level, knobs in enumerate(futoshiki.LEVELS):
    for problem in first_problems("futoshiki", level, 5):
      empty = knobs["size"] ** 2 - knobs["givens"]
      assert problem.prompt.count(".") == empty
      assert problem.prompt.count("<") == knobs["inequalities"]


def test_missing_is_the_number_of_queens_to_place():
  for level, knobs in enumerate(n_queens.LEVELS):
    for problem in first_problems("n_queens", level, 5):
      assert problem.prompt.count(".") == knobs["missing"]


def test_the_queens_solutions_are_as_many_as_is_known():
  counts = [len(n_queens._solutions(size)) for size in (4, 6, 8, 9)]
  assert counts == [2, 4, 92, 352]  # OEIS A000170


def test_no_dyck_word_opens_more_brackets_than_its_level_allows():
  for level, knobs in enumerate(dyck.LEVELS):
    for problem in first_problems("dyck", level, 100):
      word = problem.prompt[:-1]
      assert len(word) == knobs["length"]
      depths = itertools.accumulate(1 if c in "([{<" else -1 for c in word)
      assert max(depths) <= knobs["most_open"]
      assert len(set(word) & set("([{<")) <= knobs["kinds"]


def test_a_chain_stays_within_its_bound():
  for level, knobs in enumerate(arithmetic_chain.LEVELS):
    for problem in first_problems("arithmetic_chain", level, 100):
      steps = [int(step) for step in problem.answer["steps"]]
      assert len(steps) == knobs["operations"]
      assert max(map(abs, steps)) <= knobs["bound"]


def test_words_have_their_number_and_length():
  for level, knobs in enumerate(word_sorting.LEVELS):
    for problem in first_problems("word_sorting", level, 20):
      words = problem.prompt[:-1].split(",")
      assert len(set(words)) == len(words) == knobs["words"]
      assert {len(word) for word in words} == {knobs["length"]}


@pytest.mark.parametrize("level", range(len(knights_and_knaves.LEVELS)))
def test_knights_and_knaves_have_exactly_one_solution(level):
  people = knights_and_knaves.LEVELS[level]["people"]
  for problem in first_problems("knights_and_knaves", level, 10):
    right = [
      kinds
      for kinds in map("".join, itertools.product("TF", repeat=people))
      if CHECKERS["knights_and_knaves"].check(problem.prompt, kinds)
    ]
    assert right == [problem.answer["solution"]]


@pytest.mark.parametrize("level", range(len(propositional_logic.LEVELS)))
def test_every_model_is_right_and_nothing_else(level):
  check = CHECKERS["propositional_logic"].check
  knobs = propositional_logic.LEVELS[level]
  for problem in first_problems("propositional_logic", level, 5):
    accepted = [
      values
      for values in map(
        "".join, itertools.product("TF", repeat=knobs["variables"])
      )
      if propositional_logic.verify(problem, values).reward
    ]
    assert 1 <= len(accepted) <= knobs["most_models"]
    for values in map(
      "".join, itertools.product("TF", repeat=knobs["variables"])
    ):
      right = check(problem.prompt, values)
      assert right == (values in accepted)


@pytest.mark.parametrize("size, side", [(4, 2), (9, 3), (4, None), (7, None)])
def test_random_squares_repeat_no_digit(size, side):
  squares = set()
  for seed in range(20):
    rows = grids.random_square(np.random.default_rng(seed), size, side)
    lines = [*rows, *zip(*rows, strict=True)]
    if side:
      lines += grids.boxes(rows, side)
    digits = sorted(grids.DIGITS[:size])
    assert all(sorted(line) == digits for line in lines)
    squares.add("/".join(rows))
  assert len(squares) > 10


def test_the_boxes_of_a_square_are_those_seen_by_eye():
  assert grids.boxes(["1234", "5678", "abcd", "efgh"], 2) == [
    "1256",
    "3478",
    "abef",
    "cdgh",
  ]


@pytest.mark.parametrize(
  "formula, text, models",
  [
    (("&", 0, ("~", 1)), "A&~B", ["TF"]),
    (("|", 0, 1), "A|B", ["FT", "TF", "TT"]),
    ((">", 0, 1), "A>B", ["FF", "FT", "TT"]),
    (("=", 0, 1), "A=B", ["FF", "TT"]),
    (("~", (">", 0, 1)), "~(A>B)", ["TF"]),
    ((">", ("&", 0, 1), ("~", 0)), "(A&B)>~A", ["FF", "FT", "TF"]),
  ],
)
def test_formulas_mean_what_logic_says(formula, text, models):
  assert formulas.write(formula) == text
  assert formulas.models(formulas.truth_table(formula, 2), 2) == models


@pytest.mark.parametrize(
  ("name", "answer", "expected"),
  [
    (
      "sudoku",
      {"puzzle": "12../3412/2143/43..", "solution": "1234/3412/2143/4321"},
      ["1234/3412/2143/4321"],
    ),
    (
      "sudoku",
      # the third row ends in 3, so the first in 34; 1 and 2 are free
      {"puzzle": "12../34../214./43..", "solution": "1234/3412/2143/4321"},
      ["1234/3412/2143/4321", "1234/3421/2143/4312"],
    ),
    (
      "n_queens",
      {"puzzle": "1.......", "solution": "15863724"},
      ["15863724", "16837425", "17468253", "17582463"],
    ),
    (
      "math_path",
      {"puzzle": "?+?=3", "solution": "1+2=3"},
      ["0+3=3", "1+2=3", "2+1=3", "3+0=3"],
    ),
    (
      "number_path",
      {"puzzle": "1 2 ./. . ./. . 9", "solution": "1 2 3/6 5 4/7 8 9"},
      ["1 2 3/6 5 4/7 8 9"],
    ),
  ],
)
def test_solutions_are_all_that_there_are(name, answer, expected):
  assert FAMILIES[name].solutions(Problem("", answer)) == expected


# -- steps --------------------------------------------------------------------


@pytest.mark.parametrize(
  "response, right",
  [
    ("7;14;9", [True, True, True]),
    (" 7 ;14; 9", [True, True, True]),
    ("7;15;9", [True, False, False]),  # the right value after a wrong one
    ("7;15;10", [True, False, False]),  # follows from the wrong one
    ("8;16;11", [False, False, False]),
    ("7;14", [True, True]),
    ("7;14;9;9", [True, True, True, False]),
    ("7;14;", [True, True, False]),
    ("07;14;9", [False, False, False]),
    ("7;fourteen;9", [True, False, False]),
    ("", [False]),
    (";", [False, False]),
  ],
)
def test_steps_are_judged_as_by_hand(response, right):
  problem = Problem("3+4*2-5:", CHAIN)
  assert arithmetic_chain.judge_steps(problem, response) == right


def test_a_response_is_right_exactly_when_all_its_steps_are():
  family, rng = arithmetic_chain.FAMILY, np.random.default_rng(1)
  problems = attack_verifiers.sample_problems(family, 60)
  seen = set()
  for problem, text in attack_verifiers.attacks(family, problems, rng, 2_000):
    steps = arithmetic_chain.judge_steps(problem, text)
    assert len(steps) == len(text.split(";"))
    assert steps == sorted(steps, reverse=True)  # right ones come first
    verdict = family.verify(problem, text)
    if verdict.reason != "too long":
      whole = all(steps) and len(steps) == len(problem.answer["steps"])
      assert verdict.reward == float(whole)
    seen.add((verdict.reward, any(steps)))
  assert seen == {(0.0, False), (0.0, True), (1.0, True)}


# -- the data set -------------------------------------------------------------

SMALL = sudoku.FAMILY._replace(
  problems=problem_source(sudoku.generate, num_problems=80)
)


def test_splits_share_no_prompt_and_hold_every_problem(tmp_path):
  expected = list(SMALL.problems(**SMALL.levels[1]))
  splits = {
    split: builder.load(SMALL, split, tmp_path, difficulty=2)
    for split in ("train", "validation", "test")
  }
  sizes = {split: len(problems) for split, problems in splits.items()}
  assert sizes == {"train": 60, "validation": 10, "test": 10}
  loaded = [problem for problems in splits.values() for problem in problems]
  by_prompt = {problem.prompt: problem for problem in expected}
  assert len({problem.prompt for problem in loaded}) == 80
  assert all(problem == by_prompt[problem.prompt] for problem in loaded)


def test_each_level_has_its_own_data(tmp_path):
  empty = [
    builder.load(SMALL, "test", tmp_path, difficulty=level)[0].prompt.count(".")
    for level in (1, 2)
  ]
  assert empty == [4, 8]
  folders = sorted(path.name for path in tmp_path.iterdir())
  assert [name.rpartition("_")[0] for name in folders] == [
    "sudoku_1",
    "sudoku_2",
  ]


@pytest.mark.parametrize("difficulty", [0, -1, 7])
def test_a_level_that_is_not_there_is_named(difficulty):
  with pytest.raises(
    ValueError,
    match=rf"task\.difficulty must lie in 1\.\.6 for sudoku, got {difficulty}",
  ):
    make_task("sudoku", difficulty=difficulty)


def test_the_game_of_24_has_as_many_problems_as_is_known(data_dir):
  # 404 of 495 hands of 1..9 and 1362 of 1820 of 1..13 make 24
  family = FAMILIES["game_of_24"]
  assert [len(family.problems(**level)) for level in family.levels] == [
    404,
    1362,
  ]
  task = make_task("game_of_24", data_dir)
  held_out = task.load("validation")
  assert len(held_out) == 404 // 8
  assert all(problem.answer["target"] == 24 for problem in held_out)
