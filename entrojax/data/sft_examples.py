"""Read and encode examples for supervised fine-tuning, from tasks or files.

A task gives problems with responses to learn from: its traces if it has any,
otherwise right responses. A file (parquet, a JSON list or JSON lines) has a
column of prompts and a column of responses, both text: one response per row.

`encode` puts prompts into a template, adds an EOS to each response, and leaves
out responses that do not fit into a row. If a problem has more responses than
a limit, a random choice is kept. Each epoch then shows one of those that
were kept, chosen at random (packing.py).
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
  """A prompt and the responses to learn from, as text."""

  where: str  # the source of the pair, for error messages
  prompt: str
  responses: Sequence[str]  # () if none is known


class Encoded(NamedTuple):
  """Encoded examples, and the numbers of pairs that were left out."""

  examples: list[Example]
  too_long: int  # pairs without a response that fits into a row
  unanswered: int  # pairs without a response


def pairs_of_task(task: Task, label: str, split: str) -> Iterator[Pair]:
  """Yield the problems of a split with the responses to learn from.

  These are the task's traces, or its solutions if it has no traces.

  Args:
    task: the task.
    label: what error messages call the task.
    split: the name of one of the task's splits.

  Raises:
    ValueError: the task knows no right responses, or has no such split.
  """
  responses = task.traces or task.solutions
  if responses is None:
    raise ValueError(
      f"{label}: the task {task.name!r} knows no right responses to learn "
      "from; write a file of prompts and responses, and set sft.files to it"
    )
  for number, problem in enumerate(task.load(split)):
    yield Pair(f"{label}: row {number}", problem.prompt, responses(problem))


def pairs_of_file(
  path: Path, *, prompt_column: str, response_column: str
) -> Iterator[Pair]:
  """Yield the rows of a file.

  Args:
    path: the file.
    prompt_column: the name of the column of prompts.
    response_column: the name of the column of right responses.

  Raises:
    ValueError: a column is missing or a cell is not text. The message names
      file, row and column.
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
  """Encode pairs, with the tokenizer's first EOS at the end of each response.

  Args:
    pairs: the pairs as text.
    tokenizer: the tokenizer of the model.
    rng: chooses the responses; its state advances.
    template: turns a prompt into the text that the model reads.
    row_length: at most this many tokens fit into a row, prompt and response
      together. Longer responses are left out.
    max_responses: if a prompt has more responses than this, this many are
      chosen at random.

  Raises:
    ValueError: a text cannot be encoded, or a prompt has no token. The message
      names the source of the pair.
  """
  examples = []
  too_long = unanswered = 0
  for where, text, responses in pairs:
    try:
      prompt = tokenizer.encode_prompt(template(text))
      if len(responses) > max_responses:
        chosen = rng.choice(len(responses), max_responses, replace=False)
        responses = [responses[i] for i in chosen]
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
