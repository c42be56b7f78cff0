"""Runs that are killed, interrupted, damaged or repeated, and resumed."""

import fcntl
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from entrojax import train as train_module
from entrojax.loop import evaluation, rollout_step
from entrojax.reporting import writer
from entrojax.system import hosts
from entrojax.system import workdir as workdir_module
from entrojax.system.checkpoint import Checkpoints
from entrojax.train import train
from tests.helpers.paths import ROOT
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


LONG = {
  "num_rollout_steps": 100_000,
  "checkpoint.every": 1,
  "alarms.idle": "off",  # the tiny base solves nothing
  "optimizer.decay_steps": 0,  # as in tiny_config: it shares the update
}


def command(workdir, base):
  return [
    sys.executable,
    "-m",
    "entrojax.main",
    "--config=configs/countdown.py:test",
    f"--config.model.path={base}",
    "--config.mesh=(1, 1, 1)",
    f"--workdir={workdir}",
    *(f"--config.{name}={value}" for name, value in LONG.items()),
  ]


def start(workdir, base, environment):
  return subprocess.Popen(
    command(workdir, base),
    cwd=ROOT,
    env={**os.environ, **environment},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def wait_for_rollout_step(workdir, step, process, seconds=120):
  """Wait until metrics.jsonl has a line of that rollout step."""
  deadline = time.monotonic() + seconds
  path = workdir / "metrics.jsonl"
  while time.monotonic() < deadline and process.poll() is None:
    if path.exists() and f'"rollout_step": {step},' in path.read_text():
      return
    time.sleep(0.05)
  process.kill()  # it would run on, and what it says would never end
  raise AssertionError(process.communicate()[1])


def interrupt(process, number) -> Path:
  """Send a signal and return the checkpoint that the run has saved."""
  process.send_signal(number)
  output, errors = process.communicate(timeout=60)
  assert process.returncode == 130, errors
  assert "Traceback" not in errors
  return Path(output.split("Saved ")[1].split(". Run")[0])


def test_a_killed_and_an_interrupted_run_go_on_as_if_nothing_had_been(
  base, tmp_path, environment
):
  workdir = tmp_path / "parts"
  process = start(workdir, base, environment)
  wait_for_rollout_step(workdir, 3, process)
  process.kill()
  process.communicate()
  # resumed twice: by a process that is interrupted, and by this one
  process = start(workdir, base, environment)
  wait_for_rollout_step(workdir, 5, process)
  saved = interrupt(process, signal.SIGINT)
  assert saved.is_dir()
  assert int(saved.name) == numbers(workdir)[-1]["rollout_step"]
  last = int(saved.name) + 2
  config = tiny_config(base, **{**LONG, "num_rollout_steps": last})
  for folder in ("parts", "whole"):
    train(config, tmp_path / folder)
  assert numbers(workdir) == numbers(tmp_path / "whole")
  jax.tree.map(
    np.testing.assert_array_equal,
    final_params(workdir),
    final_params(tmp_path / "whole"),
  )


def test_an_interrupted_evaluation_is_owed_and_made_up_for(
  base, finished, tmp_path, monkeypatch
):
  """The signal arrives as the last evaluation is about to begin."""
  signals = []
  inner = evaluation.until

  def stopping(stopped, generate):
    run = inner(stopped, generate)

    def signalled(*args):
      signals.append(len(signals) == 1)
      if signals[-1]:  # the evaluation after the last step
        signal.raise_signal(signal.SIGTERM)
      return run(*args)

    return signalled

  monkeypatch.setattr(evaluation, "until", stopping)
  keep_best = {"checkpoint.keep_best": "val/countdown/pass@4"}
  config = tiny_config(base, **{"evaluation.every": 2, **keep_best})
  path = train(config, tmp_path / "parts")
  monkeypatch.setattr(evaluation, "until", inner)
  assert path is not None and path.name == "2"
  assert [r["rollout_step"] for r in numbers(tmp_path / "parts")] == [0, 1, 2]
  for _ in range(2):  # once it is made up for, it is not repeated
    assert train(config, tmp_path / "parts") is None
    assert numbers(tmp_path / "parts") == numbers(finished)
    for name in ("evaluations.jsonl", "samples.jsonl"):
      files = [(f / name).read_text() for f in (tmp_path / "parts", finished)]
      assert files[0] == files[1]
  checkpoints = Checkpoints(tmp_path / "parts/checkpoints", keep=1, alone=True)
  assert checkpoints.read_best() == 2
  checkpoints.close()


def test_an_error_between_two_updates_loses_no_step(
  base, finished, tmp_path, monkeypatch
):
  inner, workdir = rollout_step.replace_faulty, tmp_path / "run"

  def fail(responses, number, *, ends):
    if number == 1:
      raise hosts.SharedError("a reward failed")
    return inner(responses, number, ends=ends)

  monkeypatch.setattr(rollout_step, "replace_faulty", fail)
  with pytest.raises(ValueError, match="a reward failed"):
    train(tiny_config(base), workdir)
  assert [row["rollout_step"] for row in numbers(workdir)] == [0, 1]
  monkeypatch.setattr(rollout_step, "replace_faulty", inner)
  assert train(tiny_config(base), workdir) is None
  assert numbers(workdir) == numbers(finished)  # the same prompts, too
  jax.tree.map(
    np.testing.assert_array_equal, final_params(workdir), final_params(finished)
  )


def test_logs_that_cannot_be_written_for_a_time_lose_nothing(
  base, finished, tmp_path, monkeypatch, capsys
):
  """The disk is full at the first step's line and the last evaluation."""
  inner, run, full = workdir_module.append_text, tmp_path / "run", []

  def append(path, text):
    is_step = path.name == "metrics.jsonl" and '"rollout_step": 1' in text
    is_last = path.name == "samples.jsonl" and '"rollout_step": 2' in text
    if (is_step or is_last) and path.name not in full:
      full.append(path.name)
      raise OSError(28, "No space left on device")
    inner(path, text)

  for module in (workdir_module, writer):
    monkeypatch.setattr(module, "append_text", append)
  assert train(tiny_config(base), run) is not None  # an evaluation is owed
  assert full == ["metrics.jsonl", "samples.jsonl"]
  output = capsys.readouterr().out
  assert "the metrics of rollout step 1 could not be written" in output
  assert "the evaluation after rollout step 2 could not be written" in output
  assert [row["rollout_step"] for row in numbers(run)] == [0, 1, 2]
  assert train(tiny_config(base), run) is None
  for name in ("evaluations.jsonl", "samples.jsonl"):
    assert (run / name).read_text() == (finished / name).read_text()
  assert numbers(run) == numbers(finished)


def test_a_run_whose_newest_checkpoint_is_damaged_goes_back_a_step(
  base, tmp_path, capsys
):
  workdir = tmp_path / "run"
  config = controlled(base, **{"checkpoint.every": 1})
  train(config, workdir)
  before, state = numbers(workdir), final_params(workdir)
  (target,) = (workdir / "checkpoints" / "4" / "state").glob("_METADATA")
  target.write_bytes(target.read_bytes()[:100])
  capsys.readouterr()
  train(config, workdir)
  assert "Resuming from rollout step 3" in capsys.readouterr().out
  assert numbers(workdir) == before
  jax.tree.map(np.testing.assert_array_equal, final_params(workdir), state)
  assert (workdir / "checkpoints" / "4.damaged").is_dir()


def test_a_finished_run_is_left_as_it_is(base, finished):
  before = (finished / "metrics.jsonl").read_text()
  assert train(tiny_config(base), finished) is None
  assert (finished / "metrics.jsonl").read_text() == before


def test_a_resumed_run_holds_one_state_on_its_devices(
  base, finished, monkeypatch
):
  inner, are_deleted = train_module._loop, []

  def loop(run, files, *others):
    for state in (run.state, files.start.state):
      are_deleted.append({x.is_deleted() for x in jax.tree.leaves(state)})
    return inner(run, files, *others)

  monkeypatch.setattr(train_module, "_loop", loop)
  assert train(tiny_config(base), finished) is None
  assert are_deleted == [{True}, {False}]


def test_a_workdir_that_another_run_holds_is_refused(base, tmp_path):
  workdir = tmp_path / "run"
  workdir.mkdir()
  with (workdir / ".lock").open("a+") as lock:
    lock.write("12345")
    lock.flush()
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(ValueError, match=r"held by another run.*12345"):
      train(tiny_config(base), workdir)


def test_a_resumed_run_may_not_change_what_it_computes(base, finished):
  changed = tiny_config(base, **{"optimizer.learning_rate": 1e-2})
  with pytest.raises(
    ValueError, match=r"optimizer\.learning_rate was 0\.00016"
  ):
    train(changed, finished)


def test_without_resume_a_used_workdir_is_refused(base, finished):
  with pytest.raises(ValueError, match="holds a run"):
    train(tiny_config(base), finished, resume=False)


def test_a_run_that_failed_before_its_first_save_binds_nobody(base, tmp_path):
  workdir = tmp_path / "run"
  workdir.mkdir()
  (workdir / "config.json").write_text('{"objective": ["another"]}')
  (workdir / "samples.jsonl").write_text('{"rollout_step": 0}\n')
  train(tiny_config(base), workdir)
  samples = (workdir / "samples.jsonl").read_text().splitlines()
  assert len(samples) == 16  # two evaluations of eight problems, no third


def test_a_run_that_is_refused_leaves_no_folder(base, tmp_path):
  with pytest.raises(ValueError, match="group_size"):
    train(tiny_config(base, **{"rollout.group_size": 1}), tmp_path / "run")
  assert not (tmp_path / "run").exists()
