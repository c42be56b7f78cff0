"""SENT's curriculum: prompts from low to high semantic entropy, in stages.

    order = argsort(SE),    stages = S equal parts of it

arXiv 2512.04359. SE is the initial policy's, from a table of prompts. A later
stage starts with the policy as it is, which from there on is the reference,
and with a fresh optimizer: moments, schedule and controller. Within a stage
the order is random, anew in each pass.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from entrojax.data import prompt_table
from entrojax.data.prompt_stream import PromptStream


class Stages(NamedTuple):
  """The streams of prompts of a run, one a stage; mostly there is one."""

  streams: tuple[PromptStream, ...]
  length: int  # rollout steps of a stage; the last one goes on

  def number(self, rollout_step: int) -> int:
    """Returns the stage, from 0, of a rollout step, from 0."""
    return min(rollout_step // self.length, len(self.streams) - 1)

  def first_step(self, rollout_step: int) -> int:
    """Returns the rollout step that its stage begins with."""
    return self.number(rollout_step) * self.length

  def restarts(self, rollout_step: int) -> bool:
    """Returns whether a later stage begins with this rollout step."""
    return rollout_step > 0 and rollout_step == self.first_step(rollout_step)

  def stream(self, rollout_step: int) -> PromptStream:
    """Returns the prompts of a rollout step's stage."""
    return self.streams[self.number(rollout_step)]


def stage_rows(entropies: np.ndarray, num_stages: int) -> list[np.ndarray]:
  """Returns the rows of each stage, from low to high entropy.

  Args:
    entropies: f[N], semantic entropy of each row, nats; of equal ones the
      first comes first.
    num_stages: S; the first N mod S stages have a row more.

  Raises:
    ValueError: there are more stages than rows, or none.
  """
  if not 1 <= num_stages <= len(entropies):
    raise ValueError(
      f"curriculum.num_stages must lie in [1, {len(entropies)} prompts], got "
      f"{num_stages}"
    )
  return np.array_split(np.argsort(entropies, kind="stable"), num_stages)


def read_entropies(
  path: Path, task: Mapping[str, Any], problems: Sequence
) -> np.ndarray:
  """Returns the semantic entropy of each problem from a table of prompts.

  Args:
    path: the table.
    task: settings of the run's task.
    problems: its training split.

  Raises:
    ValueError: the table cannot be read or is of other problems.
  """
  table = prompt_table.read(path)
  of_table = table.settings.get("task", {})
  for leaf in ("name", "difficulty", "train_split"):
    if of_table.get(leaf) != task[leaf]:
      raise ValueError(
        f"curriculum.table {path} was made with task.{leaf} = "
        f"{of_table.get(leaf)!r}, the run has {task[leaf]!r}"
      )
  entropies = table.columns["semantic_entropy"]
  if len(entropies) != len(problems):
    raise ValueError(
      f"curriculum.table {path} has {len(entropies)} prompts, the training "
      f"split has {len(problems)}"
    )
  return entropies
