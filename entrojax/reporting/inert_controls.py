"""Says at the start of a run what each control does, and which does nothing.

A setting that silently does nothing is the field's most common complaint. The
numbers are logged at every update; this puts the first ones before the user.
"""

from collections.abc import Mapping, Sequence
from typing import Any

PATIENCE = 10  # rollout steps after which a control without effect is named


class Effects:
  """Watches the metrics of the first rollout steps of a process."""

  def __init__(self, names: Sequence[str]):
    """Watches the controls `names`: advantage rules and chain members."""
    self._names = tuple(names)
    self._steps = 0
    self._idle = set(names)

  def notes(self, metrics: Mapping[str, Any]) -> list[str]:
    """Returns what there is to say after a rollout step, mostly nothing.

    Args:
      metrics: of the rollout step, by name.
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
      notes = [_line(name, metrics, change) for name, change in changes.items()]
    if self._steps == PATIENCE:
      notes += [
        f"{name} has changed nothing in {PATIENCE} rollout steps"
        for name in self._names
        if name in self._idle
      ]
    return notes


def _change(name: str, metrics: Mapping[str, Any]) -> float | None:
  """Returns the relative change of the gradient, or of a projected step."""
  for key in (f"{name}/gradient_change", f"{name}/relative_correction"):
    if key in metrics:
      return float(metrics[key])
  return None


def _line(name: str, metrics: Mapping[str, Any], change: float) -> str:
  if name == "projection":
    return f"{name} corrects the step by {change:.2%} of its size"
  touched = float(metrics[f"{name}/gradient_touched"])
  return (
    f"{name} changes the gradient of {touched:.2%} of tokens, by {change:.2%} "
    "of its norm"
  )
