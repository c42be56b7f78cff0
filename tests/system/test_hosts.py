"""Several processes act as one run: its metrics, checkpoints and end."""

import json
from pathlib import Path
import re
import signal
import time
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from configs import bcpg, grpo
from entrojax.assembly.offline import find_rollouts
from entrojax.system import hosts, process_flags
from entrojax.train import train
from tests.helpers.processes import finish, start
from tests.helpers.system import numbers

pytestmark = pytest.mark.slow

SECONDS = 400  # of a run on a busy machine; it takes some 30

SETTINGS = {
  "model.scan_layers": True,
  "dynamic_sampling.enabled": True,
  "dynamic_sampling.max_batches": 3,
  "task.train_split": "train[:64]",
  "evaluation.split": "validation[:6]",  # less than a batch
  "optimizer.decay_steps": 100,  # stays when the run is made longer
}
RUN = (
  "entrojax.main",
  "--config=configs/grpo.py:test",
  *(f"--config.{name}={value}" for name, value in SETTINGS.items()),
)


def training_rows(workdir: Path) -> list[dict]:
  return [row for row in numbers(workdir) if "actor/loss" in row]


def wait_for_step(workdir: Path, rollout_step: int) -> None:
  """Wait until a rollout step has been written."""
  deadline = time.monotonic() + SECONDS
  path = workdir / "metrics.jsonl"
  while f'"rollout_step": {rollout_step}, ' not in path.read_text():
    assert time.monotonic() < deadline, f"no rollout step {rollout_step}"
    time.sleep(0.05)


def assert_same(actual: list[dict], expected: list[dict]) -> None:
  """Compare rows of metrics to 1e-5, relative, or absolute near 0."""
  assert [row.keys() for row in actual] == [row.keys() for row in expected]
  for row, other in zip(actual, expected, strict=True):
    # This metric is itself the rounding of float32, in nats.
    name = "rollout/log_prob_diff_max"
    assert row.pop(name, 0) < 1e-4 and other.pop(name, 0) < 1e-4
    for name, value in other.items():
      # in some means terms of about 1 cancel: float32 leaves 1e-5 of them
      near = (
        value if value is None else pytest.approx(value, rel=1e-5, abs=1e-5)
      )
      assert row[name] == near, (row["rollout_step"], name)


def test_a_run_of_four_processes_goes_on_on_two_and_on_one(
  environment, tmp_path, one_device, session_data
):
  run = (*RUN, f"--workdir={tmp_path / 'parts'}")

  # rows are in two parts, each on devices of two processes
  four = finish(
    start(
      4,
      *run,
      "--config.mesh=(2, 1, 2)",
      "--config.num_rollout_steps=2",
      **environment,
    ),
    seconds=SECONDS,
  )
  assert [status for status, _ in four] == [0] * 4, four
  # Only the first process reports progress.
  assert ["rollout 1/2" in output for _, output in four] == [True] + [False] * 3

  processes = start(
    2,
    *run,
    "--config.mesh=(2, 1, 1)",
    "--config.num_rollout_steps=1000",
    **environment,
  )
  try:
    wait_for_step(tmp_path / "parts", 3)
    processes[1].send_signal(signal.SIGTERM)
  finally:
    two = finish(processes, seconds=SECONDS)
  assert [status for status, _ in two] == [130] * 2, two
  (saved,) = {
    int(re.findall(r"Saved .*/checkpoints/(\d+)\.", output)[0])
    for _, output in two
  }
  assert 3 <= saved < 1000
  assert training_rows(tmp_path / "parts")[-1]["rollout_step"] == saved

  config = grpo.get_config("test")
  config.update_from_flattened_dict(SETTINGS)
  config.mesh, config.num_rollout_steps = (1, 1, 1), saved + 1
  parts, whole = (tmp_path / name for name in ("parts", "whole"))
  for workdir in (parts, whole):
    assert train(config, workdir) is None
  assert_same(training_rows(parts), training_rows(whole))
  batches = {row["dynamic_sampling/batches"] for row in training_rows(whole)}
  assert max(batches) > 1  # groups without a signal were replaced
  # Four processes made the first evaluation, one process the last.
  ends = [[numbers(path)[i] for i in (0, -1)] for path in (parts, whole)]
  assert_same(*ends)
  samples = [
    (p / "samples.jsonl").read_text().splitlines() for p in (parts, whole)
  ]
  first = [
    [line for line in s if json.loads(line)["rollout_step"] == 0]
    for s in samples
  ]
  assert first[0] == first[1]


def test_what_one_process_knows_all_get_to_know():
  for status, output in finish(
    start(3, "tests.helpers.hosts_program", num_devices=2), seconds=SECONDS
  ):
    assert status == 0 and "everything holds" in output, output


def test_processes_that_are_to_run_something_else_say_so(environment, tmp_path):
  ended = finish(
    start(
      2,
      *RUN,
      f"--workdir={tmp_path / 'run'}",
      extra={1: ["--config.seed=1"]},
      **environment,
    ),
    seconds=SECONDS,
  )
  message = (
    "process 0 has other settings than process 1: config.seed is 0, not 1"
  )
  for status, output in ended:
    assert status == 2 and f"error: {message}\n" in output, output
    assert re.search(r"process \d of 2 waits for the others at 127", output)
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"coordinator": "here:1"}, "num_processes is missing"),
    ({"process_id": 1}, "coordinator is missing"),
    (
      {"coordinator": "here:1", "num_processes": 2, "process_id": 2},
      r"process_id=2 must lie in \[0, --num_processes = 2\)",
    ),
    (
      {"coordinator": "here", "num_processes": 2, "process_id": 0},
      "'here' is not of the form HOST:PORT",
    ),
    ({"distributed": True}, "this is no TPU pod, Slurm or GKE job"),
  ],
)
def test_flags_that_name_no_processes_are_refused(
  arguments, message, monkeypatch
):
  nothing = dict.fromkeys(("coordinator", "num_processes", "process_id"))
  flags = SimpleNamespace(**{"distributed": False, **nothing, **arguments})

  def initialize(*addresses):
    assert not addresses
    raise ValueError("coordinator_address should be defined.")

  monkeypatch.setattr(hosts, "initialize", initialize)
  with pytest.raises(ValueError, match=message):
    process_flags.join_processes(flags)


def test_in_one_process_nothing_is_sent():
  rows = np.arange(12).reshape(6, 2)
  share = hosts.share(rows, 3)
  assert share.mine.tolist() == share.held.tolist() == [0, 1, 2]
  tree = {"a": np.float64(1), "b": object}
  assert hosts.gather(tree, share) is tree
  assert hosts.gather_json(tree)[0] is tree
  assert hosts.any_of(True) and not hosts.any_of(False)
  np.testing.assert_array_equal(hosts.own_rows(rows, share.mine, 3), rows)
  np.testing.assert_array_equal(
    hosts.own_rows(jax.numpy.asarray(rows), np.array([2, 0]), 3),
    rows[[4, 5, 0, 1]],
  )
  with pytest.raises(KeyError), hosts.together():
    raise KeyError("as it is")


def test_several_processes_do_not_make_the_rollouts_of_an_offline_run(
  monkeypatch, tmp_path
):
  config = bcpg.get_config("test")
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  with pytest.raises(ValueError, match=r"offline\.rollouts is not set"):
    find_rollouts(config, tmp_path / "rollouts.jsonl", print)
