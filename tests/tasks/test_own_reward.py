"""Rewards of the user's own: batches, named parts and failures."""

import math
from pathlib import Path
import re
import time

import numpy as np
import pytest

from entrojax.rollouts.rewards import reward_metrics, with_parts
from entrojax.tasks.own import own_task
from entrojax.tasks.own_reward import OwnVerifier, form_of
from entrojax.types import Problem, Responses, Verdict

PROBLEMS = [Problem(f"t{i}", {"prompt": f"p{i}", "target": i}) for i in (0, 1)]


def verifier(function, **options) -> OwnVerifier:
  return OwnVerifier(function, "f", form_of(function, "f"), **options)


def verify(function, responses=("a", "b"), **options) -> list[Verdict]:
  return verifier(function, **options).batch(PROBLEMS, responses)


def test_a_reward_for_batches_gets_lists_and_is_called_once():
  calls = []

  def rewards(prompts, responses, target):
    calls.append((prompts, responses, target))
    return np.array([0.25, 1.0])

  assert [v.reward for v in verify(rewards)] == [0.25, 1.0]
  assert calls == [(["p0", "p1"], ["a", "b"], [0, 1])]
  assert verifier(rewards).batch([], []) == []


@pytest.mark.parametrize(
  ("function", "message"),
  [
    (lambda *, prompt, response: 1.0, "f: 'prompt' must .* no \\* may stand"),
    (lambda prompt, *, response: 1.0, "f: 'response' must .* by its position"),
    (lambda prompt, response, x, /: 1.0, "f: 'x' must .* no / may stand after"),
    (lambda problem, response, x: 1.0, "f is a verifier .* 'x' has no value"),
  ],
)
def test_a_function_that_could_never_be_called_is_named(function, message):
  with pytest.raises(ValueError, match=rf"^task\.name: {message}"):
    form_of(function, "f")


@pytest.mark.parametrize("column", ["prompts", "responses"])
def test_a_column_with_the_name_of_a_batchs_parameter_is_named(column):
  rows = [{"prompt": "a", column: 1}]
  everything = lambda prompts, responses, **columns: [1.0] * len(prompts)
  with pytest.raises(
    ValueError, match=f"row 0 has a column {column}, which is"
  ):
    own_task(everything, rows, name="f").load("all")
  nothing = lambda prompts, responses: [1.0] * len(prompts)
  assert len(own_task(nothing, rows, name="f").load("all")) == 1


@pytest.mark.parametrize(
  ("value", "reason"),
  [
    ([1.0], r"reward returned a list of 1 for 2 responses"),
    (3.0, r"reward returned 3\.0; expected a list with an item for each"),
    ([1.0, float("nan")], r"reward returned nan for the prompt 't1' and the r"),
  ],
)
def test_a_wrong_result_of_a_batch_is_no_number_and_named(value, reason):
  def rewards(prompts, responses):
    return value

  *_, last = verify(rewards)
  assert math.isnan(last.reward) and re.match(reason, last.reason)
  with pytest.raises(ValueError, match=r"^task\.name: f returned "):
    verifier(lambda prompts, responses: [])(PROBLEMS[0], "a")


def test_a_batch_that_raises_or_hangs_gives_all_its_responses_zero():
  def rewards(prompts, responses):
    if responses[0] == "hang":
      time.sleep(1)
    raise KeyError("gone")

  with pytest.warns(UserWarning, match="failed call number 1"):
    verdicts = verify(rewards, seconds=0.05)
  assert (
    verdicts
    == [Verdict(0.0, "reward raised KeyError: 'gone'", None, failed=True)] * 2
  )
  with pytest.warns(UserWarning, match="failed call number 1"):
    verdicts = verify(rewards, ("hang", ""), seconds=0.05)
  assert {v.reason for v in verdicts} == {"reward took longer than 0.05 s"}


