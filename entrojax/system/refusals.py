"""Gather what independent checks refuse into one error.

    with gathered() as each:
      if each(check_numbers, config):
        each(check_batches, config)  # needs numbers that are right
      each(check_prompts, config)

A check raises ValueError, OSError, ImportError or RuntimeError for what it
refuses. The other checks run all the same. At the end of the block, a single
refusal is raised as it is, and several are raised as one RefusedError.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
from typing import Any, ParamSpec

_P = ParamSpec("_P")
REFUSALS = (ValueError, OSError, ImportError, RuntimeError)


class RefusedError(ValueError):
  """Several refusals; the message numbers theirs, one in each line."""

  def __init__(self, messages: Sequence[str]):
    super().__init__(numbered(messages))
    self.messages = tuple(messages)


class Refusals:
  """The refusals of several checks."""

  def __init__(self) -> None:
    self._errors: list[Exception] = []

  def __call__(
    self, check: Callable[_P, Any], *args: _P.args, **kwargs: _P.kwargs
  ) -> bool:
    """Run a check; return whether it passed.

    Args:
      check: raises one of the errors that this module names.
      *args: its arguments.
      **kwargs: its arguments by name.
    """
    try:
      check(*args, **kwargs)
    except REFUSALS as error:
      self._errors.append(error)
      return False
    except Exception:
      # a check may stumble over a value that an earlier check has refused
      if not self._errors:
        raise
      return False
    return True

  def add(self, error: Exception) -> None:
    """Add what was refused elsewhere."""
    self._errors.append(error)

  def raise_all(self) -> None:
    """Raise the refusals, if there are any; equal messages count once."""
    messages = dict.fromkeys(
      message for error in self._errors for message in messages_of(error)
    )
    if len(messages) > 1:
      raise RefusedError(list(messages))
    if self._errors:
      raise self._errors[0]


@contextlib.contextmanager
def gathered() -> Iterator[Refusals]:
  """Raise the refusals of all checks in the block at its end."""
  refusals = Refusals()
  yield refusals
  refusals.raise_all()


def messages_of(error: Exception) -> Sequence[str]:
  """Return the messages of an error: one for each refusal."""
  return error.messages if isinstance(error, RefusedError) else [str(error)]


def numbered(messages: Sequence[str]) -> str:
  """Format the messages of several refusals as a list."""
  lines = (f"  {i}. {text}" for i, text in enumerate(messages, start=1))
  return "\n".join([f"{len(messages)} settings are wrong:", *lines])
