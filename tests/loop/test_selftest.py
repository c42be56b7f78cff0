"""The self-test: what it says about a run, and its exit status."""

import types

import numpy as np
import pytest

from configs import bcpg
from entrojax.assembly.run import build
from entrojax.loop import selftest
from entrojax.loop.selftest import FAILED, OK, WARNING, Check
from entrojax.types import Rollout
from tests.helpers.commands import run_command
from tests.helpers.system import write_base

SOUND = {
  "rollout/log_prob_diff_max": 1e-6,
  "actor/grad_norm": 0.3,
  "actor/skipped": 0.0,
  "actor/idle": 0.0,
}


@pytest.mark.parametrize(
  ("difference", "dtype", "status"),
  [
    (1e-6, "float32", OK),
    (0.1, "float32", FAILED),
    (0.1, "bfloat16", OK),
    (float("nan"), "float32", FAILED),
  ],
)
def test_a_sampler_that_differs_from_the_trainer_fails(
  difference, dtype, status
):
  metrics = SOUND | {"rollout/log_prob_diff_max": difference}
  assert selftest._check_sampler(metrics, dtype).status == status


@pytest.mark.parametrize(
  ("changes", "status"),
  [
    ({}, OK),
    ({"actor/skipped": 1.0}, FAILED),
    ({"actor/idle": 1.0}, WARNING),
  ],
)
def test_an_update_that_is_skipped_fails_and_one_without_a_signal_warns(
  changes, status
):
  assert selftest._check_update(SOUND | changes).status == status


def test_a_control_that_is_alive_is_ok_and_an_inert_one_is_a_warning():
  metrics = {
    "erc/gradient_change": 0.5,
    "erc/gradient_touched": 0.1,
    "steer/gradient_change": 0.0,
    "steer/gradient_touched": 0.0,
  }
  alive, inert = selftest._check_controls(("erc", "steer", "grpo"), metrics)
  assert (alive.status, inert.status) == (OK, WARNING)


class FakeTokenizer:
  eos_ids, pad_id = (2,), 0

  def decode(self, ids):
    return " ".join(map(str, ids))


def samples(tokens, truncated):
  """Return the checks of two groups of two responses of one token."""
  rows = np.array(tokens, np.int32).reshape(4, 1)
  rollout = Rollout(
    tokens=np.concatenate([np.ones((4, 1), np.int32), rows], axis=1),
    positions=np.array([[-1, 0]] * 4, np.int32),
    response_mask=np.ones((4, 1), np.float32),
    log_probs=np.zeros((4, 1), np.float32),
    entropy=np.zeros((4, 1), np.float32),
    truncated=np.array(truncated, np.float32),
  )
  run = types.SimpleNamespace(
    settings=types.SimpleNamespace(
      rollout=types.SimpleNamespace(num_prompts=2)
    ),
    data=types.SimpleNamespace(tokenizer=FakeTokenizer()),
  )
  return {check.name: check for check in selftest._check_samples(run, rollout)}


def test_greedy_or_constant_sampling_fails():
  assert samples([3, 3, 4, 4], [0] * 4)["samples"].status == FAILED
  checks = samples([3, 4, 4, 4], [0] * 4)
  assert checks["samples"] == Check(
    "samples", OK, "all responses are the same in 50% of the groups"
  )
  assert checks["padding"].text == "50% of the tokens"


def test_responses_that_never_end_are_a_warning():
  ends = samples([3, 4, 3, 4], [1] * 4)["ends"]
  assert ends.status == WARNING
  assert ends.text == "0% of the responses end with one of the EOS tokens [2]"
  assert samples([3, 4, 3, 4], [1, 1, 1, 0])["ends"].status == OK


def test_a_disk_that_is_too_small_is_a_warning_at_the_start(
  tmp_path, monkeypatch
):
  run = types.SimpleNamespace(
    settings=types.SimpleNamespace(
      checkpoint=types.SimpleNamespace(keep=2, keep_best=None, keep_age=None)
    ),
    state=types.SimpleNamespace(params=np.zeros(250, np.float32)),
    ref_params=None,
    mesh=types.SimpleNamespace(devices=np.array(selftest.jax.devices()[:1])),
  )
  monkeypatch.setattr(selftest, "_num_bytes", lambda tree: 1000)
  usage = lambda free: lambda place: types.SimpleNamespace(free=free)
  for free, status in ((2999, WARNING), (3001, OK)):
    monkeypatch.setattr(selftest.shutil, "disk_usage", usage(free))
    disk, memory = selftest.start_checks(run, tmp_path / "new" / "run")
    assert (disk.name, disk.status) == ("disk", status)
    assert (memory.name, memory.status) == ("memory", OK)


@pytest.mark.slow
def test_an_offline_run_can_be_tested(base, tmp_path, one_device, session_data):
  config = bcpg.get_config("test")
  config.model.path, config.mesh = str(base), (1, 1, 1)
  checks = selftest.self_test(build(config), tmp_path / "run", dtype="float32")
  names = [check.name for check in checks]
  assert "update" in names and "sampler" not in names


@pytest.mark.slow
@pytest.mark.usefixtures("one_device", "session_data")
def test_the_command_prints_a_table_writes_nothing_and_exits_with_0(tmp_path):
  base = write_base(tmp_path / "tiny")
  done = run_command(
    "entrojax.main",
    "--config=configs/countdown.py:test",
    f"--config.model.path={base}",
    f"--workdir={tmp_path / 'run'}",
    "--selftest",
  )
  assert done.returncode == 0, done.stderr
  names = [line.split()[1] for line in done.stdout.splitlines()]
  assert names[:6] == [
    "disk",
    "memory",
    "sampler",
    "ends",
    "samples",
    "padding",
  ]
  assert not (tmp_path / "run").exists()
