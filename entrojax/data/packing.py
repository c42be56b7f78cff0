"""Pack examples into rows of fixed length, for supervised fine-tuning.

    row        p p p r r | p p r r r r | p r r . .
    position   0 1 2 3 4   0 1 2 3 4 5   0 1 2 -1 -1
    mask         0 0 1 1   0 0 1 1 1 1   0 1 1 0 0     [row_length - 1]

p is a token of a prompt, r a token of a response, and a dot is padding.
Positions restart with every example, and in the decoder a token attends only to
its own example. So the loss and its gradients are the same as if each example
were in a row of its own. A batch has the type of a policy update: every
advantage is 1, so that the policy gradient equals the gradient of the
cross-entropy. Only tokens of responses count.

The stream is endless, a concatenation of epochs. An epoch shows each example
once, with one of its responses. The order of the examples and the choice of
their responses depend only on (seed, epoch). A batch may hold the last rows of
an epoch and the first of the next.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import itertools
from typing import NamedTuple

import numpy as np

from entrojax.types import Array, Batch

_OPEN_ROWS = 16  # rows that wait for an example that fits


class Example(NamedTuple):
  """A prompt and its right responses, encoded."""

  prompt: Array  # i32[tokens], at least one token
  responses: Sequence[Array]  # at least one, each i32[tokens] with its EOS


def pack(
  lengths: Iterable[int], row_length: int, *, open_rows: int = _OPEN_ROWS
) -> Iterator[list[int]]:
  """Pack examples into rows.

  Each example goes into the fullest open row that has room for it. If no row
  has room, a new row is opened; if `open_rows` rows are open already, the
  fullest of them is closed first.

  Args:
    lengths: the length of each example, tokens, at most row_length.
    row_length: the length of a row, tokens.
    open_rows: at most this many rows are open at a time.

  Yields:
    The rows as they are closed, each a list of indices of examples.
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


def make_packed_batch(
  rows: Sequence[Sequence[tuple[Array, Array]]], row_length: int, pad_id: int
) -> Batch:
  """Lay out rows of examples as a batch of numpy arrays.

  Args:
    rows: B rows, each a list of examples (prompt, response) that fit into it.
    row_length: L, tokens. The batch has T = L - 1 tokens per response.
    pad_id: the token that fills a row after its last example.
  """
  shape = (len(rows), row_length)
  tokens = np.full(shape, pad_id, np.int32)
  positions = np.full(shape, -1, np.int32)
  in_response = np.zeros(shape, np.float32)
  for b, row in enumerate(rows):
    start = 0
    for prompt, response in row:
      middle = start + len(prompt)
      end = middle + len(response)
      tokens[b, start:middle], tokens[b, middle:end] = prompt, response
      positions[b, start:end] = np.arange(end - start)
      in_response[b, middle:end] = 1
      start = end
  mask = in_response[:, 1:]
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
    """Create the stream at its start.

    Args:
      examples: at least one; each fits into a row.
      num_rows: the number of rows per batch.
      row_length: the length of a row, tokens.
      pad_id: the token that fills a row after its last example.
      seed: decides the order of the examples and the choice of responses.
    """
    if not examples:
      raise ValueError("there is no example to pack")
    self._examples = examples
    self._num_rows, self._row_length = num_rows, row_length
    self._pad_id, self._seed = pad_id, seed
    self._epoch = self._row = 0  # _row counts the used rows of the epoch
    self._rest = self._rows(0)

  def __iter__(self) -> Iterator[Batch]:
    return self

  def __next__(self) -> Batch:
    """Return the next batch, as numpy arrays."""
    rows = [self._next_row() for _ in range(self._num_rows)]
    return make_packed_batch(rows, self._row_length, self._pad_id)

  def rows_of_first_epoch(self) -> tuple[int, float]:
    """Return the number of rows of an epoch, and the share of filled tokens."""
    rows = list(self._rows(0))
    tokens = sum(len(p) + len(r) for row in rows for p, r in row)
    return len(rows), tokens / (len(rows) * self._row_length)

  def state(self) -> dict[str, int]:
    """Return what a resumed stream needs, as plain integers."""
    return {
      "epoch": self._epoch,
      "row": self._row,
      "num_examples": len(self._examples),
      "seed": self._seed,
    }

  def restore(self, state: Mapping[str, int]) -> None:
    """Resume where the stream that returned `state` stopped.

    Raises:
      ValueError: that stream had another number of examples or another seed.
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
    """Yield the rows of an epoch, each a list of (prompt, response)."""
    rng = np.random.default_rng([self._seed, epoch])
    order = rng.permutation(len(self._examples)).tolist()
    choices = rng.random(len(order)).tolist()
    pairs = []
    for i, choice in zip(order, choices, strict=True):
      prompt, responses = self._examples[i]
      pairs.append((prompt, responses[int(choice * len(responses))]))
    lengths = [len(prompt) + len(response) for prompt, response in pairs]
    for row in pack(lengths, self._row_length):
      yield [pairs[i] for i in row]
