"""Examples packed into rows of fixed length, as supervised learning reads them.

    row        p p p r r | p p r r r r | p r r . .
    position   0 1 2 3 4   0 1 2 3 4 5   0 1 2 -1 -1
    mask         0 0 1 1   0 0 1 1 1 1   0 1 1 0 0     [row_length - 1]

Positions restart with every example, and the decoder lets no token see another
example than its own, so that a loss and its gradients are those of the examples
alone. A batch is the update's: responses with an advantage of 1, whose policy
gradient is that of the cross-entropy.

The stream is the concatenation of epochs. An epoch shows each example once, in
an order and with responses that depend on (seed, epoch) alone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import itertools
from typing import NamedTuple

import numpy as np

from entrojax.types import Array, Batch

_OPEN_ROWS = 16  # that wait for an example which fits


class Example(NamedTuple):
  """A prompt and what may follow it."""

  prompt: Array  # i32[tokens], at least one
  responses: Sequence[Array]  # i32[tokens] each, EOS included, at least one


def pack(
  lengths: Iterable[int], row_length: int, *, open_rows: int = _OPEN_ROWS
) -> Iterator[list[int]]:
  """Yields rows: numbers of examples whose lengths together fit into one.

  Each goes into the fullest open row that has room for it; if none has, the
  fullest row is closed, and another opened.

  Args:
    lengths: tokens of each example, at most row_length.
    row_length: tokens.
    open_rows: how many rows may be open at a time.
  """
  rows: list[list[int]] = []
  room: list[int] = []
  for i, length in enumerate(lengths):
    fitting = [r for r in range(len(rows)) if room[r] >= length]
    if fitting:
      row = min(fitting, key=room.__getitem__)
    else:
      if len(rows) == open_rows:
        fullest = room.index(min(room))
        room.pop(fullest)
        yield rows.pop(fullest)
      row = len(rows)
      rows.append([])
      room.append(row_length)
    rows[row].append(i)
    room[row] -= length
  yield from rows


def make_batch(
  rows: Sequence[Sequence[tuple[Array, Array]]], row_length: int, pad_id: int
) -> Batch:
  """Lays rows of (prompt, response) out, as numpy arrays.

  Args:
    rows: B rows of examples that fit into them.
    row_length: L; the batch's responses have T = L - 1 tokens.
    pad_id: fills a row after its last example.
  """
  shape = (len(rows), row_length)
  tokens = np.full(shape, pad_id, np.int32)
  positions = np.full(shape, -1, np.int32)
  counted = np.zeros(shape, np.float32)
  for b, row in enumerate(rows):
    start = 0
    for prompt, response in row:
      middle = start + len(prompt)
      end = middle + len(response)
      tokens[b, start:middle], tokens[b, middle:end] = prompt, response
      positions[b, start:end] = np.arange(end - start)
      counted[b, middle:end] = 1
      start = end
  mask = counted[:, 1:]
  return Batch(
    tokens=tokens,
    positions=positions,
    response_mask=mask,
    keep=np.ones(len(rows), np.float32),
    old_log_probs=np.zeros_like(mask),
    old_entropy=np.zeros_like(mask),
    advantages=np.ones_like(mask),
  )


class PackedStream:
  """An endless iterator of batches, deterministic and resumable."""

  def __init__(
    self,
    examples: Sequence[Example],
    *,
    num_rows: int,
    row_length: int,
    pad_id: int,
    seed: int,
  ):
    """Makes the stream, at its start.

    Args:
      examples: that fit into a row, at least one.
      num_rows: of a batch.
      row_length: tokens.
      pad_id: fills rows.
      seed: of the order and of the responses shown.
    """
    if not examples:
      raise ValueError("there is no example")
    self._examples = examples
    self._num_rows, self._row_length = num_rows, row_length
    self._pad_id, self._seed = pad_id, seed
    self._epoch = self._row = 0  # rows that the epoch has given
    self._rest = self._rows(0)

  def __iter__(self) -> Iterator[Batch]:
    return self

  def __next__(self) -> Batch:
    """Returns the next batch, as numpy arrays."""
    rows = [self._next_row() for _ in range(self._num_rows)]
    return make_batch(rows, self._row_length, self._pad_id)

  def rows_of_first_epoch(self) -> tuple[int, float]:
    """Returns how many rows they are, and the share of them that is filled."""
    rows = list(self._rows(0))
    tokens = sum(len(p) + len(r) for row in rows for p, r in row)
    return len(rows), tokens / (len(rows) * self._row_length)

  def state(self) -> dict[str, int]:
    """Returns all that a resumed stream needs: plain integers."""
    return {
      "epoch": self._epoch,
      "row": self._row,
      "num_examples": len(self._examples),
      "seed": self._seed,
    }

  def restore(self, state: Mapping[str, int]) -> None:
    """Continues where the stream that gave `state` stood.

    Raises:
      ValueError: that stream had other examples or another seed.
    """
    own = self.state()
    for name in ("num_examples", "seed"):
      if state[name] != own[name]:
        raise ValueError(
          f"cannot resume: the stream was saved with {name}={state[name]} and "
          f"this one has {name}={own[name]}"
        )
    self._epoch, self._row = int(state["epoch"]), int(state["row"])
    self._rest = itertools.islice(self._rows(self._epoch), self._row, None)

  def _next_row(self) -> list[tuple[Array, Array]]:
    row = next(self._rest, None)
    while row is None:
      self._epoch, self._row = self._epoch + 1, 0
      self._rest = self._rows(self._epoch)
      row = next(self._rest, None)
    self._row += 1
    return row

  def _rows(self, epoch: int) -> Iterator[list[tuple[Array, Array]]]:
    """Yields the rows of an epoch."""
    rng = np.random.default_rng([self._seed, epoch])
    order = rng.permutation(len(self._examples)).tolist()
    draws = rng.random(len(order)).tolist()
    shown = []
    for i, draw in zip(order, draws, strict=True):
      prompt, responses = self._examples[i]
      shown.append((prompt, responses[int(draw * len(responses))]))
    lengths = [len(prompt) + len(response) for prompt, response in shown]
    for row in pack(lengths, self._row_length):
      yield [shown[i] for i in row]
