"""Score a mini-batch before an optimizer step, and differentiate the loss.

    policy forward -> log-probs, entropy and declared statistics f32[B, T]
    -> coefficient of the controller -> objective -> aggregate -> loss
    -> cotangents d loss / d (log-probs, entropy, statistics)

The cotangents go back through the forward pass in train_step.py.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from entrojax.masking import divide, masked_mean
from entrojax.objectives.chain import chain
from entrojax.objectives.gradient_changes import Loss, gradient_changes
from entrojax.objectives.loss import loss_by_parts
from entrojax.objectives.reading import under_current_policy
from entrojax.schedules import at
from entrojax.types import (
  Array,
  Batch,
  Controller,
  Mean,
  Metrics,
  Objective,
  Params,
  ScoredTokens,
  TrainState,
)
from entrojax.update.minibatches import StepInputs
from entrojax.update.setup import BatchSplit, Scores, Setup, score_batch


class Forward(NamedTuple):
  """What a mini-batch is under the policy before a step."""

  members: Mapping[str, Objective]  # of the chain, as they are at this step
  controller: Controller  # as it is at this step
  scores: Scores
  transpose: Callable[[Scores], tuple[Params]]  # cotangents -> gradient
  tokens: ScoredTokens
  mean_entropy: Array  # f32[], nats
  coefficient: Array  # f32[parts], the controller's for each part


def score_minibatch(
  setup: Setup, state: TrainState, inputs: StepInputs
) -> Forward:
  """Score a mini-batch under the policy before a step."""
  batch, optimizer = inputs.batch, setup.optimizer
  members = {name: at(m, state.step) for name, m in setup.members.items()}
  controller = at(optimizer.controller, state.step)
  with jax.named_scope("score"):
    scores, transpose = jax.vjp(
      lambda params: score_batch(
        setup,
        params,
        batch,
        setup.split.num_microbatches,
        under_current_policy(setup.statistics),
      ),
      state.params,
    )
  tokens = _scored_tokens(setup, inputs, scores)
  with jax.named_scope("objective"):
    (mean_entropy,) = mean_entropies(scores.entropy, batch, 1)
    num_parts = _num_parts(setup.split)
    coefficient = jax.vmap(controller.coefficient, (None, 0))(
      state.opt_state["control"],
      mean_entropies(scores.entropy, batch, num_parts),
    )
  return Forward(
    members, controller, scores, transpose, tokens, mean_entropy, coefficient
  )


def _num_parts(split: BatchSplit) -> int:
  """Count the parts of a mini-batch that have batch statistics of their own."""
  return split.num_microbatches if split.scope == "micro" else 1


def _scored_tokens(
  setup: Setup, inputs: StepInputs, scores: Scores
) -> ScoredTokens:
  """Collect everything that the objective may read.

  If the policy sampled the mini-batch (`inputs.first`), its own numbers replace
  the old ones, so that the ratio is exactly 1.
  """
  batch, first = inputs.batch, inputs.first
  log_probs, entropy, statistics = scores
  constant = jax.lax.stop_gradient
  old = {}
  for statistic in (s for s in setup.statistics if s.old):
    current = statistic._replace(old=False)
    value = constant(statistics[current])
    if current in inputs.old_statistics:
      value = jnp.where(first, value, inputs.old_statistics[current])
    old[statistic] = value
  return ScoredTokens(
    log_probs=log_probs,
    old_log_probs=jnp.where(first, constant(log_probs), batch.old_log_probs),
    entropy=entropy,
    old_entropy=jnp.where(first, constant(entropy), batch.old_entropy),
    advantages=batch.advantages,
    mask=batch.response_mask * batch.keep[:, None],
    ref_log_probs=inputs.ref_log_probs,
    step_ok=batch.step_ok,
    rollout_entropy=jnp.broadcast_to(
      inputs.rollout_entropy, batch.response_mask.shape
    ),
    statistics={**statistics, **old},
  )


def mean_entropies(entropy: Array, batch: Batch, num_parts: int) -> Array:
  """Compute the entropy that controls steer by, f32[parts], nats.

  It is the token-mean of each part of the rows, plus the batch's offset, and
  NaN where a part has no token.
  """
  entropy, mask = (
    x.reshape(num_parts, -1)
    for x in (jax.lax.stop_gradient(entropy), batch.response_mask)
  )
  mean = masked_mean(entropy, mask, axis=1)
  if batch.entropy_offset is not None:
    mean += jnp.max(batch.entropy_offset)  # all rows have the same
  return jnp.where(jnp.sum(mask, axis=1) > 0, mean, jnp.nan)


def differentiate(
  setup: Setup, forward: Forward, key: Array
) -> tuple[Array, dict[str, Mean], Scores]:
  """Differentiate the loss with respect to the policy's scores.

  Args:
    setup: the arguments that all steps share.
    forward: the mini-batch under the policy.
    key: the key for objectives that select tokens at random.

  Returns:
    The loss f32[], the metrics of the objective and of what each member does to
    the gradient, and the cotangents d loss / d scores.
  """
  loss_of, members = loss_function(setup, forward, key), forward.members
  changes = gradient_changes(
    members, loss_of, forward.scores, forward.tokens.mask
  )
  (loss, metrics), cotangents = jax.value_and_grad(
    loss_of, argnums=1, has_aux=True
  )(chain(*members.values()), forward.scores)
  return loss, {**changes, **metrics}, cotangents


def loss_function(setup: Setup, forward: Forward, key: Array) -> Loss:
  """Build the function (objective, scores) -> loss f32[] and metrics."""
  tokens = forward.tokens

  def loss_of(objective: Objective, scores: Scores) -> tuple[Array, Metrics]:
    return loss_by_parts(
      objective,
      setup.aggregate,
      dataclasses.replace(
        tokens,
        log_probs=scores.log_probs,
        entropy=scores.entropy,
        statistics={**tokens.statistics, **scores.statistics},
      ),
      coefficient=forward.coefficient,
      key=key,
    )

  return loss_of


def entropy_cotangents(scores: Scores, sampled: Array) -> Scores:
  """Compute d (token-mean entropy) / d scores, f32[B, T] each.

  The mean is over all sampled tokens, kept by the loss or not.
  """
  share = divide(sampled, jnp.sum(sampled))
  zeros = jax.tree.map(jnp.zeros_like, scores)
  return zeros._replace(entropy=share.astype(scores.entropy.dtype))
