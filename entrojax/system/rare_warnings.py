"""Warn of a fault that can occur often: of the first, the tenth, and so on."""

import math
import warnings


class RareWarnings:
  """Counts faults, and warns of number 1, 10, 100, 1000, ..."""

  def __init__(self, kind: str):
    """Build the counter.

    Args:
      kind: what the faults are; a warning begins with it and the number.
    """
    self._kind = kind
    self._number = 0

  def __call__(self, text: str) -> None:
    """Count a fault that `text` describes; warn if it is its turn."""
    self._number += 1
    if math.log10(self._number).is_integer():
      message = f"{self._kind} number {self._number}: {text}"
      warnings.warn(message, stacklevel=3)
