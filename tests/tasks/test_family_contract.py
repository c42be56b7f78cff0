"""What every family of tasks must keep to.

Each test names the family, what is wrong with it, and what to do. The page of
the tasks (entrojax/tasks/README.md) explains how to write a family.
"""

import functools
import importlib
import json

import numpy as np
import pytest

from entrojax.tasks.families import FAMILIES
from entrojax.tasks.sampling import draw
from entrojax.types import Problem, Verdict
from tests import attack_verifiers
from tests.tasks.checkers import CHECKERS

pytestmark = pytest.mark.slow

MODULES = {
  name: importlib.import_module(f"entrojax.tasks.families.{name}")
  for name in FAMILIES
}
# (family, level) of the families whose problems are drawn, not enumerated
LEVELS = [
  (name, level)
  for name, module in MODULES.items()
  if hasattr(module, "generate")
  for level in range(len(FAMILIES[name].levels))
]
BY_HAND = [
  (name, *row)
  for name, checker in CHECKERS.items()
  for row in getattr(checker, "BY_HAND", ())
]
NO_ANSWER = ("unparseable", "too long")  # reasons of verdicts without an answer

every_family = pytest.mark.parametrize("name", FAMILIES)
every_level = pytest.mark.parametrize(("name", "level"), LEVELS)


def file_of(name: str) -> str:
  return f"entrojax/tasks/families/{name}.py"


def checker_of(name: str) -> str:
  return f"tests/tasks/checkers/{name}.py"


def check_files(name: str) -> None:
  """Say it if a family and its checker cannot be found under its name."""
  own = FAMILIES[name].name
  assert own == name, (
    f"{file_of(name)}: its FAMILY has the name {own!r}, but must have the name "
    "of the file"
  )
  assert name in CHECKERS, (
    f"{name} has no independent checker: write {checker_of(name)}"
  )


def verdict_of(name: str, problem: Problem, response: str) -> Verdict:
  """Verify a response; say it if the verifier does not return a Verdict."""
  of = f"{response!r} with the answer {problem.answer}"
  try:
    verdict = FAMILIES[name].verify(problem, response)
  except Exception as error:
    pytest.fail(
      f"{file_of(name)}: verify raises {error!r} for {of}; it must return a "
      "Verdict for every str. If the answer lacks a key, add it to generate, "
      f"or to BY_HAND in {checker_of(name)}"
    )
  assert isinstance(verdict, Verdict), (
    f"{file_of(name)}: verify returns {verdict!r} for {of}; it must return a "
    "Verdict(reward, reason, answer)"
  )
  return verdict


def check_problem(name: str, problem: Problem) -> Problem:
  """Return a problem; say it if the problem cannot be one of a family."""
  family, prompt = FAMILIES[name], problem.prompt
  check_files(name)
  where = f"{file_of(name)}: the problem {prompt!r}"
  assert prompt.isascii(), f"{where} is not ASCII; write it with other letters"
  assert prompt.endswith(":"), f"{where} must end with a colon"
  try:
    stored = json.loads(json.dumps(problem.answer))
  except TypeError as error:
    pytest.fail(f"{where} has an answer that JSON cannot write: {error}")
  assert stored == problem.answer, (
    f"{where} has the answer {problem.answer}, which JSON returns as {stored}; "
    "use lists instead of tuples, and keys that are str"
  )
  try:
    right = family.solutions(problem)
  except KeyError as error:
    pytest.fail(
      f"{where} has an answer without the key {error}: add it, with a right "
      f"response as its value, to {problem.answer}, or give FAMILY a function "
      "solutions"
    )
  unknown = set(prompt).union(*right[:20]) - set(family.characters)
  assert not unknown, (
    f"{where} or a right response to it has the characters "
    f"{''.join(sorted(unknown))!r}, which CHARACTERS lacks"
  )
  return problem


@functools.lru_cache
def some_problems(name: str) -> list[Problem]:
  """Draw about 60 problems, the same number from each level."""
  problems = attack_verifiers.sample_problems(FAMILIES[name], 60)
  return [check_problem(name, problem) for problem in problems]


def first_problems(name: str, level: int, count: int, seed: int = 0):
  generate, knobs = MODULES[name].generate, FAMILIES[name].levels[level]
  return [
    check_problem(name, draw(generate, seed=seed, index=i, **knobs))
    for i in range(count)
  ]


# -- files --------------------------------------------------------------------


@every_family
def test_a_family_and_its_checker_have_their_files(name):
  check_files(name)


@pytest.mark.parametrize("name", CHECKERS)
def test_a_checker_has_a_family(name):
  assert name in FAMILIES, f"{checker_of(name)} has no {file_of(name)}"


@every_family
def test_a_checker_has_its_parts(name):
  check_files(name)
  assert callable(getattr(CHECKERS[name], "check", None)), (
    f"{checker_of(name)} must define check(prompt, text), which says whether a "
    "response is right"
  )
  reasons = {reason for row, _, _, reason in BY_HAND if row == name}
  assert "correct" in reasons and len(reasons) > 1, (
    f"BY_HAND in {checker_of(name)} must have rows (answer, response, reason) "
    "of right and of wrong responses"
  )


# -- problems -----------------------------------------------------------------


@every_family
def test_problems_have_a_prompt_an_answer_and_characters_of_the_task(name):
  assert some_problems(name)


