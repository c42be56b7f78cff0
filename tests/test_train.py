"""Whole runs: their files, metrics, meshes, schedules and graphs."""

import json
import signal
import threading
import zlib

import jax
import numpy as np
import pytest

from entrojax import train as train_module
from entrojax.assembly import data
from entrojax.assembly.run import build
from entrojax.loop import rollout_step
from entrojax.reporting.token_logs import read_tokens, token_files
from entrojax.system.roll_backs import append_roll_back, read_roll_backs
from entrojax.system.sharding import by_row
from entrojax.train import train
from entrojax.types import Verdict
from tests.helpers.first_step import FILE as FIRST_STEP
from tests.helpers.first_step import first_step
from tests.helpers.system import (
  controlled,
  final_params,
  numbers,
  tiny_config,
)

pytestmark = [
  pytest.mark.usefixtures("one_device", "session_data"),
  pytest.mark.slow,
]


def test_a_run_writes_config_metrics_samples_and_a_checkpoint(finished):
  workdir = finished
  assert json.loads((workdir / "config.json").read_text())["seed"] == 0
  provenance = json.loads((workdir / "provenance.json").read_text())
  assert provenance["settings"]["task.name"] == "countdown"
  assert provenance["devices"]["count"] == 1
  rows = numbers(workdir)
  assert [r["rollout_step"] for r in rows] == [0, 1, 2, 2]
  assert [r["step"] for r in rows] == [0, 2, 4, 4]
  assert "val/countdown/pass@4" in rows[0]
  assert {"actor/entropy", "critic/rewards/mean", "actor/lr"} <= rows[1].keys()
  assert list((workdir / "checkpoints").iterdir())
  assert list((workdir / "tensorboard").iterdir())
  sample = json.loads((workdir / "samples.jsonl").read_text().splitlines()[0])
  assert {"prompt", "response", "reward", "reason"} <= sample.keys()
  evaluations = (workdir / "evaluations.jsonl").read_text().splitlines()
  for row, line in zip((rows[0], rows[-1]), evaluations, strict=True):
    counts = json.loads(line)
    assert counts["rollout_step"] == row["rollout_step"]
    share = np.mean(counts["right"]) / counts["num_samples"]
    assert share == pytest.approx(row["val/countdown/pass@1"])


def test_sampler_and_trainer_agree_in_a_run(finished):
  differences = [
    row["rollout/log_prob_diff_max"]
    for row in numbers(finished)
    if "rollout/log_prob_diff_max" in row
  ]
  assert len(differences) == 2
  assert max(differences) < 1e-5  # float32 rounding of sums of two orders


def test_the_first_step_on_the_shipped_base_is_the_one_on_record(tmp_path):
  metrics = first_step(tmp_path / "run")
  # another machine may sum in another order; a sample seldom turns on that
  assert metrics == pytest.approx(json.loads(FIRST_STEP.read_text()), rel=1e-3)


def test_a_run_on_eight_devices_is_the_run_on_one(
  base, tmp_path, monkeypatch, data_dir
):
  overrides = {
    "num_rollout_steps": 1,
    "training.updates_per_rollout": 1,
    "evaluation.token_samples": 2,
  }
  train(controlled(base, **overrides), tmp_path / "one")
  monkeypatch.undo()  # eight devices again
  monkeypatch.setenv("ENTROJAX_DATA_DIR", str(data_dir))
  meshed = controlled(base, **overrides, mesh=(2, 2, 2))
  train(meshed, tmp_path / "eight")
  one, eight = (numbers(tmp_path / name)[1] for name in ("one", "eight"))
  assert one.keys() == eight.keys()
  for name, value in one.items():
    # float32 sums in two orders; samples are the same, so all else is near
    near = value if value is None else pytest.approx(value, rel=1e-4, abs=1e-5)
    assert eight[name] == near, name
  files = [token_files(tmp_path / name) for name in ("one", "eight")]
  assert [path.name for path in files[1]] == ["0.0.npz", "1.0.npz"]
  for paths in zip(*files, strict=True):
    same_tokens(*map(read_tokens, paths))


