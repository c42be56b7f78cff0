"""Countdown: its problems, its solutions, its verifier and its data set."""

from fractions import Fraction
import functools
import hashlib
import itertools
import os
import re
import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from entrojax.tasks import builder, make_task
from entrojax.tasks.families import countdown
from entrojax.types import Verdict
from tests.helpers.exact_arithmetic import evaluate
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.slow

SEED_PROBLEM = countdown.make_problem([9, 3, 7, 5], 24)
all_problems = functools.cache(countdown.all_problems)


# -- slow twins ---------------------------------------------------------------


def reference_value(text):
  """Evaluate with Python's own grammar; None if not in our language."""
  if not re.fullmatch(r"[0-9+\-*/() ]*", text, re.ASCII):
    return None
  return evaluate(text.strip(" "))


def reference_reward(problem, text):
  numbers = sorted(int(n) for n in re.findall("[0-9]+", text))
  right = (
    numbers == problem.answer["numbers"]
    and reference_value(text) == problem.answer["target"]
  )
  return float(right and len(text) <= countdown.MAX_RESPONSE_LENGTH)


def brute_force_values(numbers, *, integers_only):
  """Combine two numbers of a list in every way, until one number is left."""
  if len(numbers) == 1:
    return set(numbers)
  values = set()
  for i, j in itertools.permutations(range(len(numbers)), 2):
    rest = [n for k, n in enumerate(numbers) if k not in (i, j)]
    x, y = numbers[i], numbers[j]
    results = [x + y, x - y, x * y] + ([x / y] if y else [])
    for value in results:
      if value.denominator == 1 or not integers_only:
        values |= brute_force_values(
          [*rest, value], integers_only=integers_only
        )
  return values


def in_range(values):
  return {int(v) for v in values if v.denominator == 1 and 10 <= v <= 99}


SOME_MULTISETS = [(1, 1, 1, 4), (3, 3, 8, 8), (3, 5, 7, 9), (9, 9, 9, 9)]


# -- problems -----------------------------------------------------------------


def test_a_prompt_lists_numbers_in_ascending_order():
  assert countdown.format_prompt([9, 3, 7, 5], 24) == "3 5 7 9=24:"
  assert SEED_PROBLEM.prompt == "3 5 7 9=24:"
  assert SEED_PROBLEM.answer == {"numbers": [3, 5, 7, 9], "target": 24}


def test_problems_of_two_small_numbers_are_those_worked_out_by_hand():
  problems = countdown.all_problems(
    count=2, largest=2, lowest_target=2, highest_target=4
  )
  # 1+1; 1*2 and 2/1, 1+2; 2+2 and 2*2
  assert [p.prompt for p in problems] == [
    "1 1=2:",
    "1 2=2:",
    "1 2=3:",
    "2 2=4:",
  ]


@pytest.mark.parametrize("numbers", SOME_MULTISETS)
def test_targets_are_those_of_a_brute_force_search(numbers):
  targets = [
    p.answer["target"]
    for p in all_problems()
    if tuple(p.answer["numbers"]) == numbers
  ]
  fractions = [Fraction(n) for n in numbers]
  expected = in_range(brute_force_values(fractions, integers_only=False))
  assert targets == sorted(expected)


def test_no_prompt_is_listed_twice():
  assert len({p.prompt for p in all_problems()}) == len(all_problems())


@pytest.mark.parametrize("kwargs", [{"count": 0}, {"largest": 10_000}])
def test_impossible_arguments_are_refused(kwargs):
  with pytest.raises(ValueError, match=next(iter(kwargs))):
    countdown.all_problems(**kwargs)


# -- solutions ----------------------------------------------------------------


def test_solutions_of_two_numbers_are_those_worked_out_by_hand():
  solutions = countdown.solutions_of_multiset(
    [2, 1], lowest_target=0, highest_target=9
  )
  assert solutions == {
    1: ["2-1"],
    2: ["1*2", "2*1", "2/1"],
    3: ["1+2", "2+1"],
  }