@every_level
def test_a_problem_is_a_function_of_seed_and_index(name, level):
  problems, where = first_problems(name, level, 20), file_of(name)
  assert problems == first_problems(name, level, 20), (
    f"{where}: generate draws other problems when it is called again with the "
    "same generator; take all randomness from rng"
  )
  assert problems != first_problems(name, level, 20, seed=1), (
    f"{where}: generate draws the same problems with another generator; take "
    "its randomness from rng"
  )
  prompts = {problem.prompt for problem in problems}
  assert len(prompts) > 10, (
    f"{where}: 20 draws of level {level + 1} have only {len(prompts)} distinct "
    "prompts; make the level larger"
  )


@every_level
def test_the_right_response_of_every_problem_is_accepted(name, level):
  family = FAMILIES[name]
  for problem in first_problems(name, level, 40):
    solution = problem.answer["solution"]
    for response in (solution, f"  {solution} "):
      verdict = verdict_of(name, problem, response)
      assert verdict == Verdict(1.0, "correct", solution), (
        f"{file_of(name)}: of the solution {response!r} to {problem.prompt!r} "
        f"verify says {verdict}, not reward 1.0, reason 'correct' and the "
        "solution without spaces as the answer"
      )
    assert attack_verifiers.is_right(family, problem, solution), (
      f"check in {checker_of(name)} refuses the solution {solution!r} to "
      f"{problem.prompt!r}"
    )


@every_family
def test_solutions_are_right_and_distinct(name):
  family, where = FAMILIES[name], file_of(name)
  for problem in some_problems(name):
    texts = family.solutions(problem)
    assert len(set(texts)) == len(texts), (
      f"{where}: two solutions to {problem.prompt!r} are the same"
    )
    for text in texts[:20]:
      verdict = verdict_of(name, problem, text)
      assert verdict.reward == 1.0, (
        f"{where}: solutions has {text!r} for {problem.prompt!r}, of which "
        f"verify says {verdict}, not reward 1.0"
      )
    own = problem.answer.get("solution", *texts[:1])
    assert not texts or own in texts, (
      f"{where}: the solution of the answer, {own!r}, is none of the solutions "
      f"to {problem.prompt!r}"
    )


# -- verdicts -----------------------------------------------------------------


@pytest.mark.parametrize(("name", "answer", "response", "reason"), BY_HAND)
def test_a_verdict_is_the_one_worked_out_by_hand(
  name, answer, response, reason
):
  verdict = verdict_of(name, Problem("", answer), response)
  head = f"{file_of(name)}: of {response!r} with the answer {answer} verify"
  assert verdict.reason == reason, (
    f"{head} says {verdict.reason!r}; BY_HAND in {checker_of(name)} says "
    f"{reason!r}"
  )
  assert verdict.reward == float(reason == "correct"), (
    f"{head} gives the reward {verdict.reward} with the reason {reason!r}; "
    "only 'correct' has 1.0, every other reason 0.0"
  )
  assert (verdict.answer is None) == (reason in NO_ANSWER), (
    f"{head} gives the answer {verdict.answer!r} with the reason {reason!r}; "
    "it is None only if the reason is 'unparseable' or 'too long'; with any "
    "other reason the answer votes"
  )


@every_family
def test_no_string_is_accepted_wrongly_or_raises(name):
  count = attack_verifiers.attack(FAMILIES[name], some_problems(name), 2_000)
  assert not count.fault, (
    f"{file_of(name)}: the verifier {count.fault}, according to "
    f"{checker_of(name)}. Of 2,000 strings {count.wrongly_accepted} were "
    f"wrongly accepted, {count.wrongly_refused} wrongly refused, "
    f"{count.raised} raised"
  )
  assert count.strings == 2_000
  assert count.accepted > 10, (
    f"{file_of(name)}: the verifier accepted only {count.accepted} of 2,000 "
    "strings, many of which are right responses"
  )


@every_family
def test_a_verifier_that_accepts_too_much_is_caught(name):
  family, problems = FAMILIES[name], some_problems(name)

  def lenient(problem, response):
    return family.verify(problem, response.strip().strip("#.;"))

  attacked = family._replace(verify=lenient)
  assert attack_verifiers.attack(attacked, problems, 500).wrongly_accepted, (
    f"check in {checker_of(name)} accepts right responses with '#', '.', ';' "
    "or a line break before or behind them; it must refuse what verify refuses"
  )


@every_family
def test_changed_right_responses_are_mostly_wrong(name):
  family, rng = FAMILIES[name], np.random.default_rng(0)
  refused = total = 0
  for problem in some_problems(name):
    right = attack_verifiers.gold(family, problem, rng)
    if right is None:
      continue
    text = attack_verifiers.mutated(right, family.characters, rng)
    accepted = verdict_of(name, problem, text).reward == 1.0
    says = "accepts" if accepted else "refuses"
    assert accepted == attack_verifiers.is_right(family, problem, text), (
      f"{file_of(name)}: verify {says} {text!r} to {problem.prompt!r}, and "
      f"check in {checker_of(name)} does not"
    )
    refused, total = refused + (not accepted), total + 1
  assert refused > 0.7 * total, (
    f"{file_of(name)}: only {refused} of {total} right responses are wrong "
    "after one to three characters changed; make responses harder to guess"
  )
