"""Progress: a display for terminals, lines for logs, harmless text."""

import io
import math

import pytest
from rich.console import Console

from entrojax.reporting.progress import (
  Progress,
  duration,
  evaluation_text,
  sparkline,
)
from entrojax.system.terminal import harmless


class Clock:
  """A clock that a test sets."""

  def __init__(self):
    self.now = 0.0

  def __call__(self):
    return self.now


def plain(width=80):
  return Console(file=io.StringIO(), force_terminal=False, width=width)


def terminal(width):
  return Console(
    file=io.StringIO(),
    force_terminal=True,
    width=width,
    height=10,
    _environ={"TERM": "xterm"},
  )


METRICS = {
  "actor/entropy": 0.5123,
  "critic/rewards/mean": 0.25,
  "actor/pg_clipfrac": 0.01,
  "perf/tokens_per_second": 12345.6,
  "actor/entropy_histogram": [1, 2],
}


def test_a_log_gets_one_line_every_few_rollout_steps_and_the_last():
  console = plain()
  with Progress(7, every=3, console=console) as progress:
    for step in range(1, 8):
      progress.update(step, METRICS)
      progress.update(step, METRICS)  # a second optimizer step
  lines = console.file.getvalue().splitlines()
  assert [line.split()[1] for line in lines] == ["3/7", "6/7", "7/7"]
  assert "entropy 0.512  reward 0.25  clipped 0.01" in lines[0]
  assert "tokens/s 12,346" in lines[0]


def test_an_evaluation_has_a_line_of_its_own_and_pass_at_k_stands_in_no_other():
  console = plain()
  with Progress(9, every=1, console=console) as progress:
    progress.update(1, METRICS)
    progress.update(
      1,
      {"val/a/pass@1": 0.3, "val/a/pass@16": 1, "val/a/pass@4": 0.7}
      | {"val/a/pass@1_stderr": 0.1, "val/b:test\n/pass@1": 0.25},
    )
    progress.update(9, METRICS)
  step, evaluation, last = console.file.getvalue().splitlines()
  shown = (
    "rollout 1/9  a pass@1 0.3, pass@16 1  b:test\\n pass@1 0.25  time left"
  )
  assert evaluation.startswith(shown)
  assert "pass@" not in step + last


@pytest.mark.parametrize(
  ("reward", "shown"),
  [
    (0.65, "a mean reward 0.65, pass@1 0, pass@4 0"),
    (0.0, "a pass@1 0, pass@4 0"),
  ],
)
def test_the_mean_reward_is_shown_if_it_is_not_pass_at_1(reward, shown):
  metrics = {"val/a/reward": reward, "val/a/pass@1": 0, "val/a/pass@4": 0}
  assert evaluation_text(metrics) == shown


def test_a_terminal_shows_the_last_evaluation_with_its_step():
  console = terminal(100)
  with Progress(9, console=console) as progress:
    progress.update(2, {"val/a/pass@1": 0.3})
    progress.update(3, METRICS)
  assert "a pass@1 0.3  (rollout 2)" in console.file.getvalue()


def lines_of(clock, console, progress, *updates):
  """Make updates (seconds, step, metrics); return the lines printed."""
  with progress:
    for now, step, metrics in updates:
      clock.now = now
      progress.update(step, metrics)
  return console.file.getvalue().splitlines()


def test_the_time_left_comes_from_recent_steps_without_the_one_that_compiles():
  console, clock = plain(), Clock()
  progress = Progress(110, first_rollout_step=100, console=console, clock=clock)
  first, second, third, fourth = lines_of(
    clock,
    console,
    progress,
    (60, 101, METRICS),  # nothing else is known yet: 9 x 60 s
    (75, 102, METRICS),  # 8 x 15 s
    (90, 103, METRICS),  # 7 x 15 s
    (590, 104, METRICS),  # a pause does not change the median of 15, 15, 500
  )
  assert first.endswith("time left 0:09:00")
  assert second.endswith("time left 0:02:00")
  assert third.endswith("time left 0:01:45")
  assert fourth.endswith("time left 0:01:30")