def test_parentheses_stand_where_they_are_needed_and_where_they_may():
  solutions = countdown.solutions_of_multiset(
    [2, 3, 4], lowest_target=-99, highest_target=99
  )
  texts = {text for texts in solutions.values() for text in texts}
  assert {"2+3+4", "2-(3-4)", "(2+4)/3", "4/(3-2)", "2*3*4"} <= texts
  assert {"2+(3+4)", "(2+3)+4", "2*(3*4)", "(2*3)+4"} <= texts
  assert not {"(2+3+4)", "((2+3))+4", "(2)+3+4"} & texts


@pytest.mark.parametrize("numbers", SOME_MULTISETS)
def test_solutions_reach_every_target_of_an_integer_search(numbers):
  solutions = countdown.solutions_of_multiset(numbers)
  fractions = [Fraction(n) for n in numbers]
  expected = in_range(brute_force_values(fractions, integers_only=True))
  assert list(solutions) == sorted(expected)


def test_solutions_are_distinct():
  for texts in countdown.solutions_of_multiset([3, 3, 4, 9]).values():
    assert len(set(texts)) == len(texts)


def test_every_gold_is_accepted():
  multisets = sorted({tuple(p.answer["numbers"]) for p in all_problems()})
  for numbers in multisets[::10]:
    for target, golds in countdown.solutions_of_multiset(numbers).items():
      problem = countdown.make_problem(numbers, target)
      for gold in golds:
        assert countdown.verify(problem, gold) == Verdict(1.0, "correct", gold)


def test_a_problem_that_needs_a_fraction_has_no_solution_to_show():
  assert not countdown.solutions(countdown.make_problem([3, 3, 8, 8], 24))


# -- the verifier -------------------------------------------------------------


@pytest.mark.parametrize(
  "response, verdict",
  [
    ("(3+9)*(7-5)", (1.0, "correct", "(3+9)*(7-5)")),
    ("  ( 3 + 9 )*(7-5) ", (1.0, "correct", "(3+9)*(7-5)")),
    ("((3))+5+7+9", (1.0, "correct", "((3))+5+7+9")),
    ("3+5+7*9", (0.0, "wrong value", "3+5+7*9")),
    ("3*(5+7-9)", (0.0, "wrong value", "3*(5+7-9)")),
    ("3*8", (0.0, "wrong numbers", "3*8")),
    ("24", (0.0, "wrong numbers", "24")),
    ("3+5+7+9+0", (0.0, "wrong numbers", "3+5+7+9+0")),
    ("3+3+9+9", (0.0, "wrong numbers", "3+3+9+9")),
    ("9/(3*5-7-8)", (0.0, "wrong numbers", "9/(3*5-7-8)")),
    ("", (0.0, "unparseable", None)),
    ("   ", (0.0, "unparseable", None)),
    ("()", (0.0, "unparseable", None)),
    ("3+5+7+9=24", (0.0, "unparseable", None)),
    ("3+5+7+9\n", (0.0, "unparseable", None)),
    ("3+5+7+9 #", (0.0, "unparseable", None)),
    ("3+5+7+", (0.0, "unparseable", None)),
    ("3 5+7+9", (0.0, "unparseable", None)),
    ("(3)(5)+7+9", (0.0, "unparseable", None)),
    ("3+5+7+9)", (0.0, "unparseable", None)),
    ("(3+5+7+9", (0.0, "unparseable", None)),
    ("+3+5+7+9", (0.0, "unparseable", None)),
    ("-3+5+7+9", (0.0, "unparseable", None)),
    ("3--5+7+9", (0.0, "unparseable", None)),
    ("3.0+5+7+9", (0.0, "unparseable", None)),
    ("03+5+7+9", (0.0, "unparseable", None)),
    ("3//5+7+9", (0.0, "unparseable", None)),
    ("9**9**9", (0.0, "unparseable", None)),
    ("99999999999", (0.0, "unparseable", None)),
    ("٣+5+7+9", (0.0, "unparseable", None)),  # Arabic-Indic three
    ("３+5+7+9", (0.0, "unparseable", None)),  # full-width three
    ("3²+5+7+9", (0.0, "unparseable", None)),
    ("3−5+7+9", (0.0, "unparseable", None)),  # U+2212, not a hyphen
    ("__import__('os')", (0.0, "unparseable", None)),
    ("3+5+7+9\x00", (0.0, "unparseable", None)),
    ("3+5+7+9" + " " * 64, (0.0, "too long", None)),
    ("(" * 100_000, (0.0, "too long", None)),
    ("9" * 1_000_000, (0.0, "too long", None)),
  ],
)
def test_verdicts_of_near_misses_and_attacks(response, verdict):
  assert countdown.verify(SEED_PROBLEM, response) == Verdict(*verdict)


