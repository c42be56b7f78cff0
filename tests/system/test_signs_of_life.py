"""A process that gives no sign of life ends the others in one line."""

import subprocess
import sys

import pytest

from entrojax.system.signs_of_life import GRACE, PATIENCE, PERIOD, Signs
from tests.helpers.paths import ROOT
from tests.helpers.processes import finish, start

# the thread that watches ends the process while the main thread fails
PROGRAM = """
import sys, threading, time
from entrojax.system.signs_of_life import end

watch = threading.Thread(target=lambda: end("error: lost", wait=1))
watch.start()
while threading.active_count() > 1:
  time.sleep(0.3)
  print("error: a sum has failed", flush=True)
  print("error: a sum has failed", file=sys.stderr, flush=True)
"""


class World:
  """Signs of three processes over time, as process 0 or 1 sees them."""

  def __init__(self, number):
    self.now, self.signs, self.reachable = 0.0, {}, True
    self.watch = Signs(number, 3, lambda: self.now)

  def get(self, number):
    if not self.reachable:
      raise RuntimeError("UNAVAILABLE")
    return self.signs.get(number)

  def pass_time(self, seconds, alive):
    """Let time pass; return the first message, and when it came."""
    end = self.now + seconds
    while self.now < end:
      self.now += PERIOD
      self.signs |= {number: str(self.now) for number in alive}
      message = self.watch.read(self.get)
      if message:
        return message, self.now
    return "", self.now


def test_processes_that_give_signs_are_left_alone():
  world = World(0)
  assert world.pass_time(1000, alive=(1, 2))[0] == ""


def test_a_lost_process_is_named_within_a_minute():
  world = World(0)
  world.pass_time(100, alive=(1, 2))
  start = world.now
  message, at = world.pass_time(1000, alive=(1,))
  assert message.startswith("error: process 2 of 3 is gone: it has given no")
  assert "\n" not in message and PATIENCE <= at - start < 60


def test_a_process_that_never_began_is_lost_too():
  message, at = World(0).pass_time(1000, alive=(1,))
  assert "process 2 of 3" in message and at < 60


def test_the_first_process_is_lost_if_its_store_cannot_be_reached():
  world = World(1)
  world.pass_time(100, alive=(0, 2))
  start, world.reachable = world.now, False
  message, at = world.pass_time(1000, alive=(0, 2))
  assert "process 0 of 3 is gone" in message and at - start < 60


def test_a_short_outage_of_the_store_is_no_loss():
  world = World(1)
  world.reachable = False
  assert world.pass_time(30, alive=())[0] == ""
  world.reachable = True
  assert world.pass_time(100, alive=(0, 2))[0] == ""


def test_a_process_that_has_ended_well_is_not_lost():
  world = World(0)
  world.signs[2] = "done"
  assert world.pass_time(1000, alive=(1,))[0] == ""


def test_the_error_of_another_process_is_repeated_after_a_while():
  world = World(0)
  world.pass_time(100, alive=(1, 2))
  start, world.signs[1] = world.now, "failed: no room"
  message, at = world.pass_time(1000, alive=(2,))
  assert message.startswith("error: process 1 of 3 failed: no room. Run the")
  assert GRACE <= at - start < 20
  assert not world.watch.are_over
  world.signs[2] = "done"
  world.watch.read(world.get)
  assert world.watch.are_over


@pytest.mark.slow
@pytest.mark.parametrize("bad", [0, 1])
def test_an_error_in_one_process_ends_the_others_with_a_message(bad):
  processes = start(2, "tests.helpers.failing_program", f"--bad={bad}")
  ended = finish(processes, seconds=100)
  assert [status for status, _ in ended] == [2, 2], ended
  assert "error: no room\n" in ended[bad][1]
  message = f"error: process {bad} of 2 failed: no room. Run the same command"
  assert message in ended[1 - bad][1]


def test_nothing_is_printed_after_the_line_about_a_lost_process():
  done = subprocess.run(
    [sys.executable, "-c", PROGRAM],
    **{"cwd": ROOT, "capture_output": True, "text": True, "check": False},
  )
  assert (done.returncode, done.stdout) == (2, "")
  assert done.stderr == "error: lost\n"