def test_a_greedy_evaluation_keeps_tokens_without_advantages(base, tmp_path):
  overrides = {"num_rollout_steps": 1, "evaluation.token_samples": 1}
  greedy = {"evaluation.num_samples": 1, "evaluation.temperature": 0.0}
  train(controlled(base, **overrides, **greedy), tmp_path)
  kept = read_tokens(token_files(tmp_path)[-1])
  assert kept.lengths.sum() > 0
  np.testing.assert_array_equal(kept.advantages, 0)


def test_tokens_have_no_advantages_if_the_rules_need_larger_groups(
  base, tmp_path
):
  overrides = {
    "num_rollout_steps": 1,
    "evaluation.token_samples": 1,
    "evaluation.num_samples": 2,
    "advantage": ("pass_at_k",),
    "pass_at_k.k": 3,  # of the four responses of a group
  }
  with pytest.warns(UserWarning, match=r"num_samples = 2 .* pass_at_k\.k = 3"):
    train(controlled(base, **overrides), tmp_path)
  kept = read_tokens(token_files(tmp_path)[-1])
  assert kept.lengths.sum() > 0
  np.testing.assert_array_equal(kept.advantages, 0)


def test_a_ledger_changes_nothing_in_a_run(coin, base, tmp_path):
  steps = {"num_rollout_steps": 3}
  train(controlled(base, **steps), tmp_path / "off")
  train(controlled(base, **steps, **{"ledger.every": 1}), tmp_path / "on")
  off, on = numbers(tmp_path / "off"), numbers(tmp_path / "on")
  entries = [{k for k in row if k.startswith("ledger/")} for row in on]
  # the entry of a step is in the line of the next one; the ends have no entry
  has_entry = [len(entry) > 30 for entry in entries]
  assert has_entry == [False, False, True, True, False]
  for row, names in zip(on, entries, strict=True):
    for name in names:
      del row[name]
  assert on == off
  splits = {"by_sign": 5, "by_verdict": 2, "by_entropy": 5, "by_position": 5}
  for row in numbers(tmp_path / "on")[2:4]:
    assert row["ledger/own/measured"] != 0
    for column in ("own", "held_back", "fresh"):
      for key in ("measured", "first_order"):
        whole = row[f"ledger/{column}/{key}"]
        for split, size in splits.items():
          parts = row[f"ledger/{column}/{key}/{split}"]
          assert len(parts) == size
          # shares of float32 sums; the whole is at most 1 nat
          assert sum(parts) == pytest.approx(whole, abs=1e-6)


def test_a_ledger_leaves_the_update_the_same_graph(base):
  off, on = (
    build(controlled(base, **{"ledger.every": every})).functions
    for every in (0, 2)
  )
  # one jitted function, compiled once
  assert on.update is off.update


def same_tokens(one, other):
  """Check that two runs have kept the same tokens, to float32 rounding."""
  assert one.texts == other.texts
  assert one.data == "countdown"
  if one.rollout_step == 0:  # the policy is the base
    np.testing.assert_allclose(one.log_probs, one.base_log_probs, atol=1e-6)
  for name in ("log_probs", "entropy", "base_entropy", "top", "advantages"):
    np.testing.assert_allclose(
      getattr(one, name), getattr(other, name), rtol=1e-4, atol=1e-5
    )
  assert one.touched.keys() == {"ppo_clip", "entropic"}


@pytest.mark.parametrize("resamples", [False, True])
def test_buckets_of_prompts_change_only_rounding(
  resamples, coin, base, tmp_path, monkeypatch
):
  settings = resampled if resamples else controlled
  longer = lambda text: text + ":" if text.endswith("1:") else text
  monkeypatch.setattr(data, "make_template", lambda *_: longer)
  overrides = {"rollout.num_prompts": 2, "rollout.prompt_length": 12}
  config = settings(base, **overrides)
  stream = data.read_data(config, base).stream
  longest = [int(next(stream)[0].mask.sum(1).max()) for _ in range(4)]
  config.rollout.prompt_buckets = (min(longest),)
  assert min(longest) < max(longest)
  train(settings(base, **overrides), tmp_path / "one")
  train(config, tmp_path / "two")
  rows = [numbers(tmp_path / name) for name in ("one", "two")]
  for one, two in zip(*rows, strict=True):
    assert one.keys() == two.keys()
    for name, value in one.items():
      if name.startswith("law/"):  # a line through entropies all but equal
        continue
      near = (
        value if value is None else pytest.approx(value, rel=1e-3, abs=1e-5)
      )
      assert two[name] == near, name


