"""Whole sweeps: all units, failures, resumption, and what a command prints."""

import itertools
import json
import multiprocessing
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from configs import grpo
from entrojax import sweep
from entrojax import train as train_module
from entrojax.assembly.roll_backs import with_roll_backs
from entrojax.sweeps import unit_runs, workers
from entrojax.sweeps.estimate import Timing, estimate
from entrojax.sweeps.unit_runs import (
  Done,
  Outcome,
  Task,
  last_row,
  read_done,
  run_unit,
)
from entrojax.sweeps.workers import (
  Workers,
  choose_next,
  run_here,
  share_cores,
)
from entrojax.system.checkpoint_record import decode, encode
from entrojax.system.interrupt import Interruption
from entrojax.system.roll_backs import RollBack, append_roll_back
from tests.helpers.paths import ROOT
from tests.helpers.system import (
  final_params,
  numbers,
  tiny_config,
)

pytestmark = [
  pytest.mark.usefixtures("one_device", "session_data"),
  pytest.mark.slow,
]

NAMES = ["grpo,seed=0", "grpo,seed=1", "kl_cov,seed=0", "kl_cov,seed=1"]


def words_of(
  workdir: Path,
  base: Path,
  *arguments: str,
  config: str = "configs/sweeps/quick.py",
) -> list[str]:
  """Return the command line of a sweep of tiny units."""
  return [
    *(f"--config={config}", f"--workdir={workdir}"),
    *(f"--config.model.path={base}", "--config.mesh=(1, 1, 1)"),
    *("--config.checkpoint.every=1", *arguments),
  ]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
  """Return the work directory of the tests' finished sweep."""
  return tmp_path_factory.mktemp("sweeps") / "quick"


@pytest.fixture
def call(base, monkeypatch, capsys):
  """Return call(workdir, *flags) -> (exit status, lines on stdout)."""
  monkeypatch.chdir(ROOT)
  monkeypatch.setenv("TERM", "dumb")

  def run(
    workdir: Path, *arguments: str, config: str = "configs/sweeps/quick.py"
  ) -> tuple[int, list[str]]:
    status = 0
    words = words_of(workdir, base, *arguments, config=config)
    monkeypatch.setattr(
      sys, "argv", words
    )  # ml-collections reads settings here
    try:
      sweep.main(words)
    except SystemExit as ended:
      status = ended.code
    printed = capsys.readouterr()
    return status, (printed.out + printed.err).splitlines()

  return run


@pytest.fixture
def quick(call, kept):
  """Return the work directory of a finished sweep, run at first use."""
  if not kept.exists():
    status, lines = call(kept)
    assert status == 0, lines
  return kept


def test_all_units_run_and_a_second_call_does_nothing(call, quick, monkeypatch):
  record = json.loads((quick / "sweep.json").read_text())
  assert list(record["units"]) == NAMES
  seeds = {}
  for name in NAMES:
    assert [row["rollout_step"] for row in numbers(quick / name)] == [
      0,
      1,
      2,
      2,
    ]
    config = json.loads((quick / name / "config.json").read_text())
    seeds[name] = config["seed"]
    assert "rollout 2/2" in (quick / name / "output.txt").read_text()
    provenance = json.loads((quick / name / "provenance.json").read_text())
    assert f"--config.seed={config['seed']}" in provenance["command"]
  assert list(seeds.values()) == [0, 1, 0, 1]
  monkeypatch.setattr(unit_runs, "train", None)
  status, lines = call(quick)
  assert status == 0, lines
  assert lines == [
    f"4 units in {quick}: 4 finished, 0 to run",
    f"{quick}: 4 finished",
  ]


def test_a_failure_is_reported_the_others_finish_and_it_resumes_bit_for_bit(
  call, quick, tmp_path, monkeypatch
):
  start_step = train_module.start_step
  second_steps = itertools.count(1)

  def fail_once(run, position):
    if position.rollout_step == 1 and next(second_steps) == 2:
      raise RuntimeError("the disk is full")  # after a checkpoint
    return start_step(run, position)

  monkeypatch.setattr(train_module, "start_step", fail_once)
  status, lines = call(tmp_path / "x")
  assert status == 1
  assert [steps_of(tmp_path / "x" / name) for name in NAMES] == [2, 1, 2, 2]
  at = lines.index(f"{tmp_path}/x: 3 finished, 1 failed:")
  assert lines[at + 1 :] == [
    f"  unit 1, grpo,seed=1: the disk is full (see {tmp_path}/x/grpo,seed=1/"
    "output.txt)"
  ]
  output = (tmp_path / "x" / "grpo,seed=1" / "output.txt").read_text()
  assert 'raise RuntimeError("the disk is full")' in output  # the traceback
  status, lines = call(tmp_path / "x")
  assert status == 0, lines
  assert lines[0].endswith("3 finished, 1 to run")
  for name in NAMES:
    assert numbers(tmp_path / "x" / name) == numbers(quick / name)


