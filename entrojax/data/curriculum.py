"""Divide the prompts into stages by semantic entropy: SENT's curriculum.

    order = argsort(SE),    stages = S equal parts of it, from low to high SE

arXiv 2512.04359. SE is the semantic entropy of the initial policy's answers to
a prompt, which is read from a table (prompt_table.py). `Stages` holds a prompt
stream for each stage, or a single one without a curriculum. A stage lasts a
given number of rollout steps, and the last one until the end of the run. Within
a stage each pass over its prompts has its own random order.

The train loop (rollout_step.py) starts each stage after the first from the
policy of the stage before, which also becomes the reference. Moments,
learning-rate schedule and controller start afresh.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from entrojax.data import prompt_table
from entrojax.data.prompt_stream import PromptStream


class Stages(NamedTuple):
  """Prompt streams, one for each curriculum stage; one without a curriculum."""

  streams: tuple[PromptStream, ...]
  length: int  # rollout steps per stage; the last stage lasts until the end

  def number(self, rollout_step: int) -> int:
    """Return the number of a rollout step's stage; both count from 0."""
    return min(rollout_step // self.length, len(self.streams) - 1)

  def first_step(self, rollout_step: int) -> int:
    """Return the first rollout step of the stage of a rollout step."""
    return self.number(rollout_step) * self.length

  def restarts(self, rollout_step: int) -> bool:
    """Return True if a stage after the first begins with this rollout step."""
    return rollout_step > 0 and rollout_step == self.first_step(rollout_step)

  def stream(self, rollout_step: int) -> PromptStream:
    """Return the prompt stream of a rollout step's stage."""
    return self.streams[self.number(rollout_step)]


def stage_rows(entropies: np.ndarray, num_stages: int) -> list[np.ndarray]:
  """Split the rows into stages from low to high semantic entropy.

  Args:
    entropies: f[N], semantic entropy of each row, nats; NaN if the table has
      none. Rows of equal entropy keep their order.
    num_stages: S. The first N mod S stages have one row more than the others.

  Returns:
    S arrays of row numbers, i64.

  Raises:
    ValueError: num_stages is below 1 or above N, or a row has no entropy.
  """
  if not 1 <= num_stages <= len(entropies):
    raise ValueError(
      f"curriculum.num_stages must lie in [1, {len(entropies)} prompts], got "
      f"{num_stages}"
    )
  missing = int(np.isnan(entropies).sum())
  if missing:
    raise ValueError(
      f"curriculum.table has no entropy for {missing} of the "
      f"{len(entropies)} training prompts: they were too long for the "
      "rollout.prompt_length that the table was made with. Make it again with "
      "the settings of this run"
    )
  return np.array_split(np.argsort(entropies, kind="stable"), num_stages)


def read_entropies(
  path: Path, task: Mapping[str, Any], problems: Sequence
) -> np.ndarray:
  """Read the semantic entropy of each problem from a table of prompts.

  Args:
    path: the table.
    task: the settings `task` of the run.
    problems: N problems, the training split of the run.

  Returns:
    f64[N], nats, in the order of the problems; NaN for a problem whose prompt
    was too long when the table was made.

  Raises:
    ValueError: the table cannot be read, or it was made for other problems.
  """
  table = prompt_table.read(path)
  table_task = table.settings.get("task", {})
  for leaf in ("name", "difficulty", "train_split", "data_dir"):
    if table_task.get(leaf) != task[leaf]:
      raise ValueError(
        f"curriculum.table {path} was made with task.{leaf} = "
        f"{table_task.get(leaf)!r}, the run has {task[leaf]!r}"
      )
  entropies = table.columns["semantic_entropy"]
  if len(entropies) != len(problems):
    raise ValueError(
      f"curriculum.table {path} has {len(entropies)} prompts, the training "
      f"split has {len(problems)}"
    )
  return entropies
