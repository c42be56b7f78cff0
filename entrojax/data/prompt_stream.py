"""Problems to batches of prompts: endless, deterministic, resumable.

The stream is the concatenation of epochs; an epoch is a permutation of the
data set that depends on (seed, epoch) alone. So its only state is how many
prompts have been consumed, and a batch is a pure function of (seed, position).
A batch may cross the border of two epochs, and may then hold a row twice.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses

import numpy as np

from entrojax.data.tokenizer import Tokenizer
from entrojax.types import Problem, Prompts


def encode_prompts(
  problems: Sequence[Problem], tokenizer: Tokenizer, prompt_length: int
) -> Prompts:
  """Encodes prompts, padded on the left.

  Args:
    problems: Q problems.
    tokenizer: its pad_id fills the left.
    prompt_length: P, tokens of the prompt's bucket.

  Returns:
    tokens i32[Q, P], mask f32[Q, P], ids i32[Q] = 0..Q-1: numpy arrays.

  Raises:
    ValueError: a prompt is empty or longer than prompt_length.
  """
  if prompt_length < 1:
    raise ValueError(f"prompt_length={prompt_length} must be at least 1")
  shape = (len(problems), prompt_length)
  tokens = np.full(shape, tokenizer.pad_id, np.int32)
  mask = np.zeros(shape, np.float32)
  for row, problem in enumerate(problems):
    ids = tokenizer.encode_prompt(problem.prompt)
    if not 0 < len(ids) <= prompt_length:
      raise ValueError(
        f"the prompt of row {row} has {len(ids)} tokens, more than "
        f"rollout.prompt_length={prompt_length}: {problem.prompt[:80]!r}"
      )
    tokens[row, prompt_length - len(ids) :] = ids
    mask[row, prompt_length - len(ids) :] = 1
  return Prompts(tokens, mask, np.arange(len(problems), dtype=np.int32))


def shortest(prompts: Prompts, buckets: Sequence[int]) -> Prompts:
  """Returns prompts without the padding that all of them can do without.

  Args:
    prompts: numpy arrays, [Q, P].
    buckets: lengths below P, ascending, tokens; the graph is compiled for each
      that occurs.

  Returns:
    [Q, P'], P' the smallest bucket that the longest prompt fits into, else P.
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
  """Problems whose prompts are put into a template; made as they are read."""

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
  """An endless iterator of (Prompts, their problems), in batches of Q prompts.

  `Prompts.ids` are rows of the data set modulo its size, distinct within a
  batch. Every prompt is encoded at once, on construction, so that one that does
  not fit fails before the first step.
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
    """Makes the stream, at its start.

    Args:
      problems: the data set.
      tokenizer: encodes prompts.
      num_prompts: Q, prompts in a batch.
      prompt_length: P, tokens of the prompt's bucket.
      prompt_buckets: smaller P that a batch of short prompts has; see
        `shortest`.
      seed: of the order of prompts.
    """
    if len(problems) == 0:
      raise ValueError("the data set is empty")
    if num_prompts < 1:
      raise ValueError(f"num_prompts={num_prompts} must be at least 1")
    self._problems = problems
    self._prompts = encode_prompts(problems, tokenizer, prompt_length)
    self._num_prompts = num_prompts
    self._buckets = prompt_buckets
    self._seed = seed
    self._position = 0

  def __iter__(self) -> Iterator[tuple[Prompts, list[Problem]]]:
    return self

  def __next__(self) -> tuple[Prompts, list[Problem]]:
    """Returns the next Q prompts, as numpy arrays, and their problems."""
    rows = self._rows(self._position, self._position + self._num_prompts)
    self._position += self._num_prompts
    prompts = Prompts(
      self._prompts.tokens[rows],
      self._prompts.mask[rows],
      _distinct(rows, len(self._problems)),
    )
    prompts = shortest(prompts, self._buckets)
    return prompts, [self._problems[row] for row in rows]

  def state(self) -> dict[str, int]:
    """Returns all that a resumed stream needs: plain integers."""
    return {
      "position": self._position,  # prompts consumed
      "num_problems": len(self._problems),
      "seed": self._seed,
    }

  def restore(self, state: Mapping[str, int]) -> None:
    """Continues where the stream that gave `state` stood.

    Raises:
      ValueError: that stream had another data set or another seed.
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
    """Returns the rows at positions start <= position < stop of the stream."""
    size = len(self._problems)
    first_epoch = start // size
    orders = [
      np.random.default_rng([self._seed, epoch]).permutation(size)
      for epoch in range(first_epoch, (stop - 1) // size + 1)
    ]
    offset = first_epoch * size
    return np.concatenate(orders)[start - offset : stop - offset]


def _distinct(rows: np.ndarray, size: int) -> np.ndarray:
  """Returns ids i32[Q]: the row, and beyond the data set where it repeats.

  Two copies of a prompt in a batch would else get the same samples.
  """
  seen: Counter[int] = Counter()
  ids = []
  for row in rows.tolist():
    ids.append(row + size * seen[row])
    seen[row] += 1
  return np.array(ids, np.int32)
