"""A run survives numbers that are not finite, but not if they recur."""

import json
import warnings

import jax
import numpy as np
import pytest

from entrojax.assembly.run import build
from entrojax.instruments.kept_batches import read_batch
from entrojax.instruments.replay import state_of
from entrojax.loop import rollout_step
from entrojax.rollouts import rewards as rewards_module
from entrojax.rollouts.rewards import replace_faulty, verify_responses
from entrojax.system.rare_warnings import RareWarnings
from entrojax.train import train
from entrojax.types import Problem, Responses, Verdict
from tests.helpers.system import final_params, numbers, tiny_config

NAN = float("nan")


def controlled(base, **overrides):
  return tiny_config(
    base,
    **{
      "objective": ("ppo_clip", "entropic"),
      "control.name": "entropic_pi",
      "control.target": 1.0,
      "evaluation.split": "validation[:2]",
      **overrides,
    },
  )


@pytest.fixture
def faults(monkeypatch):
  """Return a set of rollout steps, from 0, whose advantages are NaN."""
  steps, inner = set(), rollout_step.make_batch
  at = iter(range(1000))

  def make_batch(rollout, responses, *others):
    if next(at) in steps:
      bad = np.asarray(responses.advantages).copy()
      bad[0, 0] = NAN
      responses = rollout_step.hosts.place(
        Responses(responses.rewards, advantages=bad, keep=responses.keep),
        responses.rewards.sharding,
      )
    return inner(rollout, responses, *others)

  monkeypatch.setattr(rollout_step, "make_batch", make_batch)
  return steps


@pytest.mark.slow
@pytest.mark.usefixtures("one_device", "session_data")
def test_a_faulty_update_is_skipped_named_and_the_run_goes_on(
  base, tmp_path, faults, capsys
):
  """Two steps of two updates each; one response of the first has a NaN."""
  faults.add(0)
  config = controlled(base, **{"optimizer.warmup_steps": 4})
  train(config, tmp_path / "run")
  rows = [r for r in numbers(tmp_path / "run") if "rollout/tokens" in r]
  first, second = rows
  assert (first["actor/skipped"], second["actor/skipped"]) == (0.5, 0)
  assert "actor/loss" not in first and "actor/loss" in second
  # the rate of the last of one step and of three, as the optimizer counts them
  rates = [row["actor/lr"] / config.optimizer.learning_rate for row in rows]
  assert rates == pytest.approx([1 / 4, 3 / 4], rel=1e-6)  # float32
  output = capsys.readouterr().out
  assert (
    "rollout step 1: 1 of 2 optimizer steps skipped: not finite: the "
    "advantages of response 0 of the batch; the loss; the gradient of "
    in output
  )
  state = final_params(tmp_path / "run")
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))


@pytest.mark.slow
@pytest.mark.usefixtures("one_device", "session_data")
def test_faults_in_a_row_save_the_run_keep_the_batch_and_end_it(
  base, tmp_path, faults
):
  """Parameters and controller are as before, and the run can be resumed."""
  faults.update(range(2))
  config = controlled(
    base,
    **{
      "faults.max_in_a_row": 2,
      "training.num_epochs": 2,  # the NaN is in each of the two updates
      "num_rollout_steps": 3,
    },
  )
  workdir = tmp_path / "run"
  with pytest.raises(ValueError, match="ends after rollout step 2: optimizer"):
    train(config, workdir)
  state, before = final_params(workdir), build(config).state
  jax.tree.map(np.testing.assert_array_equal, state["params"], before.params)
  assert float(state["opt_state"]["control"]["integral"]) == 0
  batch = read_batch(workdir, 2)  # for entrojax.replay
  replayed = state_of(build(config), batch)
  jax.tree.map(np.testing.assert_array_equal, replayed.params, before.params)
  assert int(batch.num_steps) == 0  # no optimizer step was taken
  assert batch.rollout.tokens.shape[0] == batch.responses.rewards.size == 32
  assert train(config, workdir) is None  # resumes with the next batch
  last = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-2])
  assert (last["rollout_step"], last["actor/skipped"]) == (3, 0)


PROBLEM = Problem("1 + 1", {})


class Batched:
  """A BatchVerifier that raises as a whole."""

  def __call__(self, problem, response):
    return failing(problem, response)

  def batch(self, problems, responses):
    return list(map(failing, problems, responses))


def failing(problem, response):
  if response == "raise":
    raise KeyError("the answer\nis missing")
  rewards = {"nan": NAN, "none": None, "text": "1"}
  return Verdict(rewards.get(response, 1.0), "", response)


