"""Rewards and verifiers of a user's own code."""

from pathlib import Path

import pytest

from entrojax.assembly.data import open_task
from entrojax.assembly.own_methods import make_own_task
from entrojax.rollouts.rewards import verify_responses
from entrojax.system import outside
from entrojax.tasks import own_reward
from entrojax.tasks.own import own_task
from entrojax.types import Verdict
from tests.helpers.own_code import (
  ROWS,
  config_of,
  task_of,
  with_section,
  write_problems,
)

pytestmark = pytest.mark.usefixtures("own_code")


def test_a_reward_reads_the_columns_that_it_takes():
  task = task_of()
  assert task.name == "reward"
  problem = task.load("train[2:3]")[0]
  assert problem.answer == ROWS[2]
  assert task.verify(problem, "(1+2") == Verdict(1.0, "1", None)
  assert task.verify(problem, "(") == Verdict(0.0, "0", None)
  columns = task_of("rewards.py:all_columns")
  assert columns.verify(columns.load("train")[0], "").reward == 1  # target


def test_a_reward_of_the_data_reads_the_prompt_without_its_template():
  kept = []
  reward = lambda prompt, response: kept.append(prompt) or 0.0
  task = make_own_task((reward, ROWS)).task
  problem = task.load("all")[0]
  task.verify(problem._replace(prompt="a template"), "")
  assert kept[-1] == ROWS[0]["prompt"]


def test_a_verifier_returns_its_own_verdict():
  name = "rewards.py:verify"
  task = own_task(
    outside.load(name),
    Path("data"),
    name=name,
    importable=True,
    seconds=60,  # the process imports JAX, for the Verdict
  )
  problem = task.load("train")[0]
  assert task.verify(problem, "(1") == Verdict(1.0, "checked", "(1")


def test_an_answer_of_a_reward_becomes_a_text():
  assert own_reward._verdict([1.0, "ok", [1, 2]]).answer == "[1, 2]"
  assert own_reward._verdict([1.0, "ok", None]).answer is None
  assert own_reward._verdict({"right": 3e38, "form": 3e38}) is None
  assert own_reward._verdict(10**400) is None


def test_a_factory_builds_a_task_from_its_section():
  config = config_of(**{"task.name": "mine.py:three"})
  with_section(config, "three", size=5)
  assert len(open_task(config).load("train")) == 5
  assert len(task_of("mine.py:three", data_dir=None).load("train")) == 3
  with pytest.raises(ValueError, match=r"no_task returned .*expected a Task"):
    task_of("mine.py:no_task")


def failed(reason):
  return Verdict(0.0, reason, None, failed=True)


@pytest.mark.parametrize("passed", [False, True])
def test_a_reward_that_fails_counts_as_zero(passed):
  function = outside.load("rewards.py:reward")
  source, name = Path("data"), "rewards.py:reward"
  task = own_task(
    function, source, name=name, importable=not passed, seconds=0.5
  )
  problem = task.load("train")[0]
  with pytest.warns(UserWarning, match=r"py:reward: failed call number 1: "):
    verdict = task.verify(problem, "raise")
  assert verdict == failed("reward raised ValueError: bad")
  verdict = task.verify(problem, "hang")
  assert verdict == failed("reward took longer than 0.5 s")
  if not passed:
    assert (
      task.verify(problem, "die").reason == "reward failed: the process died"
    )
  assert task.verify(problem, problem.answer["target"]).reward == 1


def test_the_responses_of_a_batch_share_processes_and_keep_their_order():
  function = outside.load("rewards.py:reward")
  task = own_task(
    function, Path("data"), name="rewards.py:reward", importable=True
  )
  problem = task.load("train")[0]
  right = problem.answer["target"]
  with pytest.warns(UserWarning, match="failed call number 1"):
    rows = verify_responses(
      [problem, problem], ["raise", right, right, "die"], task.verify
    )
  rewards = [[verdict.reward for verdict in row] for row in rows]
  assert rewards == [[0, 1], [1, 0]]
  assert rows[1][1].reason == "reward failed: the process died"


@pytest.mark.parametrize(
  ("response", "value"), [("nan", "nan"), ("text", "'yes'")]
)
def test_a_reward_that_is_no_number_is_an_error(response, value):
  task = task_of()
  problem = task.load("train")[0]
  with pytest.raises(
    ValueError,
    match=rf"^task\.name: rewards\.py:reward returned {value} for the prompt "
    rf"'3 5 7 1=24:' and the response '{response}'; expected a finite number",
  ):
    task.verify(problem, response)


def test_a_reward_that_is_never_a_number_is_found_before_the_run():
  with pytest.raises(ValueError, match="nan_reward returned nan"):
    task_of("rewards.py:nan_reward").load("train")


WRONG_TASKS = {
  "no folder": (
    {"data_dir": None},
    r"task\.data_dir is not set; for the rew",
  ),
  "no such folder": ({"data_dir": "x"}, r"task\.data_dir='x' does not exist"),
  "no function": ({"name": "rewards.py:rewrad"}, "did you mean 'reward'"),
  "no file": ({"name": "x.py:reward"}, r"^task\.name: there is no file x\.py"),
  "other arguments": (
    {"name": "rewards.py:odd"},
    r"^task\.name: rewards\.py:odd takes \(x, y\); expected a reward \(prompt, "
    r"response, \*\*columns\) or \(prompts, .*, a verifier",
  ),
  "a level": (
    {"task.difficulty": 2},
    r"task\.difficulty must be 1 for rewards\.py:reward, got 2",
  ),
}


@pytest.mark.parametrize("case", WRONG_TASKS)
def test_a_wrong_task_of_ones_own_is_named(case):
  changes, message = WRONG_TASKS[case]
  with pytest.raises(ValueError, match=message):
    task_of(**changes)


WRONG_ROWS = {
  "no prompt": (
    [{"question": "1", "target": "1"}],
    r"^data/train\.jsonl: row 0: the column prompt must be a text, got None; "
    r"the columns are \['question', 'target'\]$",
  ),
  "no column of the reward": (
    [ROWS[0], {"prompt": "1"}],
    r"^data/train\.jsonl: row 1 has no column 'target', which rewards\.py:rew",
  ),
  "a column response": (
    [{"prompt": "1", "target": "", "response": ""}],
    r"^data/train\.jsonl: row 0 has a column response",
  ),
  "a broken character": (
    [{"prompt": "1\ud83d", "target": "1"}],
    r"^data/train\.jsonl: row 0: the column prompt holds '\\ud83d', half of a",
  ),
  "no row": ([], r"split='train' of data holds no problem"),
}


@pytest.mark.parametrize("case", WRONG_ROWS)
def test_a_wrong_row_is_named(case):
  rows, message = WRONG_ROWS[case]
  write_problems(Path("data"), rows)
  with pytest.raises(ValueError, match=message):
    task_of().load("train")


def test_a_missing_split_file_is_named():
  with pytest.raises(ValueError, match=r"split='dev': there is no data/dev\.p"):
    task_of().load("dev")
