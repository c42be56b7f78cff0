"""Alarms: raised when a run goes wrong, once, and also after a resumption."""

import json

import pytest

from entrojax.reporting.alarms import WATCHED, Alarms, AlarmSettings

LIMITS = {
  "collapse": 0.2,
  "explosion": 3.0,
  "length": 3.0,
  "idle": 0.99,
  "no_signal": 0.9,
  "low_reward": 0.01,
  "high_reward": 0.99,
  "mismatch": 1.0,
}


def settings(action="warn", *, window=2):
  actions = dict.fromkeys(WATCHED, action)
  return AlarmSettings(window, actions, LIMITS)


def step(**changes):
  """Return the metrics of a healthy step, but for some."""
  healthy = {
    "actor/entropy": 0.5,
    "response_length/mean": 100.0,
    "actor/idle": 0.0,
    "critic/groups/all_right": 0.2,
    "critic/groups/all_wrong": 0.3,
    "critic/rewards/mean": 0.4,
    "rollout/log_prob_diff_max": 1e-3,
  }
  assert healthy.keys() >= changes.keys()
  return healthy | changes


def test_a_healthy_run_raises_no_alarm(tmp_path):
  alarms = Alarms(tmp_path, settings("stop"))
  for i in range(9):
    assert alarms.metrics(step(**{"actor/entropy": 0.5 - 0.04 * i})) == {}
  assert not alarms.notes()
  assert not alarms.stop


@pytest.mark.parametrize(
  ("name", "changes", "text"),
  [
    ("collapse", {"actor/entropy": 0.05}, "entropy is 0.1 of its start"),
    ("explosion", {"actor/entropy": 2.0}, "entropy is 4 times its start"),
    ("length", {"response_length/mean": 400.0}, "4 times as long"),
    ("idle", {"actor/idle": 1.0}, "100% of the optimizer steps had no grad"),
    ("no_signal", {"critic/groups/all_wrong": 0.79}, "99% of the groups"),
    ("low_reward", {"critic/rewards/mean": 0.005}, "reward is 0.005, below"),
    ("high_reward", {"critic/rewards/mean": 0.995}, "reward is 0.995, above"),
    ("mismatch", {"rollout/log_prob_diff_max": 2.0}, "by 2 nats per token"),
  ],
)
def test_an_alarm_warns_once_and_is_logged_while_it_lasts(
  name, changes, text, tmp_path
):
  alarms = Alarms(tmp_path, settings(window=1))
  assert alarms.metrics(step()) == {}
  for bad_steps in (2, 1):  # then a healthy step ends the alarm
    for number in range(bad_steps):
      assert alarms.metrics(step(**changes)) == {f"alarms/{name}": 1.0}
      notes = alarms.notes()
      assert len(notes) == (number == 0)
      assert all(text in note for note in notes)
    assert alarms.metrics(step()) == {}
  assert not alarms.stop


def test_an_alarm_names_its_number(tmp_path):
  alarms = Alarms(tmp_path, settings(window=1))
  alarms.metrics(step())
  alarms.metrics(step(**{"actor/entropy": 0.05}))
  assert alarms.notes() == [
    "alarm collapse: the entropy is 0.1 of its start, below 0.2"
  ]


def test_a_single_bad_batch_is_no_alarm(tmp_path):
  alarms = Alarms(tmp_path, settings("stop", window=10))
  rewards = [0.4] * 12 + [0.0] + [0.4] * 12
  for reward in rewards:
    assert not alarms.metrics(step(**{"critic/rewards/mean": reward}))


def test_an_alarm_may_be_off_or_stop_the_run(tmp_path):
  bad = {"critic/rewards/mean": 0.0, "actor/entropy": 0.05}
  actions = dict.fromkeys(WATCHED, "off") | {"low_reward": "stop"}
  alarms = Alarms(tmp_path, AlarmSettings(1, actions, LIMITS))
  alarms.metrics(step())
  assert not alarms.stop
  assert alarms.metrics(step(**bad)) == {"alarms/low_reward": 1.0}
  assert alarms.stop
  (note,) = alarms.notes()
  assert note.endswith("; alarms.low_reward ends the run")


def test_a_resumed_run_knows_its_start_and_its_alarms(tmp_path):
  bad = {"actor/entropy": 0.05}
  rows = [
    *({"step": i, **step()} for i in range(2)),
    {"step": 2, **step(**bad), "critic/rewards/mean": None},
    {"step": 3, **step(**bad), "alarms/collapse": 1.0},
    {"step": 3, "val/sums/pass@1": 0.5},
  ]
  text = "".join(json.dumps(row) + "\n" for row in rows)
  (tmp_path / "metrics.jsonl").write_text(text)
  alarms = Alarms(tmp_path, settings("stop"))
  assert alarms.metrics(step(**bad)) == {"alarms/collapse": 1.0}
  assert not alarms.notes()  # it has stopped the run once
  assert not alarms.stop


def test_a_step_without_tokens_is_passed_over(tmp_path):
  alarms = Alarms(tmp_path, settings(window=1))
  alarms.metrics(step())
  empty = dict.fromkeys(step(), float("nan"))
  assert alarms.metrics(empty) == {}
  assert alarms.metrics({}) == {}
