"""Note the error that is about to end this process.

In a program of several processes, signs_of_life.py then tells the others. This
file does not import JAX, so that commands can use it before they need JAX.
"""

import time


class _Failure:
  """The error that ends this process.

  Attributes:
    text: what is wrong, one line; "" without an error.
    status: the exit status.
    noted_at: when it was noted, on time.monotonic's clock.
  """

  def __init__(self) -> None:
    self.text, self.status, self.noted_at = "", 0, 0.0

  def note(self, error: BaseException, status: int) -> None:
    """Note an error. The first one counts, and the last status.

    Args:
      error: the error.
      status: the exit status that it leads to.
    """
    if not self.text:
      text = " ".join(str(error).split()) or type(error).__name__
      self.text, self.noted_at = text, time.monotonic()
    self.status = status


failure = _Failure()