def test_a_run_with_schedules_in_two_parts_is_the_run_in_one(
  no_implicit_transfers, coin, base, tmp_path
):
  schedules = {
    "control.target": "linear(1.0, 0.5, 8)",
    "ppo_clip.clip_high": ((0, 0.2), (4, 0.3), (8, 0.25)),
    "advantage": ("grpo", "entrocraft"),
    "entrocraft.low": "piecewise((0, 0.25), (4, 0.5))",
    "entrocraft.high": "constant(3.0)",
  }
  train(controlled(base, **schedules), tmp_path / "whole")
  train(controlled(base, num_rollout_steps=2, **schedules), tmp_path / "parts")
  train(controlled(base, **schedules), tmp_path / "parts")
  whole, parts = numbers(tmp_path / "whole"), numbers(tmp_path / "parts")
  # the shorter run ended with an evaluation of its own
  parts = [
    r for r in parts if not (r["rollout_step"] == 2 and "actor/loss" not in r)
  ]
  assert parts == whole
  states = [final_params(tmp_path / name) for name in ("whole", "parts")]
  assert float(states[0]["opt_state"]["control"]["integral"]) != 0
  jax.tree.map(np.testing.assert_array_equal, *states)
  rows = [row for row in whole if "actor/loss" in row]
  # two updates in a rollout step: the log has their mean
  target = np.linspace(1.0, 0.5, 9, dtype=np.float32)[:8].reshape(4, 2).mean(1)
  assert [row["schedule/control.target"] for row in rows] == target.tolist()
  for row, value in zip(rows, target, strict=True):
    held = row["actor/entropy"] - row["control/error"]
    # float32 sums of entropies near 3, in mini-batches of equal length
    assert held == pytest.approx(value, abs=1e-5)
  clip = [0.2125, 0.2625, 0.29375, 0.26875]  # at steps 0.5, 2.5, 4.5 and 6.5
  assert [row["schedule/ppo_clip.clip_high"] for row in rows] == pytest.approx(
    clip
  )
  low = [row["schedule/entrocraft.low"] for row in rows]
  assert low == [0.25, 0.25, 0.5, 0.5]


def test_an_alarm_may_end_a_run_that_can_be_resumed(base, tmp_path, capsys):
  config = controlled(
    base,
    **{
      "alarms.window": 1,
      "alarms.low_reward": "stop",
      "alarms.low_reward_limit": 2.0,  # no reward is above 1
    },
  )
  assert train(config, tmp_path) is not None
  # the first step's metrics are written while the second step's update runs
  steps = [r for r in numbers(tmp_path) if "actor/loss" in r]
  assert [row["alarms/low_reward"] for row in steps] == [1, 1]
  assert "alarms.low_reward ends the run" in capsys.readouterr().out
  assert train(config, tmp_path) is None
  assert numbers(tmp_path)[-1]["rollout_step"] == 4


