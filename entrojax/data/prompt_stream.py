"""Encode prompts, and turn problems into an endless stream of batches of them.

`PromptStream` is deterministic and can be resumed. It is the concatenation of
epochs, each a permutation of the data set that depends only on (seed, epoch).
So its only state is its position, the number of prompts consumed, and a batch
of a given size is a pure function of (seed, position). A batch that crosses the
border of two epochs may hold a row of the data set more than once.

`encode_prompts` pads prompts on the left to a common length, and `shortest`
cuts off padding that a whole batch shares. Evaluations use them too.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import math

import numpy as np

from entrojax.arguments import require_at_least
from entrojax.data.tokenizer import Tokenizer
from entrojax.types import Problem, Prompts


def encode_prompts(
  problems: Sequence[Problem], tokenizer: Tokenizer, prompt_length: int
) -> Prompts:
  """Encode the prompts of problems, padded on the left.

  Args:
    problems: Q problems.
    tokenizer: encodes the prompts; its pad_id fills the left.
    prompt_length: P, the width of the arrays, tokens.

  Returns:
    tokens i32[Q, P], mask f32[Q, P], ids i32[Q] = 0..Q-1: numpy arrays.

  Raises:
    ValueError: a prompt cannot be encoded, is empty, or is longer than
      prompt_length; the message has its row.
  """
  require_at_least("rollout.prompt_length", prompt_length, 1)
  shape = (len(problems), prompt_length)
  tokens = np.full(shape, tokenizer.pad_id, np.int32)
  mask = np.zeros(shape, np.float32)
  encoded = _encode(problems, tokenizer)
  _check_lengths(problems, [len(ids) for ids in encoded], prompt_length)
  for row, ids in enumerate(encoded):
    tokens[row, prompt_length - len(ids) :] = ids
    mask[row, prompt_length - len(ids) :] = 1
  return Prompts(tokens, mask, np.arange(len(problems), dtype=np.int32))


def _encode(
  problems: Sequence[Problem], tokenizer: Tokenizer
) -> list[list[int]]:
  """Encode prompts; raise ValueError with the row of one that cannot be."""
  encoded = []
  for row, problem in enumerate(problems):
    try:
      encoded.append(tokenizer.encode_prompt(problem.prompt))
    except ValueError as error:
      raise ValueError(f"the prompt of row {row}: {error}") from error
  return encoded


def _check_lengths(
  problems: Sequence[Problem], lengths: Sequence[int], prompt_length: int
) -> None:
  """Raise ValueError if a prompt is empty or too long, with what would fit."""
  if 0 in lengths:
    row = lengths.index(0)
    raise ValueError(
      f"the prompt of row {row} has 0 tokens: {problems[row].prompt[:80]!r}"
    )
  too_long = sum(length > prompt_length for length in lengths)
  if too_long:
    longest = max(lengths)
    row = lengths.index(longest)
    # the length of a prompt, so that at least 99 % are not longer
    most = sorted(lengths)[math.ceil(0.99 * len(lengths)) - 1]
    raise ValueError(
      f"{too_long} of {len(lengths)} prompts have more than "
      f"rollout.prompt_length={prompt_length} tokens. The longest, row {row}, "
      f"has {longest}: {problems[row].prompt[:80]!r}. 99 % have at most "
      f"{most}. Raise rollout.prompt_length, or leave them out with "
      "prompt.too_long=drop"
    )


def fitting_rows(
  problems: Sequence[Problem], tokenizer: Tokenizer, prompt_length: int
) -> np.ndarray:
  """Return the rows i64[N] whose prompts have at most prompt_length tokens.

  Raises:
    ValueError: a prompt cannot be encoded; the message has its row.
  """
  lengths = [len(ids) for ids in _encode(problems, tokenizer)]
  return np.flatnonzero(np.array(lengths, np.int64) <= prompt_length)


def shortest(prompts: Prompts, buckets: Sequence[int]) -> Prompts:
  """Cut off padding that all prompts share, down to a bucket's length.

  Args:
    prompts: numpy arrays [Q, P].
    buckets: lengths below P, ascending, tokens. The model is compiled once for
      each length that occurs.

  Returns:
    The prompts as arrays [Q, P']. P' is the smallest bucket into which the
    longest prompt fits, or P if it fits into none.
  """
  longest = int(prompts.mask.sum(axis=1).max())
  for bucket in buckets:
    if longest <= bucket:
      return dataclasses.replace(
        prompts,
        tokens=prompts.tokens[:, -bucket:],
        mask=prompts.mask[:, -bucket:],
      )
  return prompts


class Templated(Sequence[Problem]):
  """Problems whose prompts are put into a template when they are read."""

  def __init__(
    self, problems: Sequence[Problem], template: Callable[[str], str]
  ):
    self._problems, self._template = problems, template

  def __len__(self) -> int:
    return len(self._problems)

  def __getitem__(self, row):
    if isinstance(row, slice):
      return [self[i] for i in range(len(self))[row]]
    problem = self._problems[row]
    return problem._replace(prompt=self._template(problem.prompt))


class PromptStream:
  """An endless iterator of batches: Q encoded prompts and their problems.

  `Prompts.ids` modulo the size of the data set are its rows. They are distinct
  within a batch. All prompts are encoded when the stream is created, so that a
  prompt that does not fit raises before the first step.
  """

  def __init__(
    self,
    problems: Sequence[Problem],
    *,
    tokenizer: Tokenizer,
    num_prompts: int,
    prompt_length: int,
    prompt_buckets: Sequence[int] = (),
    seed: int,
  ):
    """Create the stream at its start.

    Args:
      problems: the data set.
      tokenizer: encodes the prompts.
      num_prompts: Q, the number of prompts per batch.
      prompt_length: P, the width of a batch, tokens.
      prompt_buckets: smaller widths for batches of short prompts; see
        `shortest`.
      seed: decides the order of the prompts.

    Raises:
      ValueError: there is no problem, or a prompt does not fit.
    """
    if len(problems) == 0:
      raise ValueError("the data set is empty: there is no prompt to train on")
    require_at_least("rollout.num_prompts", num_prompts, 1)
    self._problems = problems
    self._prompts = encode_prompts(problems, tokenizer, prompt_length)
    self._num_prompts = num_prompts
    self._buckets = prompt_buckets
    self._seed = seed
    self._position = 0

  def __iter__(self) -> Iterator[tuple[Prompts, list[Problem]]]:
    return self

  def __next__(self) -> tuple[Prompts, list[Problem]]:
    """Return the next Q prompts, as numpy arrays, and their problems."""
    rows = self._rows(self._position, self._position + self._num_prompts)
    self._position += self._num_prompts
    prompts = Prompts(
      self._prompts.tokens[rows],
      self._prompts.mask[rows],
      _distinct_ids(rows, len(self._problems)),
    )
    prompts = shortest(prompts, self._buckets)
    return prompts, [self._problems[row] for row in rows]

  def state(self) -> dict[str, int]:
    """Return what a resumed stream needs, as plain integers."""
    return {
      "position": self._position,  # prompts consumed
      "num_problems": len(self._problems),
      "seed": self._seed,
    }

  def restore(self, state: Mapping[str, int]) -> None:
    """Resume where the stream that returned `state` stopped.

    Raises:
      ValueError: that stream had another number of problems or another seed.
    """
    own = self.state()
    for name in ("num_problems", "seed"):
      if state[name] != own[name]:
        raise ValueError(
          f"cannot resume: the stream was saved with {name}={state[name]} and "
          f"this one has {name}={own[name]}"
        )
    if state["position"] < 0:
      raise ValueError(f"position={state['position']} must not be negative")
    self._position = int(state["position"])

  def _rows(self, start: int, stop: int) -> np.ndarray:
    """Return the rows at positions start <= position < stop of the stream."""
    size = len(self._problems)
    first_epoch = start // size
    orders = [
      np.random.default_rng([self._seed, epoch]).permutation(size)
      for epoch in range(first_epoch, (stop - 1) // size + 1)
    ]
    offset = first_epoch * size
    return np.concatenate(orders)[start - offset : stop - offset]


def _distinct_ids(rows: np.ndarray, size: int) -> np.ndarray:
  """Return an id i32[Q] for each row: row + size * (its earlier copies).

  Samples depend on the id, so that two copies of a prompt in a batch would
  otherwise get the same samples.
  """
  copies: Counter[int] = Counter()
  ids = []
  for row in rows.tolist():
    ids.append(row + size * copies[row])
    copies[row] += 1
  return np.array(ids, np.int32)