def test_a_division_by_zero_is_named():
  problem = countdown.make_problem([2, 2, 3, 3], 10)
  for text in ("(3+3)/(2-2)", "3/(2-2)*3"):
    assert countdown.verify(problem, text) == Verdict(
      0.0, "division by zero", text
    )
  assert countdown.verify(problem, "3/(2-2)").reason == "wrong numbers"


def test_fractions_are_exact():
  problem = countdown.make_problem([3, 3, 8, 8], 24)
  assert countdown.verify(problem, "8/(3-8/3)").reward == 1.0


def test_the_target_of_the_problem_is_enforced():
  for target in range(10, 100):
    problem = countdown.make_problem([3, 5, 7, 9], target)
    reward = countdown.verify(problem, "3+5+7+9").reward
    assert reward == float(target == 24)


@given(st.text())
@settings(max_examples=200)
def test_arbitrary_text_is_never_accepted_and_never_raises(text):
  verdict = countdown.verify(SEED_PROBLEM, text)
  assert verdict.reward == reference_reward(SEED_PROBLEM, text)


@given(st.binary(max_size=100))
@settings(max_examples=200)
def test_arbitrary_bytes_are_never_accepted_and_never_raise(data):
  text = data.decode("latin-1")
  verdict = countdown.verify(SEED_PROBLEM, text)
  assert verdict.reward == reference_reward(SEED_PROBLEM, text)


@given(st.text(alphabet="3579+-*/() ", max_size=70))
@settings(max_examples=500)
def test_random_expressions_are_verified_as_python_evaluates_them(text):
  verdict = countdown.verify(SEED_PROBLEM, text)
  assert verdict.reward == reference_reward(SEED_PROBLEM, text)
  parses = verdict.answer is not None
  if reference_value(text) is not None and len(text) <= 64:
    assert parses or re.search("[0-9]{5}", text)
  if parses and verdict.reason == "wrong value":
    assert reference_value(text) is not None


def test_mutated_golds_are_verified_as_python_evaluates_them():
  rng = np.random.default_rng(0)
  golds = countdown.solutions_of_multiset([3, 5, 7, 9])[24]
  symbols = "0123456789+-*/() "
  accepted = 0
  for _ in range(5_000):
    text = list(golds[rng.integers(len(golds))])
    for _ in range(rng.integers(1, 4)):
      i, j = rng.integers(len(text), size=2)
      symbol = symbols[rng.integers(len(symbols))]
      match rng.integers(4):
        case 0:
          text[i] = symbol
        case 1:
          text.insert(i, symbol)
        case 2:
          text[i], text[j] = text[j], text[i]
        case 3 if len(text) > 1:
          del text[i]
    text = "".join(text)
    verdict = countdown.verify(SEED_PROBLEM, text)
    assert verdict.reward == reference_reward(SEED_PROBLEM, text), text
    accepted += verdict.reward
  assert 0 < accepted < 2_500  # the mutations reach both sides


# -- the data set -------------------------------------------------------------


def test_splits_share_no_prompt_and_hold_every_problem(data_dir):
  splits = [
    builder.load(countdown.FAMILY, split, data_dir)
    for split in ("train", "validation", "test")
  ]
  assert [len(split) for split in splits[1:]] == [512, 512]
  prompts = [problem.prompt for split in splits for problem in split]
  assert len(set(prompts)) == len(prompts)
  assert set(prompts) == {problem.prompt for problem in all_problems()}


def test_a_loaded_problem_is_the_enumerated_one(data_dir):
  by_prompt = {problem.prompt: problem for problem in all_problems()}
  for problem in builder.load(countdown.FAMILY, "validation[:64]", data_dir):
    assert problem == by_prompt[problem.prompt]
    assert type(problem.answer["target"]) is int


def digest(problems):
  texts = [repr((p.prompt, sorted(p.answer.items()))) for p in problems]
  return hashlib.sha256("".join(texts).encode()).hexdigest()


