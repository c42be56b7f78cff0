"""What supervised learning reads: problems with right responses, or files.

A file (parquet, a JSON list, lines of JSON) has a column of prompts and one of
responses, both text. A problem may have many right responses: an epoch shows
one of them, drawn at random.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from entrojax.data.packing import Example
from entrojax.data.tokenizer import Tokenizer
from entrojax.tasks import files
from entrojax.types import Task


class Pair(NamedTuple):
  """A prompt and its right responses, as text."""

  where: str  # they come from, for messages
  prompt: str
  responses: Sequence[str]  # () where none is known


class Encoded(NamedTuple):
  """Examples, and how many pairs made none."""

  examples: list[Example]
  too_long: int  # no response of theirs fits into a row
  unanswered: int  # no right response is known


def pairs_of_task(task: Task, label: str, split: str) -> Iterator[Pair]:
  """Yields the problems of a split with their right responses.

  Args:
    task: whose problems.
    label: of the task, for messages.
    split: of it.

  Raises:
    ValueError: the task knows no right responses, or has no such split.
  """
  if task.solutions is None:
    raise ValueError(
      f"{label}: the task {task.name!r} knows no right responses to learn "
      "from; write a file of prompts and responses"
    )
  for number, problem in enumerate(task.load(split)):
    yield Pair(
      f"{label}: row {number}", problem.prompt, task.solutions(problem)
    )


def pairs_of_file(
  path: Path, *, prompt_column: str, response_column: str
) -> Iterator[Pair]:
  """Yields the rows of a file.

  Raises:
    ValueError: a cell is not text; the message names file, row and column.
  """
  columns = (prompt_column, response_column)
  for number, row in files.rows(path, columns):
    for column in columns:
      if column not in row:
        raise ValueError(
          f"{path}: row {number} has no column {column!r}, only {sorted(row)}: "
          "set sft.prompt_column and sft.response_column"
        )
      if not isinstance(row[column], str):
        raise ValueError(
          f"{path}: row {number}: column {column!r} is {row[column]!r:.80}, "
          "not a text"
        )
    yield Pair(
      f"{path}: row {number}", row[prompt_column], (row[response_column],)
    )


def encode(
  pairs: Iterable[Pair],
  tokenizer: Tokenizer,
  rng: np.random.Generator,
  *,
  template: Callable[[str], str],
  row_length: int,
  max_responses: int,
) -> Encoded:
  """Encodes pairs, each response with the first EOS at its end.

  Args:
    pairs: to encode.
    tokenizer: of the model.
    rng: consumed.
    template: a prompt as the model is to read it.
    row_length: tokens, the most that prompt and response may have.
    max_responses: of a prompt; of more so many are drawn.

  Raises:
    ValueError: a text cannot be encoded, or a prompt has no token; the message
      names where it comes from.
  """
  examples = []
  too_long = unanswered = 0
  for where, text, responses in pairs:
    try:
      prompt = tokenizer.encode_prompt(template(text))
      if len(responses) > max_responses:
        drawn = rng.choice(len(responses), max_responses, replace=False)
        responses = [responses[i] for i in drawn]
      ids = [[*tokenizer.encode(r), tokenizer.eos_ids[0]] for r in responses]
    except ValueError as error:
      raise ValueError(f"{where}: {error}") from error
    if not prompt:
      raise ValueError(f"{where}: the prompt is empty")
    fitting = [r for r in ids if len(prompt) + len(r) <= row_length]
    if fitting:
      arrays = [np.array(r, np.int32) for r in fitting]
      examples.append(Example(np.array(prompt, np.int32), arrays))
    elif ids:
      too_long += 1
    else:
      unanswered += 1
  return Encoded(examples, too_long, unanswered)