KILLED = """
import os, signal, sys
from entrojax import sweep, train
start_step = train.start_step

def die(run, position):
  if position.rollout_step == 1:
    os.kill(os.getpid(), signal.SIGKILL)
  return start_step(run, position)

train.start_step = die
sweep.main(sys.argv[1:])
"""


def test_a_sweep_that_is_killed_amid_a_unit_resumes_it_bit_for_bit(
  call, quick, base, tmp_path, environment
):
  workdir = tmp_path / "x"
  ended = subprocess.run(
    [sys.executable, "-c", KILLED, *words_of(workdir, base), "--unit=0"],
    env={**os.environ, **environment},
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert ended.returncode == -signal.SIGKILL, ended.stderr
  assert not (workdir / NAMES[0] / "checkpoints" / "2").exists()
  status, lines = call(workdir, "--unit=0")
  assert status == 0, lines
  assert lines[0] == f"1 units in {workdir}: 0 finished, 1 to run"
  folders = [path / NAMES[0] for path in (workdir, quick)]
  assert numbers(folders[0]) == numbers(folders[1])
  jax.tree.map(np.testing.assert_array_equal, *map(final_params, folders))


def test_a_unit_that_its_alarm_stops_does_not_end_the_sweep(
  call, tmp_path, monkeypatch
):
  def train(config, folder, **_):
    if folder.name != NAMES[1]:
      return None
    with Interruption() as run:
      run.request("alarm idle: nothing is learned")
    return folder / "checkpoints" / "1"

  monkeypatch.setattr(unit_runs, "train", train)
  status, lines = call(tmp_path / "x")
  assert status == 1
  assert lines[-2:] == [
    f"{tmp_path}/x: 3 finished, 1 stopped:",
    f"  unit 1, {NAMES[1]}: alarm idle: nothing is learned (see {tmp_path}/x/"
    f"{NAMES[1]}/output.txt)",
  ]


def test_a_signal_while_a_unit_is_built_ends_it_and_the_sweep(
  tmp_path, monkeypatch, capsys
):
  ends = {}

  def train(config, folder, **_):
    signal.raise_signal(signal.SIGTERM)  # before the run has its own flag
    with Interruption() as run:
      return folder if run.ends else None

  monkeypatch.setattr(unit_runs, "train", train)
  tasks = [Task(None, tmp_path / name, ()) for name in ("0", "1")]
  monkeypatch.setattr(unit_runs, "read_done", lambda *_: Done(0, False))
  begin = lambda place: None
  assert not run_here(tasks, run_unit, begin, ends.__setitem__)
  assert [outcome.end for outcome in ends.values()] == [unit_runs.INTERRUPTED]
  assert "SIGTERM received" in (tmp_path / "0" / "output.txt").read_text()
  # between two units
  run = lambda task: (signal.raise_signal(signal.SIGINT), Outcome("finished"))
  assert not run_here(tasks, lambda task: run(task)[1], begin, lambda *_: None)


def test_a_unit_without_its_last_evaluation_is_not_finished(
  call, quick, tmp_path
):
  shutil.copytree(quick, tmp_path / "x")
  folder = tmp_path / "x" / NAMES[0]
  expected = numbers(folder)
  lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
  (folder / "metrics.jsonl").write_text("".join(lines[:-1]))
  record = folder / "checkpoints" / "2" / "host" / "metadata"
  raw = decode(json.loads(record.read_text()))
  raw.host["evaluation_owed"] = True
  record.write_text(json.dumps(encode(raw)))
  _, lines = call(tmp_path / "x", "--dry_run", "--unit=0")
  assert "at rollout step 2 of 2, without its last evaluation" in lines[1]
  status, lines = call(tmp_path / "x")
  assert status == 0 and lines[0].endswith("3 finished, 1 to run"), lines
  assert numbers(folder) == expected


def steps_of(folder: Path) -> int:
  return max(int(path.name) for path in (folder / "checkpoints").iterdir())


def test_a_signal_saves_the_unit_and_ends_the_sweep(
  call, tmp_path, monkeypatch
):
  start_step = train_module.start_step

  def interrupt(run, position):
    signal.raise_signal(signal.SIGTERM)
    return start_step(run, position)

  monkeypatch.setattr(train_module, "start_step", interrupt)
  status, lines = call(tmp_path / "x")
  assert status == 130
  assert any(
    line.startswith("SIGTERM received. The run saves") for line in lines
  )
  assert lines[-1] == "Interrupted. Run the same command again to resume."
  assert steps_of(tmp_path / "x" / NAMES[0]) == 1
  assert not (tmp_path / "x" / NAMES[1]).exists()


@pytest.mark.parametrize(
  ("flag", "expected"), [("--unit=2", NAMES[2:3]), ("--shard=1/2", NAMES[2:])]
)
def test_a_part_of_the_units_runs(flag, expected, call, tmp_path, monkeypatch):
  trained = []
  monkeypatch.setattr(
    unit_runs, "train", lambda config, folder, **_: trained.append(folder.name)
  )
  status, lines = call(tmp_path / "x", flag)
  assert status == 0 and trained == expected
  assert lines[-1] == f"{tmp_path}/x: {len(expected)} finished"


def test_commands_are_what_a_user_can_run_and_nothing_is_written(
  call, tmp_path, base
):
  status, lines = call(tmp_path / "x", "--commands")
  assert status == 0 and len(lines) == 4
  assert lines[3] == (
    "python -m entrojax.main --config=configs/kl_cov.py:test "
    f"--config.model.path={base} '--config.mesh=(1, 1, 1)' "
    "--config.checkpoint.every=1 --config.seed=1 "
    f"--workdir={tmp_path}/x/kl_cov,seed=1"
  )
  assert not (tmp_path / "x").exists()


def test_a_dry_run_lists_states_and_times_and_writes_nothing(
  call, quick, tmp_path
):
  status, lines = call(tmp_path / "x", "--dry_run", "--shard=0/2")
  assert status == 0 and not (tmp_path / "x").exists()
  assert lines[0].split() == ["unit", "directory", "time", "state"]
  for number, line in enumerate(lines[1:3]):
    cells = line.split()
    assert cells[:2] == [str(number), NAMES[number]] and cells[3] == "new"
    assert cells[2].startswith("0:0")
  assert lines[3].startswith("2 of 2 units to run, in about 0:0")
  status, lines = call(quick, "--dry_run")
  assert lines[1].split() == ["0", NAMES[0], "finished"]
  assert lines[-1].startswith("0 of 4 units to run")


@pytest.mark.parametrize(
  ("steps_done", "evaluations"),
  [
    (0, 3),  # at the start, after step 5 and after the last one
    (4, 2),
    (5, 1),
    (10, 1),  # only the evaluation after the last step is missing
  ],
)
def test_a_unit_needs_the_time_of_the_evaluations_that_are_left(
  steps_done, evaluations
):
  config = grpo.get_config()
  config.num_rollout_steps, config.evaluation.every = 10, 5
  timing = Timing(start=0.0, step=0.0, evaluation=1.0)
  assert estimate(timing, config, steps_done) == evaluations


def test_nothing_runs_if_a_unit_is_refused(call, tmp_path, monkeypatch):
  monkeypatch.setattr(unit_runs, "train", None)
  status, lines = call(tmp_path / "x", "--config.kl_cov.fraction=0.1")
  assert status == 2 and not (tmp_path / "x").exists()
  assert lines[1].startswith("warning: kl_cov.fraction = 0.1 touches 10% of")
  reason = (
    "kl_cov.fraction is set and would do nothing: 'kl_cov' is not part of "
    "advantage = ('grpo',), objective = ('ppo_clip',) or control.name = "
    "'no_control'"
  )
  assert lines[2:] == [
    "error: 2 units are refused, so nothing runs:",
    f"  unit 0, grpo,seed=0: {reason}",
    f"  unit 1, grpo,seed=1: {reason}",
  ]


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--jobs=0"], "--jobs must be at least 1, got 0"),
    (
      ["--dry_run", "--commands"],
      "--dry_run and --commands exclude each other",
    ),
    (["--unit=4"], "--unit=4 must lie in [0, 4)"),
  ],
)
def test_a_wrong_flag_is_named(flags, message, call, tmp_path):
  status, lines = call(tmp_path / "x", *flags)
  assert status == 2 and lines[0].startswith(f"error: {message}")


