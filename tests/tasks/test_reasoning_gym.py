"""Tasks of reasoning-gym: strict verifiers, and an optional package."""

import sys

import pytest

from entrojax.tasks import make_task, reasoning_gym
from entrojax.types import Problem, Verdict

PROBLEM = Problem("2 + 5 =", {"question": "2 + 5 =", "answer": "7"})


def verify_with_score(score, response="7"):
  verify = reasoning_gym.make_verifier(lambda answer, entry: score)
  return verify(PROBLEM, response)


@pytest.mark.parametrize(
  "score, reward",
  [(1.0, 1.0), (1, 1.0), (0.999, 0.0), (0.99, 0.0), (0.5, 0.0), (0.0, 0.0),
   (float("nan"), 0.0)],
)  # fmt: skip
def test_partial_credit_is_no_credit(score, reward):
  verdict = verify_with_score(score)
  assert verdict == Verdict(reward, "correct" if reward else "wrong", "7")


def test_a_scorer_that_fails_gives_nothing():
  def scorer(answer, entry):
    raise RecursionError("deep")

  verify = reasoning_gym.make_verifier(scorer)
  assert verify(PROBLEM, "7") == Verdict(0.0, "scorer failed", "7")
  assert verify_with_score(None).reason == "scorer failed"


def test_long_and_empty_responses_do_not_reach_the_scorer():
  assert verify_with_score(1.0, "7" * 1_003) == Verdict(0.0, "too long", None)
  assert verify_with_score(1.0, " \n") == Verdict(0.0, "empty", None)


@pytest.mark.parametrize(
  "response, text",
  [
    ("7", "7"),
    ("<answer>7</answer>", "7"),
    ("<answer>6</answer> no, <answer>7</answer>.", "7"),
    ("<answer>6</answer> <answer>7", "6"),
    ("7</answer>", "7</answer>"),
    ("<answer>7", "<answer>7"),
  ],
)
def test_the_last_closed_tag_is_verified(response, text):
  assert reasoning_gym.answer_text(response) == text


@pytest.mark.parametrize(
  "answer, score",
  [("1 2\n3 4", 1.0), (" 1  2 \n3 4\n", 1.0), ("1 2 3 4", 0.0),
   ("1 2\n3 4 5", 0.0), ("12\n34", 0.0), ("", 0.0)],
)  # fmt: skip
def test_equality_allows_spaces_within_lines_alone(answer, score):
  assert reasoning_gym.equality(answer, {"answer": "1 2\n3 4"}) == score


def test_a_missing_package_is_named_with_the_command(monkeypatch):
  monkeypatch.setitem(sys.modules, "reasoning_gym", None)
  with pytest.raises(
    ValueError, match=r"pip install 'entrojax\[reasoning-gym\]'"
  ):
    make_task("reasoning_gym/chain_sum")


# -- with the package ---------------------------------------------------------


@pytest.fixture
def gym(monkeypatch):
  monkeypatch.setattr(reasoning_gym, "NUM_ENTRIES", 40)
  return pytest.importorskip(
    "reasoning_gym", reason="reasoning-gym, an optional package, is missing"
  )


@pytest.mark.parametrize("name", ["chain_sum", "knights_knaves", "mini_sudoku"])
def test_own_answers_are_right_and_changed_ones_wrong(gym, name, tmp_path):
  task = make_task(f"reasoning_gym/{name}", tmp_path)
  problems = task.load("train")
  assert len(problems) >= 20
  for problem in problems:
    right = problem.answer["answer"]
    assert task.verify(problem, right).reward == 1.0
    assert task.verify(problem, f"<answer>{right}</answer>").reward == 1.0
    for wrong in (f"{right}1", f"{right} {right}", f"it is {right}", "nan"):
      assert task.verify(problem, wrong).reward == 0.0


def test_problems_are_those_of_the_package_whoever_loads_them(gym, tmp_path):
  problems = [
    make_task("reasoning_gym/gcd", tmp_path / folder).load("train")
    for folder in ("first", "second")
  ]
  assert problems[0] == problems[1]
  curriculum = gym.factory.create_curriculum("gcd")
  curriculum.set_global_level(0)
  settings = curriculum.generate_configuration({"seed": 0, "size": 40})
  questions = {
    entry["question"] for entry in gym.factory.DATASETS["gcd"][0](settings)
  }
  assert {problem.prompt for problem in problems[0]} <= questions


def test_a_level_is_one_of_the_curriculum(gym, tmp_path):
  lengths = [
    sum(
      len(problem.prompt)
      for problem in make_task(
        "reasoning_gym/chain_sum", tmp_path, difficulty=level
      ).load("train[:20]")
    )
    for level in (1, 6)
  ]
  assert lengths[1] > lengths[0]
  with pytest.raises(ValueError, match=r"must lie in 1\.\.\d+ for reasoning_g"):
    make_task("reasoning_gym/chain_sum", tmp_path, difficulty=99)


def test_a_scorer_that_evaluates_is_refused(gym):
  with pytest.raises(ValueError, match="evaluates what a model writes"):
    make_task("reasoning_gym/puzzle24")


def test_an_unknown_family_is_named_with_the_nearest(gym):
  with pytest.raises(ValueError, match="'chain_sun'; did you mean 'chain_sum'"):
    make_task("reasoning_gym/chain_sun")


def test_the_lists_name_families_of_the_package(gym):
  listed = reasoning_gym.SCORED | set(reasoning_gym.REFUSED)
  assert listed <= set(gym.factory.DATASETS)