def test_the_time_left_includes_the_evaluations_that_are_still_due():
  console, clock = plain(), Clock()
  progress = Progress(6, evaluate_every=3, console=console, clock=clock)
  lines = lines_of(
    clock,
    console,
    progress,
    (100, 0, {"val/a/pass@1": 0.3}),  # compiles
    (150, 1, METRICS),
    (160, 2, METRICS),  # 4 x 10 s, and evaluations at 3 and 6 of 100 s
    (170, 3, METRICS),
    (190, 3, {"val/a/pass@1": 0.3}),  # 3 x 10 s and one evaluation of 20 s
  )
  assert lines[2].endswith("time left 0:04:00")
  assert lines[4].endswith("time left 0:00:50")


def test_before_the_first_step_the_time_left_is_unknown():
  console = plain()
  with Progress(9, console=console) as progress:
    progress.update(0, {"val/countdown/pass@1": 0.3})
  line = console.file.getvalue()
  assert line == "rollout 0/9  countdown pass@1 0.3  time left unknown\n"


def test_a_number_that_is_absent_is_not_shown_as_nan():
  console = plain()
  with Progress(9, console=console, clock=Clock()) as progress:
    progress.update(1, METRICS | {"actor/entropy": math.nan})
  line = console.file.getvalue()
  assert "entropy n/a  reward 0.25" in line
  assert "nan" not in line


def test_each_plain_line_is_flushed():
  class Flushed(io.StringIO):
    flushed = 0

    def flush(self):
      self.flushed += 1

  file = Flushed()
  with Progress(2, console=Console(file=file, width=80)) as progress:
    progress.update(1, METRICS)
    assert file.flushed


@pytest.mark.parametrize("width", [1, 2, 9, 20, 200])
def test_a_terminal_of_any_width_shows_the_display(width):
  console = terminal(width)
  with Progress(3, console=console) as progress:
    progress.update(0, {})
    progress.update(1, METRICS | {"actor/entropy": math.nan})
    progress.update(3, METRICS)
    progress.note("a sample")
  assert console.file.getvalue()


def test_a_terminal_shows_the_scalars_and_the_sparkline():
  console = terminal(100)
  with Progress(3, console=console) as progress:
    progress.update(1, METRICS)
    progress.update(2, METRICS | {"actor/entropy": 0.1})
  *_, head, bar, scalars, entropy = console.file.getvalue().splitlines()[-5:-1]
  assert "rollout 2/3" in head
  assert "━" in bar
  assert "entropy 0.1  reward 0.25  clipped 0.01  tokens/s 12,346" in scalars
  assert "entropy █▁" in entropy


def test_a_note_shows_markup_and_control_characters_instead_of_obeying_them():
  console = plain(width=30)
  text = "[bold]x[/bold] [/nothing] \x1b[2Jgone\r\n" + "y" * 40
  Progress(1, console=console).note(text)
  assert console.file.getvalue() == (
    "[bold]x[/bold] [/nothing] \\x1b[2Jgone\\r\\n" + "y" * 40 + "\n"
  )


def test_harmless_text_keeps_letters_of_any_language():
  assert harmless("é 数 π\t\udcff") == "é 数 π\\t\\udcff"


def test_a_sparkline_spans_lowest_to_highest():
  assert sparkline([0.0, 0.5, 1.0], 10) == "▁▅█"
  assert sparkline([2.0, 2.0], 10) == "▁▁"
  assert sparkline([], 10) == ""


def test_a_sparkline_averages_what_does_not_fit_and_leaves_nan_blank():
  # the stretches are (0, 2), (nan, nan) and (8, 8): means 1, none, 8
  nan = math.nan
  assert sparkline([0.0, 2.0, nan, nan, 8.0, 8.0], 3) == "▁ █"


def test_a_duration_is_hours_minutes_seconds():
  assert duration(3723.4) == "1:02:03"


def test_lines_cannot_be_printed_every_zero_steps():
  with pytest.raises(ValueError, match=r"log\.every must be at least 1, got 0"):
    Progress(1, every=0)