# -- the directory of a unit --------------------------------------------------


def break_unit(folder: Path, how: str) -> None:
  """Damage the run directory of a finished unit."""
  if how == "no config":
    (folder / "config.json").unlink()
  elif how == "half a config":
    (folder / "config.json").write_text('{"seed": ')
  elif how == "another config":
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"seed": 0', '"seed": 9'))
  elif how == "no metrics":
    (folder / "metrics.jsonl").unlink()
  elif how == "half the metrics":
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(lines[:2]) + lines[2][:9])
  elif how == "half a checkpoint":
    (folder / "checkpoints" / "2" / "host").rename(folder / "host")


@pytest.mark.parametrize(
  ("how", "message"),
  [
    ("no config", "config.json is missing or damaged: delete"),
    ("half a config", "config.json is missing or damaged: delete"),
    ("another config", "holds a run with other settings: seed was 9, is 0"),
    ("no metrics", "metrics.jsonl is missing or damaged: delete"),
    (
      "half the metrics",
      "metrics.jsonl ends at rollout step 1, and the ",
    ),
    ("half a checkpoint", "checkpoints/2 is damaged: delete it to resume"),
  ],
)
def test_a_damaged_unit_is_named_with_a_remedy(
  how, message, quick, tmp_path, call
):
  copied = tmp_path / "x" / NAMES[0]
  shutil.copytree(quick, tmp_path / "x")
  break_unit(copied, how)
  status, lines = call(tmp_path / "x", "--unit=0")
  assert status == 1
  assert message in lines[-1] and str(copied) in lines[-1]


