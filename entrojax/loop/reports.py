"""Write the logs of a run, show its progress, and say what is noteworthy.

The logs are metrics.jsonl and the logs of other tools that writer.py knows. The
messages come from the alarms, the law of entropy and reward, and the controls
that have no effect. Only the first process of a run has reports.
"""

from collections.abc import Callable, Mapping
import contextlib
from pathlib import Path
from typing import Any

from entrojax.assembly.run import Run
from entrojax.loop.rollout_step import Position
from entrojax.reporting.alarms import Alarms
from entrojax.reporting.inert_controls import ControlEffects
from entrojax.reporting.live_law import LiveLaw
from entrojax.reporting.progress import Progress
from entrojax.reporting.token_logs import trim_tokens
from entrojax.reporting.writer import finite_numbers, open_writer
from entrojax.system.workdir import (
  EVALUATIONS_FILE,
  SAMPLES_FILE,
  trim_rows,
)

_MISMATCH = "rollout/log_prob_diff_max"


class Reports:
  """The logs of a run, its display, and what both say about it."""

  def __init__(
    self,
    run: Run,
    workdir: Path,
    config: Mapping[str, Any],
    start: Position,
    stack: contextlib.ExitStack,
    *,
    fresh: bool,
    owed: bool,
    stop: Callable[[str], None],
  ):
    """Open the logs, cut to where the run resumes, and the display.

    Args:
      run: the run.
      workdir: the run directory.
      config: the resolved config, nested.
      start: where the run starts or resumes.
      stack: closes the logs and the display when the run ends.
      fresh: whether the run starts rather than resumes.
      owed: whether it begins with an evaluation, whose rows are then removed.
      stop: ends the run after its current step; takes the reason.
    """
    log, self._stop = run.settings.log, stop
    self._writer = stack.enter_context(
      open_writer(
        workdir,
        resumed_rollout_step=-1 if fresh else start.rollout_step,
        wandb_project=log.wandb_project,
        config=config,
      )
    )
    self._progress = stack.enter_context(
      Progress(
        run.settings.num_rollout_steps,
        first_rollout_step=start.rollout_step,
        every=log.every,
        evaluate_every=run.settings.evaluation.every,
      )
    )
    for name in (EVALUATIONS_FILE, SAMPLES_FILE):
      trim_rows(workdir, name, start.rollout_step - owed)
    trim_tokens(workdir, start.rollout_step - owed)
    if run.recorded is not None:
      self._progress.note(run.recorded.summary())
    self._first_step = start.rollout_step + 1
    self._effects = ControlEffects(log.controls)
    self._law = LiveLaw(workdir, config)
    self._alarms = Alarms(workdir, run.settings.alarms)

  def write(self, metrics: Mapping[str, Any], at: Position) -> None:
    """Write and show the metrics of a step or an evaluation.

    Numbers that are not finite are shown as absent, and not written. If a log
    cannot be written, as on a full disk, the run continues with a warning.
    """
    shown, metrics = metrics, finite_numbers(metrics)
    if is_step(metrics):
      metrics = {
        **metrics,
        **self._law.metrics(metrics),
        **self._alarms.metrics(metrics),
      }
    else:
      self._law.add(metrics)
    try:
      self._writer.write(
        metrics, step=at.step, rollout_step=at.rollout_step, tokens=at.tokens
      )
    except OSError as error:
      self._progress.note(
        f"warning: the metrics of rollout step {at.rollout_step} could not be "
        f"written ({error}). The run continues and tries again"
      )
    self._progress.update(at.rollout_step, {**shown, **metrics})
    for note in self._notes(metrics, at):
      self._progress.note(note)
    if self._alarms.stop:
      self._stop(self._alarms.stop)

  @property
  def roll_back(self) -> str:
    """The alarm that demands a roll-back; "" if none does."""
    return self._alarms.roll_back

  def note(self, line: str) -> None:
    """Show a line."""
    self._progress.note(line)

  def _notes(self, metrics: Mapping[str, Any], at: Position) -> list[str]:
    """Return the messages to print after a step or an evaluation."""
    notes = []
    if at.rollout_step == self._first_step and _MISMATCH in metrics:
      notes.append(
        "sampler and trainer differ by at most "
        f"{metrics[_MISMATCH]:.1e} nats per token"
      )
    if at.rollout_step == self._first_step and metrics.get("actor/idle") == 1:
      notes.append(
        "the first step has learned nothing: no optimizer step had a gradient. "
        + _reason_for_idleness(metrics)
      )
    # a step without tokens has no entropy, and then no control has an effect
    if "actor/entropy" in metrics:
      notes += self._effects.notes(metrics)
    return notes + self._law.notes() + self._alarms.notes()


def is_step(metrics: Mapping[str, Any]) -> bool:
  """Return whether metrics belong to a step rather than an evaluation."""
  return "rollout/tokens" in metrics


def _reason_for_idleness(metrics: Mapping[str, Any]) -> str:
  """Say why a step had no gradient, as far as its metrics show."""
  equal = sum(
    metrics.get(f"critic/groups/{name}", 0.0)
    for name in ("all_right", "all_wrong")
  )
  if equal == 1:
    return (
      "All rewards of each group are equal; the mean reward is "
      f"{metrics['critic/rewards/mean']:.3g}"
    )
  if not metrics.get("critic/kept", 1.0):
    return "The advantage rules have left out every response"
  return "The objective does not depend on these rewards"