def test_the_parts_of_a_reward_are_summed_and_kept_by_name():
  def reward(prompt, response, target):
    return {"right": float(target), "format": 0.25 * (response == "b")}

  first, second = verify(reward)
  assert first == Verdict(0.0, "0", None, {"right": 0.0, "format": 0.0})
  assert second == Verdict(1.25, "1.25", None, {"right": 1.0, "format": 0.25})


def test_a_verdict_may_name_parts_too():
  parts = {"right": 1.0, "short": -0.5}
  given = Verdict(1.0, "fine", "42", parts)
  assert verify(lambda problem, response: given) == [given, given]


@pytest.mark.parametrize("value", [{}, {"a": None}, {"a": float("inf")}])
def test_parts_that_are_no_numbers_are_an_error(value):
  with pytest.raises(ValueError, match="a dict from names to finite numbers"):
    verifier(lambda prompt, response: value)(PROBLEMS[0], "a")


def test_separate_processes_call_a_reward_for_batches(tmp_path):
  path = tmp_path / "rewards.py"
  path.write_text(
    "import numpy as np\n\n"
    "def lists(prompts, responses, target):\n"
    "  return np.array([len(r) / 2 for r in responses])\n\n"
    "def parts(prompts, responses, target):\n"
    "  return [{'target': t, 'one': np.float32(1)} for t in target]\n"
  )
  for name, expected in (("lists", [1.0, 0.5]), ("parts", [1.0, 2.0])):
    function = lambda prompts, responses, target: None
    verify = OwnVerifier(
      function,
      f"{path}:{name}",
      form_of(function, name),
      importable=True,
    )
    verdicts = verify.batch(PROBLEMS, ["ab", "a"])
    assert [v.reward for v in verdicts] == expected
  assert verdicts[1].parts == {"target": 1.0, "one": 1.0}
  assert Path(path).exists()


def test_an_array_for_a_batch_of_one_response_is_a_list(tmp_path):
  path = tmp_path / "rewards.py"
  path.write_text(
    "class Tensor:\n"  # like torch's, which float() accepts with one item
    "  ndim = 1\n\n"
    "  def __float__(self):\n    return 0.5\n\n"
    "  def tolist(self):\n    return [0.5]\n\n"
    "def rewards(prompts, responses):\n  return Tensor()\n"
  )
  verify = OwnVerifier(
    print,
    f"{path}:rewards",
    form_of(lambda prompts, responses: None, "rewards"),
    importable=True,
  )
  assert verify(PROBLEMS[0], "a").reward == 0.5


@pytest.mark.parametrize("one", [np.array([0.5]), np.array([[0.5]]), [0.5]])
def test_an_array_of_one_number_is_a_number(one):
  assert verifier(lambda prompt, response: one)(PROBLEMS[0], "a").reward == 0.5
  parts = verifier(lambda prompt, response: {"half": one})(PROBLEMS[0], "a")
  assert parts.parts == {"half": 0.5}
  rows = verify(lambda prompts, responses: np.array([[0.5], [1.0]]))
  assert [verdict.reward for verdict in rows] == [0.5, 1.0]


def responses_with(parts) -> Responses:
  ones = np.ones((1, 2), np.float32)
  return Responses(
    rewards=ones,
    correctness=ones,
    lengths=ones,
    truncated=0 * ones,
    entropy=np.float32(0.5),
    failed=np.array([[1, 0]], np.float32),
    parts=parts,
    advantages=ones,
    keep=ones,
  )


def test_failures_and_parts_are_logged_by_name():
  parts = {"format": np.array([[0.5, 0.0]], np.float32)}
  sampled = responses_with(parts)
  metrics = reward_metrics(sampled, sampled)
  assert metrics["critic/failed_rewards"] == 0.5
  assert metrics["critic/parts/format"] == 0.25


def test_parts_that_another_process_knows_are_zero_here():
  parts = with_parts(responses_with({}), {"b", "a"}).parts
  assert list(parts) == ["a", "b"]
  assert not np.any(parts["a"])