@pytest.mark.parametrize("verify", [failing, Batched()])
def test_a_verifier_that_fails_on_a_response_does_not_end_the_run(
  verify, monkeypatch
):
  responses = ["nan", "none", "text", "raise", "right"]
  monkeypatch.setattr(
    rewards_module, "warn_of_fault", RareWarnings("faulty reward")
  )
  with pytest.warns(UserWarning, match="faulty reward number 1: ") as record:
    (row,) = verify_responses([PROBLEM], responses, verify)
  assert [v.reward for v in row] == [0, 0, 0, 0, 1]
  assert [v.failed for v in row] == [True] * 4 + [False]
  assert row[-1] == Verdict(1.0, "", "right")
  assert row[0].reason == (
    "the verifier returned the reward nan for the prompt '1 + 1' and the "
    "response 'nan'"
  )
  assert row[3].reason.startswith("the verifier raised KeyError: ")
  assert len(record) == 1  # the first, then the tenth, ...


def test_the_numbers_of_a_verdict_may_be_those_of_numpy():
  def verify(problem, response):
    parts = {"format": np.float32(0.5), "right": np.bool_(True)}
    return Verdict(np.float32(0.25), "", None, parts, np.bool_(False))

  ((verdict,),) = verify_responses([PROBLEM], [""], verify)
  expected = [0.25, "", None, {"format": 0.5, "right": 1.0}, False]
  assert json.loads(json.dumps(verdict)) == expected


@pytest.mark.parametrize("number", [10**400, 1e39, -1e39, NAN, "1", None])
@pytest.mark.parametrize("is_part", [False, True])
def test_a_number_that_float32_cannot_hold_is_a_fault(number, is_part):
  value = (
    Verdict(1.0, "", None, {"a": number})
    if is_part
    else Verdict(number, "", None)
  )
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about the fault
    ((verdict,),) = verify_responses([PROBLEM], [""], lambda *_: value)
  assert (verdict.reward, verdict.failed) == (0.0, True)


def test_an_answer_that_is_no_text_becomes_one():
  answers = ([1, 2], 7, None)
  verify = lambda problem, response: Verdict(1.0, "", answers[int(response)])
  ((*verdicts,),) = verify_responses([PROBLEM], ["0", "1", "2"], verify)
  assert [verdict.answer for verdict in verdicts] == ["[1, 2]", "7", None]


def test_a_part_that_is_no_number_is_a_fault_of_the_verifier(monkeypatch):
  verify = lambda problem, response: Verdict(1.0, "", None, {"format": "good"})
  # earlier tests may have used up the first warning of the process
  monkeypatch.setattr(
    rewards_module, "warn_of_fault", RareWarnings("faulty reward")
  )
  with pytest.warns(UserWarning, match="faulty reward"):
    ((verdict,),) = verify_responses([PROBLEM], [""], verify, faulty=-1.0)
  assert (verdict.reward, verdict.failed) == (-1.0, True)
  assert "1.0 with the parts {'format': 'good'} for" in verdict.reason


@pytest.mark.slow
@pytest.mark.usefixtures("one_device", "session_data")
def test_a_batch_without_a_part_of_the_reward_does_not_end_the_run(
  base, tmp_path, monkeypatch
):
  """A policy may come to write nothing that a reward function understands."""
  inner, batches = rollout_step.verify_responses, []

  def verify(*args, **options):
    batches.append(inner(*args, **options))
    if len(batches) != empty:
      for row in batches[-1]:
        row[:] = [v._replace(parts={"form": i % 2}) for i, v in enumerate(row)]
    return batches[-1]

  monkeypatch.setattr(rollout_step, "verify_responses", verify)
  monkeypatch.setattr(rewards_module, "_warn_of_batch", RareWarnings("batch"))
  config = controlled(base, **{"advantage": ("gdpo",), "gdpo.parts": ("form",)})
  empty = 2
  with pytest.warns(UserWarning, match=r"step 2 has 'form'; a rule"):
    train(config, tmp_path / "run")
  rows = [row for row in numbers(tmp_path / "run") if "actor/loss" in row]
  first, second = (row["critic/advantages/max"] for row in rows)
  assert second == 0 < first
  batches.clear()
  empty = 1  # nothing is lost yet, and the name may be wrong
  with pytest.raises(ValueError, match=r"gdpo\.parts names 'form'"):
    train(config, tmp_path / "refused")


def test_faulty_rewards_are_counted_as_wrong_or_end_the_run_by_choice():
  rewards = np.array([[1.0, NAN], [0.0, 1.0]], np.float32)
  responses = Responses(rewards, correctness=rewards)
  mended = replace_faulty(responses, 3, ends=False)
  np.testing.assert_array_equal(mended.correctness, [[1, 0], [0, 1]])
  assert mended.rewards.dtype == np.float32
  with pytest.raises(ValueError, match=r"step 4: .* 1 of 4 .* prompt 0"):
    replace_faulty(responses, 3, ends=True)
  assert replace_faulty(mended, 3, ends=True) is mended
