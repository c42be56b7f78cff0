"""Countdown with working: its language, verifier, oracle and traces."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from entrojax.data.sft_examples import pairs_of_task
from entrojax.judges.segmentation import rules
from entrojax.tasks import countdown_moves, countdown_traces, make_task
from entrojax.tasks.countdown_moves import (
  Step,
  TakeBack,
  parse_move,
  write_move,
)
from entrojax.tasks.families import countdown, countdown_steps
from entrojax.tasks.sampling import draw
from entrojax.types import Problem, Verdict
from tests import attack_verifiers
from tests.tasks.checkers import CHECKERS

pytestmark = pytest.mark.slow

FAMILY = countdown_steps.FAMILY
PROBLEM = countdown.make_problem([3, 5, 7, 9], 24)
LEVELS = range(len(FAMILY.levels))
STRAIGHT = "9+3=12 5 7;7-5=2 12;12*2=24>"


def first_problems(level, count, seed=0):
  return [
    draw(
      countdown_steps.draw_problem, seed=seed, index=i, **FAMILY.levels[level]
    )
    for i in range(count)
  ]


# -- slow twins ---------------------------------------------------------------


def brute_force(numbers):
  """List every number that all numbers can be reduced to, without a memo."""
  if len(numbers) == 1:
    return set(numbers)
  values = set()
  for i, j in itertools.permutations(range(len(numbers)), 2):
    rest = [n for k, n in enumerate(numbers) if k not in (i, j)]
    x, y = numbers[i], numbers[j]
    results = [x + y, x * y, x - y] + ([x // y] if y and not x % y else [])
    for result in results:
      if 0 <= result <= 999:
        values |= brute_force([*rest, result])
  return values


def agrees(problem, text):
  """Check verifier and oracle against the slow checkers; return the verdict."""
  verdict = countdown_steps.verify(problem, text)
  if verdict.reason != "too long":
    right = attack_verifiers.is_right(FAMILY, problem, text)
    assert verdict.reward == float(right), text
    steps = CHECKERS["countdown_steps"].check_steps(problem.prompt, text)
    assert countdown_steps.judge_moves(problem, text) == steps, text
  return verdict


# -- moves --------------------------------------------------------------------


@pytest.mark.parametrize(
  "text, move",
  [
    ("9+3=12 5 7", Step(9, "+", 3, (12, 5, 7))),
    ("7-7=0 1", Step(7, "-", 7, (0, 1))),
    ("12*2=24", Step(12, "*", 2, (24,))),
    ("999/1=999", Step(999, "/", 1, (999,))),
    ("<12 5 7", TakeBack((12, 5, 7))),
    ("<0", TakeBack((0,))),
  ],
)
def test_a_move_is_read_and_written(text, move):
  assert parse_move(text) == move
  assert write_move(move) == text


@pytest.mark.parametrize(
  "text",
  [
    *("", "<", "<<12 5 7", "< 12", "12", "9+3", "9+3=", "=12", "9+3=12=12"),
    *("9+3 =12", "9+3=12  5", "9+3=12 5 ", " 9+3=12", "9+3=12,5", "9+3=12\n"),
    *(
      "09+3=12",
      "9+3=012",
      "9+3=+12",
      "5-7=-2",
      "9++3=12",
      "9+3+1=13",
      "9^3=1",
    ),
    *("1000+1=1", "999+1=1000", "9+3=12>", "9+3=12;", "9+3=12\x00"),
    *("٣+9=12", "９+3=12", "9²+3=84", "7−5=2", "3.0+9=12", "1e1+2=12"),
  ],
)
def test_any_other_text_is_no_move(text):
  assert parse_move(text) is None


def test_the_steps_from_two_numbers_are_those_worked_out_by_hand():
  texts = [write_move(step) for step in countdown_moves.steps_from((2, 6))]
  assert texts == ["6+2=8", "6-2=4", "6*2=12", "6/2=3"]
  texts = [write_move(step) for step in countdown_moves.steps_from((0, 5))]
  assert texts == ["5+0=5", "5-0=5", "5*0=0"]
  # equal pairs are listed once; 999 is the largest number
  texts = [write_move(step) for step in countdown_moves.steps_from((4, 4, 400))]
  assert texts == [
    *("4+4=8 400", "4-4=0 400", "4*4=16 400", "4/4=1 400"),
    *("400+4=404 4", "400-4=396 4", "400/4=100 4"),
  ]


@pytest.mark.parametrize(
  "numbers",
  [(0, 7), (5, 8), (6, 6), (0, 0, 3), (1, 5, 6), (2, 8, 400), (7, 12, 12)],
)
def test_what_can_be_reached_is_what_a_brute_force_search_reaches(numbers):
  values = brute_force(numbers)
  for target in range(1001):
    assert countdown_moves.can_reach(numbers, target) == (target in values)


def test_four_numbers_reach_what_a_brute_force_search_reaches():
  for numbers in [(1, 1, 1, 4), (3, 5, 7, 9), (9, 9, 9, 9), (2, 7, 11, 13)]:
    values = brute_force(numbers)
    for target in (*range(100), 500, 729, 999):
      assert countdown_moves.can_reach(numbers, target) == (target in values)


# -- the verifier -------------------------------------------------------------


@pytest.mark.parametrize(
  "response, reason",
  [
    (STRAIGHT, "correct"),
    (f"  {STRAIGHT} ", "correct"),
    ("3+9=12 7 5;7-5=2 12;2*12=24>", "correct"),  # either order
    ("9+3=12 5 7;12+7=19 5;19+5=24>", "correct"),
    # take-backs by one, two and three states
    ("9+3=12 5 7;7+5=12 12;<12 5 7;7-5=2 12;12*2=24>", "correct"),
    ("9+3=12 5 7;7-5=2 12;12+2=14;<2 12;12*2=24>", "correct"),
    ("9*7=63 3 5;5-3=2 63;63+2=65;<9 7 5 3;" + STRAIGHT, "correct"),
    # a wrong step that is taken back does not count, nor what followed it
    ("9+3=13 5 7;13+5=18 7;<3 5 7 9;" + STRAIGHT, "correct"),
    ("9+8=17 5 7;<3 5 7 9;" + STRAIGHT, "correct"),
    # a right answer may be doubted
    ("9+3=12 5 7;7-5=2 12;12*2=24;12+2=14;<24>", "correct"),
    ("9+3=12 5 7;7-5=2 12;12+2=14>", "wrong value"),
    ("9+3=13 5 7;7-5=2 13;13+2=15>", "wrong arithmetic"),
    ("9+3=12 5 7;7-5=2 12;12*3=24>", "wrong numbers"),
    ("9+3=12 5 7;7-5=2 12;12*2=25>", "wrong arithmetic"),
    ("9+9=18 5 7;18+7=25 5>", "wrong numbers"),  # only one 9
    ("5-7=2 3 9;9+3=12 2;12*2=24>", "wrong arithmetic"),  # below 0
    ("7/5=1 3 9;9+3=12 1;12*1=12>", "wrong arithmetic"),  # no integer
    ("9+3=12 5 8;8+5=13 12;13+12=25>", "wrong rest"),
    ("9+3=12 5;12+5=17>", "wrong rest"),
    ("9+3=5 7 12;7-5=2 12;12*2=24>", "wrong arithmetic"),  # result not first
    ("9+3=12 5 7;<12 5 7;7-5=2 12;12*2=24>", "wrong take-back"),  # to itself
    ("9+3=12 5 7;<12 5 8;7-5=2 12;12*2=24>", "wrong take-back"),
    ("<3 5 7 9;" + STRAIGHT, "wrong take-back"),
    # the path that was left cannot be returned to
    ("9+3=12 5 7;<3 5 7 9;<12 5 7;7-5=2 12;12*2=24>", "wrong take-back"),
    ("9+3=13 5 7;<13 5 7;<3 5 7 9;" + STRAIGHT, "correct"),
    ("9+3=12 5 7>", "numbers left"),
    ("9+3=12 5 7;7-5=2 12;<3 5 7 9>", "numbers left"),
    ("9+3=12 5 7;7-5=2 12;12*2=24", "unfinished"),
    ("9+3=12 5 7", "unfinished"),
    ("9+3=12 5 7;7-5=2 12;12*2=24;", "unparseable"),
    ("9+3=12 5 7;7-5=2 12;12*2=24;>", "unparseable"),
    (STRAIGHT + ">", "unparseable"),
    (STRAIGHT + "24", "unparseable"),
    (STRAIGHT + ";" + STRAIGHT, "unparseable"),
    (STRAIGHT + "\n", "unparseable"),
    (STRAIGHT + "\x00", "unparseable"),
    ("24>", "unparseable"),
    (">", "unparseable"),
    ("", "unparseable"),
    ("   ", "unparseable"),
    ("(3+9)*(7-5)", "unparseable"),
    ("9+3=12 5 7; 7-5=2 12;12*2=24>", "unparseable"),
    ("3+9+5+7=24>", "unparseable"),
    (STRAIGHT + " " * 512, "too long"),
    ("<3 5 7 9;" * 100_000, "too long"),
    ("9" * 1_000_000, "too long"),
    ("<" * 100_000, "too long"),
  ],
)
def test_a_verdict_is_the_one_worked_out_by_hand(response, reason):
  verdict = agrees(PROBLEM, response)
  assert verdict.reason == reason
  assert verdict.reward == float(reason == "correct")
  votes = reason not in ("too long", "unparseable", "unfinished")
  assert (verdict.answer is not None) == votes


def test_the_target_of_the_problem_is_enforced():
  for target in range(10, 100):
    problem = countdown.make_problem([3, 5, 7, 9], target)
    assert countdown_steps.verify(problem, STRAIGHT).reward == (target == 24)


@pytest.mark.parametrize(
  "response, answer",
  [
    (STRAIGHT, "(3+9)*(7-5)"),
    ("7-5=2 3 9;3+9=12 2;2*12=24>", "(3+9)*(7-5)"),  # another order
    ("9+3=12 5 7;12+7=19 5;19+5=24>", "3+5+7+9"),
    ("7+5=12 3 9;3+12=15 9;15+9=24>", "3+5+7+9"),  # nested otherwise
    ("9-5=4 3 7;7-4=3 3;3*3=9>", "3*(5+7-9)"),  # 7-(9-5)
    ("9/3=3 5 7;5*3=15 7;15*7=105>", "5*7*9/3"),
    ("9*5=45 3 7;45/3=15 7;15*7=105>", "5*7*9/3"),
    # what is handed in, if the path does not lead to it
    ("9+3=12 5 7;7-5=2 12;12*3=24>", "24"),
    ("9+3=12 5 7>", "12"),
  ],
)
def test_the_answer_is_the_solution_in_its_canonical_form(response, answer):
  assert countdown_steps.verify(PROBLEM, response).answer == answer


def test_an_operand_is_the_equal_number_that_was_made_last():
  problem = countdown.make_problem([2, 2, 4, 5], 11)
  response = "2+2=4 4 5;4-4=0 5;5+0=5>"
  verdict = countdown_steps.verify(problem, response)
  parts = {"take_back": 0.0}
  assert verdict == Verdict(0.0, "wrong value", "2+2+5-4", parts)


@pytest.mark.parametrize(
  ("response", "take_back"),
  [(STRAIGHT, 0.0), ("9+3=12 5 7;<3 5 7 9;" + STRAIGHT, 1.0), ("<", 1.0)],
)
def test_a_verdict_tells_whether_a_move_was_taken_back(response, take_back):
  verdict = countdown_steps.verify(PROBLEM, response)
  assert verdict.parts == {"take_back": take_back}


def test_the_canonical_form_has_the_value_that_is_handed_in():
  for level in LEVELS:
    for problem in first_problems(level, 30):
      for trace in countdown_traces.draw_traces(problem):
        verdict = countdown_steps.verify(problem, trace.text)
        named = trace.text.rpartition("=")[2].rstrip(">")
        assert verdict.answer is not None
        assert countdown.equivalent(verdict.answer, named)
        used = CHECKERS["countdown"].check(
          countdown.format_prompt(problem.answer["numbers"], int(named)),
          verdict.answer,
        )
        assert used  # every number of the prompt once


def test_answers_are_compared_by_value():
  task = make_task("countdown_steps")
  assert task.equivalent("(3+9)*(7-5)", "3+5+7+9")
  assert task.equivalent("24", "3+5+7+9")
  assert not task.equivalent("25", "3+5+7+9")


# -- the oracle of moves ------------------------------------------------------


@pytest.mark.parametrize(
  "response, right",
  [
    (STRAIGHT, [True, True, True]),
    ("9+3=12 5 7;12+7=19 5;19+5=24>", [True, True, True]),
    # 5 * 12 = 60 leaves 12 and 60 without 24; back, and right again
    ("9+3=12 5 7;7+5=12 12;<12 5 7;7-5=2 12;12*2=24>",
     [True, True, True, True, True]),  # 12 + 12 = 24
    ("9+3=12 5 7;7*5=35 12;<12 5 7;7-5=2 12;12+2=14>",
     [True, False, True, True, False]),
    ("9+3=12 5 7;7*5=35 12;<3 5 7 9;9*7=63 3 5",
     [True, False, True, False]),
    # from a wrong step on, everything is wrong until it is taken back
    ("9+3=13 5 7;7-5=2 13;<3 5 7 9;9+3=12 5 7", [False, False, True, True]),
    ("9+3=12 5 7;7-5=2 12;12*2=24", [True, True, True]),  # not handed in
    ("9+3=12 5 7;7-5=2 12>", [True, False]),  # handed in too early
    ("9+3=12 5 7;7-5=2 12;<12 5 7>", [True, True, False]),
    ("9+3=12 5 7;7-5=2 12;12*2=2", [True, True, False]),  # cut off
    ("9+3=12 5 7;", [True, False]),
    ("9+3=12 5 7>;7-5=2 12;12*2=24>", [False, False, False]),
    # back to a state from which the target is out of reach
    ("9+3=12 5 7;7*5=35 12;35-12=23;<35 12", [True, False, False, False]),
    (" 9+3=12 5 7 ", [True]),
    ("9+3=12 5 7; 7-5=2 12", [True, False]),
    ("", [False]),
    (";", [False, False]),
    (">", [False]),
  ],
)  # fmt: skip
def test_moves_are_judged_as_by_hand(response, right):
  assert countdown_steps.judge_moves(PROBLEM, response) == right
  agrees(PROBLEM, response)


def test_the_pieces_of_the_segmenter_are_the_moves():
  segment = rules(min_length=1, separators=(";",))
  text = "9+3=12 5 7;7*5=35 12;<12 5 7;7-5=2 12;12+2=14>"
  pieces = [text[start:end] for start, end in segment(text)]
  assert [piece.strip(";") for piece in pieces] == text.split(";")
  judged = countdown_steps.judge_pieces(PROBLEM, pieces)
  assert judged == countdown_steps.judge_moves(PROBLEM, text)


@pytest.mark.parametrize(
  "pieces, right",
  [
    (["9+3=12 5 7;7*5=35 12;<12 5 7;7-5=2 12"], [False]),
    (["9+3", "=12 5 7;", "7*5", "=35 12;", "<12 5 7;7-5=2 12"],
     [True, True, False, False, True]),
    (["9+3=12 5 7", ";7", "", "*5=35 12", ";", "<12 5 7"],
     [True, False, False, False, False, True]),
    ([], []),
    ([""], [False]),
    (["9" * 100_000, "<3 5 7 9;"], [False, False]),
  ],
)  # fmt: skip
def test_a_piece_is_right_if_it_holds_no_part_of_a_wrong_move(pieces, right):
  assert countdown_steps.judge_pieces(PROBLEM, pieces) == right


def test_a_correct_response_ends_with_a_right_move_and_only_it_does():
  for level in LEVELS:
    for problem in first_problems(level, 30):
      for trace in countdown_traces.draw_traces(problem):
        *_, last = countdown_steps.judge_moves(problem, trace.text)
        assert last == trace.right


def test_an_oracle_that_is_wrong_is_caught(monkeypatch):
  def careless(problem, response):
    return [move is not None for move in map(parse_move, response.split(";"))]

  monkeypatch.setattr(CHECKERS[FAMILY.name], "judge", careless)
  count = attack_verifiers.attack(FAMILY, [PROBLEM], 300)
  assert count.wrongly_judged > 0
  assert count.failed


# -- hostile responses --------------------------------------------------------


@given(st.text())
@settings(max_examples=200)
def test_arbitrary_text_is_never_accepted_and_never_raises(text):
  assert agrees(PROBLEM, text).reward == 0.0


@given(st.text(alphabet="0123579+-*/=<>; ", max_size=60))
@settings(max_examples=500)
def test_random_text_of_the_alphabet_is_verified_by_the_rules(text):
  agrees(PROBLEM, text)


MOVES = (
  *("9+3=12 5 7", "3+9=12 7 5", "7-5=2 12", "12*2=24", "12+7=19 5", "19+5=24"),
  *("7+5=12 12", "12+12=24", "9+3=13 5 7", "7-5=2 3 9", "3+9=12 2", "2*12=24"),
  *("<3 5 7 9", "<12 5 7", "<2 12", "<12 12", "<24", "<19 5", "<5 19", "9*"),
)


@given(
  st.lists(st.sampled_from(MOVES), max_size=12), st.sampled_from(("", ">"))
)
@settings(max_examples=500)
def test_random_moves_are_followed_by_the_rules(moves, end):
  agrees(PROBLEM, ";".join(moves) + end)


def test_mutated_traces_are_verified_by_the_rules():
  rng = np.random.default_rng(0)
  accepted = refused = 0
  for level in LEVELS:
    for problem in first_problems(level, 20):
      for text in countdown_traces.traces(problem):
        # exchange, drop or repeat whole moves, then perhaps characters
        moves = text.rstrip(">").split(";")
        i, j = rng.integers(len(moves), size=2)
        match rng.integers(4):
          case 0:
            moves[i], moves[j] = moves[j], moves[i]
          case 1 if len(moves) > 1:
            del moves[i]
          case 2:
            moves.insert(i, moves[j])
        changed = ";".join(moves) + ">"
        if rng.random() < 0.3:
          changed = attack_verifiers.mutated(changed, FAMILY.characters, rng)
        reward = agrees(problem, changed).reward
        accepted, refused = accepted + reward, refused + 1 - reward
  assert accepted > 20 and refused > 20


def test_the_work_for_a_hostile_response_is_bounded(monkeypatch):
  # Work is counted, not timed. A response of 512 characters has at most 256
  # moves, and a step makes one computation. The oracle also searches the state
  # after a step. Four numbers have 6 pairs with 4 results each; each result
  # leaves three numbers, with 3 pairs and 4 results; and each of these leaves
  # two numbers with 4 results.
  problem = first_problems(2, 1)[0]
  count = itertools.count()
  compute = countdown_moves.compute

  def counted(*args):
    next(count)
    return compute(*args)

  monkeypatch.setattr(countdown_moves, "compute", counted)
  numbers = tuple(problem.answer["numbers"])
  texts = [";".join(["<" + " ".join(map(str, numbers))] * 40), ";" * 512]
  first = countdown_moves.steps_from(numbers)
  back = write_move(TakeBack(numbers))
  texts.append(";".join(f"{write_move(step)};{back}" for step in first)[:512])
  for text in texts:
    countdown_moves.can_reach.cache_clear()
    before = next(count)
    countdown_steps.verify(problem, text)
    verified = next(count)
    assert verified - before <= 256 + 1
    countdown_steps.judge_moves(problem, text)
    steps = text.count("=")
    assert next(count) - verified <= 1 + steps * 6 * 4 * (1 + 4 * 3 * (1 + 4))


# -- problems -----------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_every_problem_of_a_level_has_a_solution(level):
  knobs = FAMILY.levels[level]
  for problem in first_problems(level, 40):
    numbers, target = problem.answer["numbers"], problem.answer["target"]
    assert problem.prompt == countdown.format_prompt(numbers, target)
    assert len(numbers) == knobs["count"]
    assert all(1 <= number <= knobs["largest"] for number in numbers)
    assert 10 <= target <= 99
    assert countdown_moves.can_reach(tuple(numbers), target)
    assert FAMILY.solutions(problem)


@pytest.mark.parametrize("level", LEVELS)
def test_prompts_and_traces_use_the_characters_of_the_family(level):
  for problem in first_problems(level, 20):
    for text in (problem.prompt, *countdown_traces.traces(problem)):
      assert set(text) <= set(FAMILY.characters)


def test_a_problem_is_a_function_of_seed_and_index():
  assert first_problems(0, 20) == first_problems(0, 20)
  assert first_problems(0, 20) != first_problems(0, 20, seed=1)


@pytest.mark.parametrize(
  "knobs", [{"count": 1}, {"count": 6}, {"largest": 100}]
)
def test_impossible_arguments_are_refused(knobs):
  level = {"count": 4, "largest": 9} | knobs
  with pytest.raises(ValueError, match=f"countdown_steps.{next(iter(knobs))}"):
    countdown_steps.draw_problem(np.random.default_rng(0), **level)


# -- traces -------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_a_trace_is_what_it_says(level):
  rights = backs = 0
  for problem in first_problems(level, 40):
    traces = list(countdown_traces.draw_traces(problem))
    assert len({trace.text for trace in traces}) == len(traces)
    for text, right in traces:
      verdict = countdown_steps.verify(problem, text)
      assert verdict.reason == ("correct" if right else "wrong value")
      assert len(text) <= countdown_traces.HABITS.longest
      rights, backs = rights + right, backs + ("<" in text)
  assert rights > 50 and backs > 50  # both kinds occur


def test_traces_are_a_function_of_the_problem():
  for problem in first_problems(0, 10):
    again = Problem(problem.prompt, dict(problem.answer))
    assert countdown_traces.traces(problem) == countdown_traces.traces(again)


def test_a_search_with_insight_goes_straight_to_the_target():
  wise = countdown_traces.Habits(insight=1.0)
  for problem in first_problems(0, 20):
    for text, right in countdown_traces.draw_traces(problem, wise):
      assert right and "<" not in text and text.count(";") == 1


def test_a_search_in_haste_never_takes_back_a_wrong_number():
  hasty = countdown_traces.Habits(insight=0.0, notice=0.0, haste=1.0)
  for problem in first_problems(0, 20):
    for text, _ in countdown_traces.draw_traces(problem, hasty):
      assert "<" not in text and text.count(";") == 1


def test_a_patient_search_only_hands_in_the_target():
  for problem in first_problems(0, 20):
    for text in countdown_steps.FAMILY.solutions(problem):
      assert countdown_steps.verify(problem, text).reward == 1.0


@pytest.mark.parametrize("name", ["countdown_steps", "countdown"])
def test_a_warm_up_reads_the_traces_of_a_task_that_has_them(name):
  task = make_task(name)._replace(load=lambda split: [PROBLEM])
  (pair,) = pairs_of_task(task, name, "train")
  write = task.solutions if name == "countdown" else task.traces
  assert pair.prompt == PROBLEM.prompt
  assert pair.responses == write(PROBLEM) != ()
