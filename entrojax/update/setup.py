"""What all optimizer steps of an update share, and how they score a batch.

A Setup holds the arguments of make_update. A BatchSplit says how a rollout
batch of B rows is split into optimizer steps and micro-batches.
"""

from collections.abc import Mapping
from typing import NamedTuple

from jax.sharding import Mesh

from entrojax.objectives.chain import chain
from entrojax.objectives.reading import statistics_read
from entrojax.schedules import Scheduled, at
from entrojax.types import (
  Aggregation,
  Array,
  Batch,
  Model,
  Objective,
  Params,
  Statistic,
)
from entrojax.update.group_metrics import NOTHING, Measured
from entrojax.update.optimizer import Optimizer
from entrojax.update.scoring import score_in_microbatches


class BatchSplit(NamedTuple):
  """How a rollout batch is split into optimizer steps and micro-batches."""

  updates_per_rollout: int = 1  # optimizer steps on one rollout batch
  num_epochs: int = 1  # passes over the batch that these steps make together
  num_microbatches: int = 1  # parts of a mini-batch that are scored in turn
  # what is kept of all micro-batches for the backward pass, one of
  # models/kept.py's OF_MICROBATCHES; True: nothing
  rematerialise: bool | str = True
  # which rows batch statistics and selections are taken over. 'minibatch': all
  # rows of an optimizer step; 'micro': each micro-batch by itself, as in
  # released torch code
  scope: str = "minibatch"
  # shorter lengths of responses, ascending, in tokens: micro-batches have rows
  # of similar length and are scored up to the shortest of these that holds
  # them; (): all rows have their full length
  response_buckets: tuple[int, ...] = ()


ONE_STEP = BatchSplit()  # on all rows of the rollout batch at once


class Setup(NamedTuple):
  """The arguments of make_update, which all steps of an update share."""

  model: Model
  members: Mapping[str, Objective | Scheduled[Objective]]
  aggregate: Aggregation
  optimizer: Optimizer
  group_size: int = 1
  temperature: float = 1.0
  split: BatchSplit = ONE_STEP
  on_policy: bool = True
  mesh: Mesh | None = None
  measured: Measured = NOTHING

  @property
  def statistics(self) -> tuple[Statistic, ...]:
    """The statistics that the members of the chain have declared."""
    return statistics_read(
      chain(*(at(member, 0) for member in self.members.values()))
    )


class Scores(NamedTuple):
  """What the policy says of the tokens of a mini-batch."""

  log_probs: Array  # f32[B, T], nats
  entropy: Array  # f32[B, T], nats
  statistics: Mapping[Statistic, Array]  # under this policy, f32[B, T, ...]


def score_batch(
  setup: Setup,
  params: Params,
  batch: Batch,
  num_microbatches: int,
  statistics: tuple[Statistic, ...] = (),
) -> Scores:
  """Compute log-probs, entropies and statistics of the responses."""
  log_probs, entropy, *values = score_in_microbatches(
    setup.model,
    params,
    batch.tokens,
    batch.positions,
    response_length=batch.response_mask.shape[1],
    group_size=setup.group_size,
    temperature=setup.temperature,
    num_microbatches=num_microbatches,
    rematerialise=setup.split.rematerialise,
    response_buckets=tuple(setup.split.response_buckets),
    statistics=statistics,
    mesh=setup.mesh,
  )
  return Scores(log_probs, entropy, dict(zip(statistics, values, strict=True)))
