"""The display of a sweep: lines in a file, a table on a terminal."""

import io

from rich.console import Console

from entrojax.reporting.sweep_progress import SweepProgress

METRICS = {
  0: {
    "rollout_step": 4,
    "actor/entropy": 0.25,
    "val/countdown/pass@1": 0.5,
    "critic/rewards/mean": None,
  },
  1: {"rollout_step": 2},
}


class Clock:
  """A clock that a test sets, in seconds."""

  now = 0.0

  def __call__(self):
    return self.now


def make(*, terminal: bool, names=("a,seed=0", "b,seed=0", "c"), **options):
  """Return a display of units of 4 steps each, its console and its clock."""
  clock = Clock()
  console = Console(
    file=io.StringIO(),
    force_terminal=terminal,
    width=100,
    _environ={"TERM": "xterm" if terminal else "dumb"},
  )
  progress = SweepProgress(
    names,
    num_steps=[4] * len(names),
    latest=lambda place: METRICS.get(place, {}),
    console=console,
    clock=clock,
    **options,
  )
  return progress, console, clock


def test_a_file_gets_a_line_when_a_unit_begins_and_when_it_ends():
  progress, console, clock = make(terminal=False)
  with progress:
    progress.started(0)
    clock.now = 65.0
    progress.ended(0, "finished")
    progress.started(1)
    clock.now = 70.0
    progress.ended(1, "failed", "[bold] is not\na number")
    progress.note("a note")
  assert console.file.getvalue().splitlines() == [
    "[0/3] a,seed=0 begins",
    "[1/3] a,seed=0 finished after 0:01:05  entropy 0.25  reward –  pass@1 0.5",
    "[1/3] b,seed=0 begins",
    # markup and line ends of a message are shown, never obeyed
    "[2/3] b,seed=0 failed after 0:00:05: [bold] is not\\na number",
    "a note",
  ]


def test_a_terminal_gets_a_table_of_running_and_ended_units():
  progress, _, clock = make(terminal=True, jobs=2)
  progress.started(0)
  clock.now = 60.0
  progress.ended(0, "finished")
  progress.started(1)
  clock.now = 80.0
  shown = Console(file=io.StringIO(), width=100)
  shown.print(progress._render())
  *table, last = shown.file.getvalue().splitlines()
  assert [line.split() for line in table] == [
    ["unit", "state", "rollout", "entropy", "reward", "pass@1", "time"],
    ["a,seed=0", "finished", "4/4", "0.25", "–", "0.5", "0:01:00"],
    ["b,seed=0", "running", "2/4", "0:00:20"],
  ]
  # two units of 60 s each, less 20 s, two at once
  assert last == "1 running, 1 finished, 1 waiting; time left 0:00:50"


def test_the_time_left_is_estimated_from_the_finished_units():
  names = [str(number) for number in range(9)]
  progress, _, clock = make(terminal=False, names=names, jobs=2)
  assert progress._time_left() == "time left unknown"
  progress.started(0)
  clock.now = 10.0
  progress.ended(0, "finished")
  assert progress._time_left() == "time left 0:00:40"  # 8 of 10 s, two at once
  progress.started(1)
  clock.now = 12.0
  progress.ended(1, "failed")  # its 2 s say nothing about the others
  assert progress._time_left() == "time left 0:00:35"


def test_a_terminal_gets_a_line_for_a_failure_only():
  progress, console, _ = make(terminal=True)
  progress.started(0)
  progress.ended(0, "finished")
  assert console.file.getvalue() == ""
  progress.started(1)
  progress.ended(1, "failed", "no memory")
  assert "b,seed=0 failed after 0:00:00: no memory" in console.file.getvalue()