def test_the_splits_are_those_that_the_base_was_trained_on(data_dir):
  # Digests of the splits on which the shipped base was trained, in order. They
  # come from the data set's first builder, not from the one under test.
  assert {
    split: digest(builder.load(countdown.FAMILY, split, data_dir))
    for split in ("train", "validation", "test")
  } == {
    "train": "39486fb8163e2c7cb4862c49f33a5ee738cf4d1f8333503d6e419a356d94cd88",
    "validation": "9ec03ae1126a38b2e4db1d79e1778add"
    "d0d5c58c4c201d5b28bb83e49653c191",
    "test": "79b0803efe087edeb1813de6b974d3c62fdd5e3761642a31362314b90e3022c9",
  }


def test_a_part_of_a_split_is_its_beginning(data_dir):
  whole = builder.load(countdown.FAMILY, "validation", data_dir)
  assert (
    builder.load(countdown.FAMILY, "validation[:256]", data_dir) == whole[:256]
  )


def test_the_splits_do_not_depend_on_the_order_of_problems():
  splits = builder.split_problems(all_problems())
  assert splits == builder.split_problems(all_problems()[::-1])


def test_two_builds_hold_the_same_rows_in_the_same_order(data_dir, tmp_path):
  for split in ("test", "validation"):
    first = builder.load(countdown.FAMILY, split, data_dir)
    assert builder.load(countdown.FAMILY, split, tmp_path) == first


@pytest.mark.parametrize("split", ["dev", "", "train[", "train[90000:]", "a:b"])
def test_an_unknown_split_is_refused_in_one_line(data_dir, split):
  with pytest.raises(
    ValueError, match="is not a split of countdown"
  ) as refused:
    builder.load(countdown.FAMILY, split, data_dir)
  assert "\n" not in str(refused.value)


@pytest.mark.parametrize("split", ["validation[:0]", "train[5:2]"])
def test_an_empty_split_is_refused_with_the_key(data_dir, split):
  with pytest.raises(
    ValueError, match=r"holds no problem; see task\.train_split"
  ):
    builder.load(countdown.FAMILY, split, data_dir)


def test_the_environment_names_the_data_dir(data_dir, monkeypatch):
  monkeypatch.setenv(builder.DATA_DIR_VARIABLE, str(data_dir))
  assert len(builder.load(countdown.FAMILY, "test")) == 512


@pytest.mark.parametrize(
  ("a", "b", "same"),
  [
    ("(3+9)*2", "3*8", True),
    ("1/3+1/3", "2/3", True),
    ("1/3", "333/1000", False),
    ("4", "4", True),
    ("1/(2-2)", "1/(2-2)", False),  # no value
    ("1+", "1+", False),
    ("9**9", "9", False),
    ("((((", "1", False),
    ("1" * 100_000, "1", False),
  ],
)
def test_expressions_of_one_value_are_equivalent(a, b, same):
  assert countdown.equivalent(a, b) is same
  assert countdown.equivalent(b, a) is same
  assert make_task("countdown").equivalent is countdown.equivalent


def test_the_task_loads_and_verifies(data_dir):
  task = make_task("countdown", data_dir)
  assert task.name == "countdown"
  problem = task.load("test[:1]")[0]
  assert task.verify(problem, "1+1").reason == "wrong numbers"


def test_two_processes_prepare_at_once_quietly_without_tensorflow(tmp_path):
  program = (
    "import sys; from entrojax.tasks import make_task;"
    f"print(len(make_task('countdown', {str(tmp_path)!r}).load('test')));"
    "print('tensorflow' in sys.modules)"
  )
  root = str(ROOT)
  processes = [
    subprocess.Popen(
      [sys.executable, "-c", program],
      cwd=root,
      env={**os.environ, "PYTHONPATH": root, "JAX_PLATFORMS": "cpu"},
      stdout=subprocess.PIPE,
      text=True,
    )
    for _ in range(2)
  ]
  outputs = [process.communicate(timeout=120)[0] for process in processes]
  assert outputs == ["512\nFalse\n"] * 2
  assert [path.name for path in tmp_path.iterdir()] == ["countdown_1_a1697769"]
