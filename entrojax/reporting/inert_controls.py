"""Report what each control does at the start of a run, and which do nothing.

A control is an advantage rule, a member of the objective chain, or the
projection of the optimizer's step. A setting that silently does nothing is the
field's most common complaint. The metrics of a rollout step hold how much a
control changed the gradient or the step. This file turns them into sentences
for the user: after the first rollout step of a process one for each control,
and after the tenth one for each control whose change has been exactly 0 so far.
A control for which the metrics hold no change, such as the baseline rule, is
passed over. If a change is not finite in the first step, its line reports that
it could not be measured.
"""

from collections.abc import Mapping, Sequence
import math
from typing import Any

PATIENCE = 10  # rollout steps after which a control without effect is named


class ControlEffects:
  """Watches the effect of each control in the first rollout steps.

  The rollout steps are counted from the start of the process.
  """

  def __init__(self, names: Sequence[str]):
    """Watch the controls with these names.

    Args:
      names: advantage rules, members of the objective chain, "projection".
    """
    self._names = tuple(names)
    self._steps = 0
    self._idle = set(names)

  def notes(self, metrics: Mapping[str, Any]) -> list[str]:
    """Return the messages to print after a rollout step; usually none.

    Args:
      metrics: name -> number, the metrics of the rollout step.
    """
    if self._steps >= PATIENCE:
      return []
    self._steps += 1
    changes = {
      name: change
      for name in self._names
      if (change := _change(name, metrics)) is not None
    }
    self._idle &= {name for name, change in changes.items() if change == 0}
    notes = []
    if self._steps == 1:
      notes = [_note(name, metrics, change) for name, change in changes.items()]
    if self._steps == PATIENCE:
      notes += [
        f"{name} has changed nothing in {PATIENCE} rollout steps"
        for name in self._names
        if name in self._idle
      ]
    return notes


def _change(name: str, metrics: Mapping[str, Any]) -> float | None:
  """Return the relative change of the gradient, or of a projected step.

  None if the metrics do not hold it.
  """
  for key in (f"{name}/gradient_change", f"{name}/relative_correction"):
    if key in metrics:
      return float(metrics[key])
  return None


def _note(name: str, metrics: Mapping[str, Any], change: float) -> str:
  if not math.isfinite(change):
    return f"{name}: its effect could not be measured in this step"
  if name == "projection":
    return f"{name} corrects the step by {change:.2%} of its size"
  touched = float(metrics.get(f"{name}/gradient_touched", math.nan))
  if not math.isfinite(touched):
    return f"{name}: no token counted in this step, so it had none to change"
  return (
    f"{name} changes the gradient of {touched:.2%} of tokens, by {change:.2%} "
    "of its norm"
  )