def test_an_alarm_may_take_a_run_back_with_one_changed_setting(
  base, tmp_path, capsys
):
  setting = {"alarms.roll_back": ("rollout.temperature", 0.8)}
  saves = {"checkpoint.every": 1, "checkpoint.keep": 1}
  config = controlled(base, num_rollout_steps=2, **saves)
  for folder in (tmp_path / "run", tmp_path / "twin"):
    assert train(config, folder) is None
  config.num_rollout_steps = 5
  config.update_from_flattened_dict(
    {
      "alarms.window": 1,
      "alarms.idle": "off",
      "alarms.low_reward": "roll_back",
      "alarms.low_reward_limit": 2.0,  # no reward is above 1
      **setting,
    }
  )
  (tmp_path / "run" / "wandb_id").write_text("has the steps that are repeated")
  # raised after step 3; raised again with the setting, it ends the run
  assert train(config, tmp_path / "run") is not None
  (back,) = read_roll_backs(tmp_path / "run")
  assert back == ("low_reward", 3, 2, "rollout.temperature", 0.8)
  printed = capsys.readouterr().out
  assert "alarms.low_reward takes the run back" in printed
  assert (
    "back from rollout step 3 to 2, with rollout.temperature = 0.8" in printed
  )
  assert "alarms.low_reward ends the run" in printed
  saved = json.loads((tmp_path / "run" / "config.json").read_text())
  assert saved["rollout"]["temperature"] == 0.8
  names = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
  assert "3.rolled_back" in names
  assert not (tmp_path / "run" / "wandb_id").exists()
  # the command that the user typed resumes the changed run
  assert train(config, tmp_path / "run") is None
  rows = [r for r in numbers(tmp_path / "run") if "actor/loss" in r]
  assert [row["rollout_step"] for row in rows] == [1, 2, 3, 4, 5]
  assert len(read_roll_backs(tmp_path / "run")) == 1
  assert rows[2]["actor/entropy"] < rows[1]["actor/entropy"] - 0.001
  # from the checkpoint on, it is the run of someone who changed the setting
  config.rollout.temperature, config.alarms.low_reward = 0.8, "off"
  append_roll_back(tmp_path / "twin", back._replace(alarm="length"))
  assert train(config, tmp_path / "twin") is None
  twin = [r for r in numbers(tmp_path / "twin") if "actor/loss" in r]
  for row, same in zip(rows, twin, strict=True):
    assert row["actor/entropy"] == same["actor/entropy"]


@pytest.fixture
def coin(monkeypatch):
  """Verify by a hash of the response: one in seven is right.

  So a group of four has right and wrong responses with probability 0.46.
  """
  make_task = data.make_task

  def verify(problem, response):
    right = zlib.crc32((problem.prompt + response).encode()) % 7 == 0
    return Verdict(float(right), "", response)

  monkeypatch.setattr(
    data,
    "make_task",
    lambda *args, **options: make_task(*args, **options)._replace(
      verify=verify
    ),
  )


def resampled(base, **overrides):
  """Return a config with dynamic sampling that rarely stops at one batch."""
  return controlled(
    base,
    **{
      "dynamic_sampling.enabled": True,
      "dynamic_sampling.max_batches": 2,
      **overrides,
    },
  )


def test_a_run_with_dynamic_sampling_in_two_parts_is_the_run_in_one(
  no_implicit_transfers, coin, base, tmp_path
):
  train(resampled(base), tmp_path / "whole")
  train(resampled(base, num_rollout_steps=2), tmp_path / "parts")
  train(resampled(base), tmp_path / "parts")
  whole, parts = (
    [r for r in numbers(tmp_path / name) if "actor/loss" in r]
    for name in ("whole", "parts")
  )
  assert parts == whole
  states = [final_params(tmp_path / name) for name in ("whole", "parts")]
  jax.tree.map(np.testing.assert_array_equal, *states)
  batches = [row["dynamic_sampling/batches"] for row in whole]
  assert 2 in batches
  # tokens counts all that were sampled: 8 prompts x 4 a batch
  for row, count in zip(whole, batches, strict=True):
    rows = row["rollout/tokens"] / row["response_length/mean"]
    assert rows == pytest.approx(32 * count)


@pytest.mark.parametrize("on_exhausted", ["train_partial", "skip_step"])
def test_no_step_trains_on_an_empty_batch_and_that_is_said(
  on_exhausted, base, tmp_path, capsys
):
  config = resampled(base, **{"dynamic_sampling.on_exhausted": on_exhausted})
  config.optimizer.weight_decay = 0.1  # would act without a gradient
  train(config, tmp_path / "run")  # the tiny base solves nothing
  rows = [r for r in numbers(tmp_path / "run") if "actor/loss" in r]
  for row in rows:
    assert row["dynamic_sampling/filled"] == 0
    assert row["critic/groups/all_wrong"] == 1
    assert "actor/entropy" not in row  # no token counted
    assert row["rollout/entropy"] > 0  # and yet many were sampled
    assert (row["actor/idle"], row["actor/skipped"]) == (1, 0)
  output = capsys.readouterr().out
  assert "the first step has learned nothing: no optimizer step" in output
  assert "nan" not in output
  state = final_params(tmp_path / "run")
  before = build(config).state.params
  jax.tree.map(np.testing.assert_array_equal, state["params"], before)
  assert float(state["opt_state"]["control"]["integral"]) == 0