def test_a_unit_cut_off_before_its_first_checkpoint_starts_over(quick, base):
  config = tiny_config(base)
  assert read_done(quick / "no such folder", config) == Done(0, False)
  folder = quick.parent / "cut"
  (folder / "checkpoints" / "1.orbax-checkpoint-tmp").mkdir(parents=True)
  (folder / "config.json").write_text('{"se')
  assert read_done(folder, config) == Done(0, False)
  file = quick.parent / "file"
  file.write_text("")
  with pytest.raises(ValueError, match="file is not a directory: move it away"):
    read_done(file, config)


def test_a_unit_that_an_alarm_rolled_back_is_still_the_same_unit(
  base, tmp_path
):
  config = tiny_config(base, **{"alarms.collapse": "roll_back"})
  back = RollBack("collapse", 2, 1, "ppo_clip.clip_high", 0.3)
  for part in ("state", "host"):
    (tmp_path / "checkpoints" / "2" / part).mkdir(parents=True)
  (tmp_path / "metrics.jsonl").write_text('{"rollout_step": 2}\n')
  append_roll_back(tmp_path, back)
  changed = with_roll_backs(config, [back])
  # the process may have ended before it wrote the changed settings
  for settings in (config, changed):
    (tmp_path / "config.json").write_text(json.dumps(settings.to_dict()))
    assert read_done(tmp_path, config).steps == 2
  config.seed += 1
  with pytest.raises(ValueError, match="other settings: seed was"):
    read_done(tmp_path, config)


def test_a_unit_that_another_process_runs_is_left_to_it(call, tmp_path):
  folder = tmp_path / "x" / NAMES[0]
  with train_module.hold_workdir(folder):
    status, lines = call(tmp_path / "x", "--unit=0")
  assert status == 0, lines
  assert lines[-1] == f"{tmp_path}/x: 0 finished, 1 held by another process"


def test_the_latest_values_are_read_from_the_end_of_the_metrics(tmp_path):
  assert last_row(tmp_path) == {}
  rows = [{"step": i, "long": [0] * 1000} for i in range(100)]
  rows[-1]["actor/entropy"] = 0.25
  text = "\n".join(map(json.dumps, rows))
  (tmp_path / "metrics.jsonl").write_text(f'{text}\n{{"step": 1')
  assert last_row(tmp_path)["step"] == 99
  assert last_row(tmp_path)["actor/entropy"] == 0.25


# -- several processes --------------------------------------------------------


def test_cores_are_shared_out(monkeypatch):
  monkeypatch.setattr(os, "sched_getaffinity", lambda _: {4, 5, 6, 7, 9})
  assert [share_cores(i, 2) for i in range(2)] == [[4, 5], [6, 7, 9]]
  assert share_cores(0, 1) == [4, 5, 6, 7, 9]
  assert [share_cores(i, 6) for i in (0, 4, 5)] == [[4], [9], [4]]


def test_a_free_process_gets_a_unit_like_its_last_one_or_one_not_begun():
  kinds = ["a", "a", "b", "b", "b", "c"]
  assert choose_next([1, 2, 5], kinds, "a", ["b"]) == 1
  assert choose_next([1, 2, 3, 5], kinds, "x", ["a"]) == 2  # more b than c
  assert choose_next([1, 2, 3, 5], kinds, None, ["a", "b"]) == 5
  assert choose_next([1], kinds, "b", ["a"]) == 1


