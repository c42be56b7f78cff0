"""Plan the optimizer steps of an update: which rows each of them reads.

Each epoch shuffles the groups of the rollout batch. Before the first step, the
reference scores the whole batch if there is one, and so does the policy if a
member reads statistics under the policy that sampled the batch.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from entrojax.masking import masked_mean
from entrojax.objectives.reading import under_current_policy
from entrojax.system.sharding import split_rows
from entrojax.types import Array, Batch, Params, Statistic, TrainState
from entrojax.update.setup import Setup, score_batch


class StepInputs(NamedTuple):
  """What an optimizer step reads besides the state."""

  batch: Batch  # the mini-batch
  ref_log_probs: Array | None  # f32[B, T], nats; None without a reference
  # declared with `old`, under the policy before the update; empty if this is
  # its only step
  old_statistics: Mapping[Statistic, Array]
  # f32[], nats, the rollout batch's mean of old_entropy, plus its offset
  rollout_entropy: Array
  first: Array  # bool[], whether the policy before this step sampled the batch
  key: Array  # for objectives that select tokens at random


def plan_steps(
  setup: Setup,
  state: TrainState,
  ref_params: Params | None,
  batch: Batch,
  key: Array,
) -> tuple[Callable[[Array], StepInputs], Callable[[Array], Any]]:
  """Plan the optimizer steps on a rollout batch.

  Args:
    setup: the arguments that all steps share.
    state: the state before the first step.
    ref_params: the reference's parameters; None without a reference.
    batch: the rollout batch.
    key: the key of the update.

  Returns:
    A function from the number of a step, i32[], to what the step reads.
    A function from the number of a step to the row numbers of its mini-batch,
    i32[rows]; it returns None if the update has only one step.
  """
  split = setup.split
  num_parts = (
    split.num_microbatches * split.updates_per_rollout // split.num_epochs
  )
  ref_log_probs = None
  if ref_params is not None:
    with jax.named_scope("reference"):
      ref_log_probs = score_batch(setup, ref_params, batch, num_parts).log_probs
  old_statistics: Mapping[Statistic, Array] = {}
  old = tuple(s for s in setup.statistics if s.old)
  if old and split.updates_per_rollout > 1:
    with jax.named_scope("old_statistics"):
      old_statistics = score_batch(
        setup, state.params, batch, num_parts, under_current_policy(old)
      ).statistics
  rollout_entropy = masked_mean(batch.old_entropy, batch.response_mask)
  if batch.entropy_offset is not None:
    # members steer by the entropy that controls see; all rows have one offset
    rollout_entropy += jnp.max(batch.entropy_offset)
  shuffle_key, step_key = jax.random.split(key)
  shared, rows = (batch, ref_log_probs, old_statistics), None
  if split.updates_per_rollout > 1:  # otherwise there are no rows to gather
    rows = _minibatch_rows(
      shuffle_key,
      batch.tokens.shape[0],
      setup.group_size,
      split.updates_per_rollout,
      split.num_epochs,
    )

  def rows_of(i: Array) -> Array | None:
    return None if rows is None else rows[i]

  def inputs_of(i: Array) -> StepInputs:
    parts = shared
    if rows is not None:
      parts = jax.tree.map(lambda x: x[rows[i]], shared)
    minibatch, reference, statistics = split_rows(parts, setup.mesh)
    return StepInputs(
      minibatch,
      reference,
      statistics,
      rollout_entropy,
      first=(i == 0) & setup.on_policy,
      key=jax.random.fold_in(step_key, i),
    )

  return inputs_of, rows_of


def _minibatch_rows(
  key: Array,
  num_rows: int,
  group_size: int,
  num_updates: int,
  num_epochs: int,
) -> Array:
  """Draw the rows of each mini-batch, i32[updates, rows of a mini-batch].

  Every epoch shuffles the groups; the rows of a group stay together.
  """
  groups = jnp.arange(num_rows).reshape(-1, group_size)
  keys = jax.random.split(key, num_epochs)
  orders = jax.vmap(lambda k: jax.random.permutation(k, groups))(keys)
  return orders.reshape(num_updates, -1)