def test_a_refilled_batch_lies_on_the_mesh_as_a_sampled_one(
  base, monkeypatch, data_dir
):
  monkeypatch.undo()  # eight devices again
  monkeypatch.setenv("ENTROJAX_DATA_DIR", str(data_dir))
  placed, keys = [], []
  for settings in (controlled, resampled):
    config = settings(
      base, **{"mesh": (2, 2, 2), "training.updates_per_rollout": 1}
    )
    run = build(config)
    inner = run.functions.generate

    def generate(params, prompts, key, inner=inner):
      keys.append(jax.random.key_data(key).tolist())
      return inner(params, prompts, key)

    def update(state, ref_params, batch, key):
      placed.append(jax.tree.map(lambda x: (x.sharding, x.dtype), batch))
      return state, {}

    functions = run.functions._replace(generate=generate, update=update)
    start = rollout_step.Position(run.state, None, jax.random.key(0), 0, 0, 0)
    rollout_step.start_step(run._replace(functions=functions), start)
  sampled, refilled = placed
  assert sampled.tokens[0].is_equivalent_to(by_row(run.mesh), 2)
  for field in ("tokens", "positions", "response_mask", "old_log_probs"):
    assert getattr(refilled, field) == getattr(sampled, field), field
  # one batch, and as many as were allowed, each with its own randomness
  assert len({str(key) for key in keys}) == 3


def test_a_run_that_is_to_end_where_groups_are_missing_ends(base, tmp_path):
  config = resampled(base, **{"dynamic_sampling.on_exhausted": "raise"})
  with pytest.raises(ValueError, match="0 of 16 groups had right and wrong"):
    train(config, tmp_path / "run")


@pytest.mark.parametrize(
  ("settings", "learning_rate"), [(controlled, 1.5e-4), (resampled, 1.4e-4)]
)
def test_nothing_is_compiled_after_the_second_rollout_step(
  settings, learning_rate, coin, base, tmp_path, monkeypatch
):
  compilations, after_step = [], []
  jax.monitoring.register_event_duration_secs_listener(
    lambda name, seconds, **_: (
      compilations.append(name) if "backend_compile" in name else None
    )
  )
  inner = train_module.wait_for_update

  def counted(record):
    record = inner(record)
    after_step.append(len(compilations))
    return record

  monkeypatch.setattr(train_module, "wait_for_update", counted)
  # no other run of this process shares its graphs
  config = settings(base, **{"optimizer.learning_rate": learning_rate})
  config.num_rollout_steps = 6
  train(config, tmp_path / "run")
  assert after_step[1] > 0, "the listener hears nothing"
  assert after_step[2:] == [after_step[1]] * 4
  filled = {
    row["dynamic_sampling/filled"]
    for row in numbers(tmp_path / "run")
    if "dynamic_sampling/filled" in row
  }
  # whatever share of the batch was filled
  assert len(filled) > 1 or settings is controlled


def test_a_run_in_a_thread_takes_no_signals_and_is_the_same_run(
  base, finished, tmp_path
):
  before = signal.getsignal(signal.SIGTERM)
  thread = threading.Thread(
    target=train, args=(tiny_config(base), tmp_path / "run")
  )
  thread.start()
  thread.join()
  assert signal.getsignal(signal.SIGTERM) is before
  assert numbers(tmp_path / "run") == numbers(finished)


def test_the_guard_notices_an_implicit_transfer():
  double = jax.jit(lambda x: 2 * x)
  with (
    jax.transfer_guard("disallow"),
    pytest.raises(Exception, match="Disallowed host-to-device transfer"),
  ):
    double(np.ones(3, np.float32))