class FakeWorker(workers._Worker):
  """A process of a sweep that is none: it runs its task when it begins it."""

  started = 0

  def __init__(self, cores):
    FakeWorker.started += 1
    self.pipe, self.far_end = multiprocessing.Pipe()
    self.cores, self.place, self.kind = cores, None, None
    self.interrupted = self.died = False

  def _send(self, function, *args, folder):
    try:
      self.far_end.send(function(*args))
    except ZeroDivisionError:
      self.far_end.close()

  def _describe_death(self):
    return "its process died"

  def stop(self):
    self.pipe.close()


def fake_tasks(*seeds) -> list[Task]:
  tasks = [Task(grpo.get_config("test"), Path(str(s)), ()) for s in seeds]
  for task, seed in zip(tasks, seeds, strict=True):
    task.config.seed = seed
  return tasks


def test_another_process_takes_the_place_of_one_that_died(monkeypatch):
  monkeypatch.setattr(workers, "_Worker", FakeWorker)
  monkeypatch.setattr(FakeWorker, "started", 0)

  def run(task):
    return Outcome(unit_runs.FINISHED, str(1 // (task.config.seed != 1)))

  ends = {}
  with Workers(2) as both:
    complete = both.run(
      fake_tasks(0, 1, 2, 3), run, lambda place: None, ends.__setitem__
    )
  assert complete and FakeWorker.started == 3
  assert {place: outcome.end for place, outcome in ends.items()} == {
    **dict.fromkeys((0, 2, 3), unit_runs.FINISHED),
    1: unit_runs.FAILED,
  }
  assert ends[1].reason == "its process died"


def test_a_process_that_died_without_a_unit_costs_none(monkeypatch):
  monkeypatch.setattr(workers, "_Worker", FakeWorker)
  monkeypatch.setattr(FakeWorker, "started", 0)
  ends = {}
  with Workers(1) as one:
    one._all[0].far_end.close()  # killed before the first unit
    run = lambda task: Outcome(unit_runs.FINISHED)
    assert one.run(fake_tasks(0, 1), run, lambda place: None, ends.__setitem__)
  assert FakeWorker.started == 2
  assert {outcome.end for outcome in ends.values()} == {unit_runs.FINISHED}


def test_after_a_signal_no_unit_begins(monkeypatch, capsys):
  monkeypatch.setattr(workers, "_Worker", FakeWorker)

  def run(task):
    if task.config.seed == 1:
      signal.raise_signal(signal.SIGINT)
    return Outcome(unit_runs.FINISHED)

  ends = {}
  with Workers(1) as one:
    complete = one.run(
      fake_tasks(0, 1, 2), run, lambda place: None, ends.__setitem__
    )
  assert not complete and sorted(ends) == [0, 1]
  assert "SIGINT received" in capsys.readouterr().out


CRASH = """
import os, signal
from pathlib import Path
from configs import countdown
from entrojax.masking import mean_metric
from entrojax.objectives.chain import scale_loss
from entrojax.types import Objective

def crash() -> Objective:
  if Path({mark!r}).exists():  # this is not the check before the sweep
    print("about to die", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
  Path({mark!r}).touch()
  def objective(tokens, token_loss, coefficient, key):
    metrics = {{"crash/mask": mean_metric(tokens.mask, tokens.mask)}}
    return scale_loss(token_loss, tokens.mask, metrics)
  return objective

def get_config():
  return countdown.get_config("test")

def get_hyper(hyper):
  return hyper.sweep("config.objective", [("ppo_clip", {own!r}), ("ppo_clip",)])
"""


def test_a_process_that_dies_loses_its_unit_only(
  tmp_path, environment, call, monkeypatch
):
  for name, value in environment.items():
    monkeypatch.setenv(name, value)
  file = tmp_path / "crash.py"
  file.write_text(
    CRASH.format(own=f"{file}:crash", mark=str(tmp_path / "mark"))
  )
  status, lines = call(tmp_path / "x", "--jobs=2", config=str(file))
  assert status == 1, lines
  assert lines[-2].endswith("x: 1 finished, 1 failed:")
  assert "+crash: its process was killed by SIGKILL (see " in lines[-1]
  dead, alive = (
    tmp_path / "x" / f"objective=ppo_clip{end}" for end in ("+crash", "")
  )
  assert (dead / "output.txt").read_text().endswith("\nabout to die\n")
  assert numbers(alive)[-1]["rollout_step"] == 2
  provenance = json.loads((alive / "provenance.json").read_text())
  cores = len(os.sched_getaffinity(0))
  assert provenance["devices"]["cores"] in (cores // 2, (cores + 1) // 2, 1)
