"""The comparison of trainers: turns, messages, and our own step."""

import contextlib
import dataclasses
import io
import sys

import pytest

from experiments.peers import table, workload
from experiments.peers.workload import Step, Turns, read_steps

pytestmark = pytest.mark.slow

FAKE = """
import sys, time
from experiments.peers.workload import Turns
turns = Turns()
sample = turns.timed("rollout", lambda: time.sleep(0.01))
score = turns.timed("before_update", lambda: (sample(), time.sleep(0.01)))
print("a line of a library")
while turns.begin():
  score()
  turns.reward = 0.5
  turns.end()
sys.exit("that was all")
"""


def test_a_contestant_steps_when_it_is_asked(tmp_path, monkeypatch):
  script = tmp_path / "python"
  script.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{FAKE}'\n")
  script.chmod(0o755)
  monkeypatch.setitem(table.MODULES, "fake", "none")
  fake = table.Contestant("fake", str(script), "W1", tmp_path)
  steps = [fake.step() for _ in range(2)]
  for step in steps:
    assert step.reward == 0.5
    assert step.memory > 1e6  # bytes
    assert 0.01 <= step.rollout < step.whole
    # neither sampling nor scoring is the update
    assert 0 <= step.update <= step.whole - 0.02
  fake.close()


def test_an_end_says_the_contestant_s_last_words(tmp_path, monkeypatch):
  script = tmp_path / "python"
  script.write_text("#!/bin/sh\necho no such module >&2\nexit 1\n")
  script.chmod(0o755)
  monkeypatch.setitem(table.MODULES, "fake", "none")
  with pytest.raises(ValueError, match="fake has ended:\nno such module"):
    table.Contestant("fake", str(script), "W1", tmp_path)


def test_turns_and_reader_understand_each_other(monkeypatch, capsys):
  monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
  turns = Turns()
  assert turns.begin()
  turns.timed("rollout", lambda: None)()
  turns.timed("update", lambda: None)()
  turns.reward = 0.25
  turns.end()
  assert not turns.begin()
  waits, step, waits_again = read_steps(capsys.readouterr().out.splitlines())
  assert waits is None
  assert waits_again is None
  assert isinstance(step, Step)
  assert step.reward == 0.25
  assert step.rollout + step.update <= step.whole


def test_a_peer_that_is_not_installed_is_said_to_be_so(capsys):
  assert table.installed({"TRL": "", "Tunix": "no/python"}) == {}
  output = capsys.readouterr().out.splitlines()
  assert output == [
    "TRL is not installed for any python: left out",
    "Tunix is not installed for no/python: left out",
  ]


@pytest.mark.parametrize(
  ("name", "expected"),
  [("W1", ["ours", "1 device", "ours bf16"]), ("W3", ["ours", "ours bf16"])],
)
def test_a_large_model_has_one_device_and_no_second_turn(
  name, expected, monkeypatch
):
  started = {}

  @contextlib.contextmanager
  def running(pythons, workload):
    del workload
    started.update(pythons)
    yield {}

  monkeypatch.setattr(table, "_running", running)
  monkeypatch.setattr(table, "print_turns", lambda workload, turns: None)
  everyone = list(table.MODULES)
  table.print_peers({"TRL": "", "Tunix": ""}, 1, [name], everyone)
  assert list(started) == expected


def test_a_ratio_is_the_median_over_turns(capsys):
  ours = Step(
    whole=1.0, rollout=0.25, update=0.5, cpu=1.0, memory=5e6, reward=0.1
  )
  slow, slower = (
    Step(whole=w, rollout=0.5, update=1.0, cpu=3.0, memory=6e6, reward=0.2)
    for w in (2.0, 9.0)
  )
  turns = [{"ours": ours, "TRL": peer} for peer in (slow, slower, slow)]
  table.print_turns("W1", turns)
  lines = capsys.readouterr().out.splitlines()
  assert lines[0].startswith("W1: 8 prompts x 8, 32 tokens, medians of 3 turns")
  assert " ".join(lines[3].split()) == (
    "TRL 2000.0 (2.00) 500.0 (2.00) 1000.0 (2.00) 3000.0 (3.00) "
    "6.0 (1.20) "
    "reward at the end 0.200"
  )


def test_our_step_is_a_whole_step(tmp_path, monkeypatch, capsys):
  from experiments.peers import our_step

  tiny = workload.Workload(8, 2, 4)
  sizes = dataclasses.replace(tiny.sizes, width=16, inner=16, layers=1)
  our_step.write_model(tmp_path, sizes)
  config = our_step.make_config(tiny, str(tmp_path))
  run = our_step.with_problems(our_step.build(config), tiny, config)
  monkeypatch.setattr(sys, "stdin", io.StringIO("\n\n"))
  turns = Turns()
  step = our_step.make_step(run, turns)
  for i in range(2):
    turns.begin()
    step(i)
    turns.end()
  _, first, _, second = read_steps(capsys.readouterr().out.splitlines())
  for made in (first, second):
    assert 0 <= made.reward <= 1
    assert 0 < made.rollout < made.whole
    assert 0 < made.update < made.whole
