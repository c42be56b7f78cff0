"""Record an XProf trace of consecutive steps of a loop.

    with Profile(folder, steps=(3, 5)) as profile:
      for number in range(1, 10):
        with profile.step(number):
          ...

This records steps 3, 4 and 5 in one trace, and steps=None records nothing.
XProf and TensorBoard's profile plugin show the trace. The scopes named with
jax.named_scope appear in it. `check_profile` raises if a run does not have
these steps. `describe_missed` names the steps that a resumed run has taken
before.
"""

from collections.abc import Iterator
import contextlib
from pathlib import Path

import jax


class Profile:
  """A trace of the steps `first` to `last`, both included."""

  def __init__(self, folder: Path, steps: tuple[int, int] | None):
    """Prepare a trace; it starts with the first of the steps.

    Args:
      folder: where the trace is written.
      steps: (first, last), the numbers of the first and the last step to
        record; None: nothing is recorded.
    """
    self._folder, self._steps = folder, steps
    self._is_running = False

  @contextlib.contextmanager
  def step(self, number: int) -> Iterator[None]:
    """Trace the step that runs inside this context, if it is to be recorded.

    The step must wait for its work on the device, or the trace misses it.
    """
    first, last = self._steps or (0, -1)
    if not first <= number <= last:
      yield
      return
    if not self._is_running:
      jax.profiler.start_trace(self._folder)
      self._is_running = True
    with jax.profiler.StepTraceAnnotation("rollout_step", step_num=number):
      yield
    if number == last:
      self.stop()

  def stop(self) -> None:
    """Write the trace, if one is being recorded."""
    if self._is_running:
      self._is_running = False
      jax.profiler.stop_trace()

  def __enter__(self) -> "Profile":
    return self

  def __exit__(self, *_) -> None:
    self.stop()


def check_profile(steps: tuple[int, int] | None, num_steps: int) -> None:
  """Raise ValueError if these are not steps of the run.

  Args:
    steps: numbers (first, last) of the steps to record, from 1; or None.
    num_steps: the number of steps of the run.
  """
  if steps is None:
    return
  first, last = steps
  if not 1 <= first <= last <= num_steps:
    raise ValueError(
      f"--profile={first}:{last} must name rollout steps FIRST:LAST with "
      f"1 <= FIRST <= LAST <= num_rollout_steps = {num_steps}"
    )


def describe_missed(steps: tuple[int, int] | None, num_done: int) -> str:
  """Say which steps a resumed run does not record; "" if it records them all.

  Args:
    steps: numbers (first, last) of the steps to record, from 1; or None.
    num_done: the number of steps that the run has taken already.
  """
  if steps is None or steps[0] > num_done:
    return ""
  first, last = steps
  rest = "nothing" if last <= num_done else f"only {num_done + 1}:{last}"
  return (
    f"--profile={first}:{last}: the run resumes after rollout step {num_done}, "
    f"so {rest} is recorded now"
  )
