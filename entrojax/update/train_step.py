"""Build the update: one graph from a rollout batch to new parameters.

    policy forward -> log-probs, entropy and declared statistics of all tokens
    -> coefficient of the controller -> objective -> aggregate -> loss
    -> backward -> optax chain (the controller's state advances in it)

This is one optimizer step, on the rows of one mini-batch. An update takes one
or several, over one or several epochs of the rollout batch, and scans them
inside the graph. If there is a reference model, it scores the whole rollout
batch once, before the first step. The policy itself does so too, if a member
reads statistics under the policy that sampled the batch. If no token of a
mini-batch counts in the loss, or a number is not finite (soundness.py),
parameters and optimizer state, with the controller's, stay as they are.

The sampler computed the old log-probs. Only if the policy itself sampled the
batch, the first step takes the policy's own, so that the ratio is exactly 1.

By default an objective sees the whole mini-batch, [B, T] at a time, even if it
is computed in micro-batches and on several devices:

1. The model's forward pass runs micro-batch by micro-batch.
2. The loss of the mini-batch is differentiated with respect to log-probs,
   entropies and statistics.
3. These cotangents go back through the same loop over micro-batches. By
   default it repeats the forward pass of each micro-batch, to save memory.

Batch statistics (means, quantiles, maxima, the controller's entropy) are
therefore exact for every method. With scope = "micro", the objective sees one
micro-batch at a time, as in released torch code.

`make_batch` builds the input of an update, and `init_state` the first state.
`restart` replaces the optimizer's and the controller's state by fresh ones and
keeps the parameters, for a new stage of a curriculum.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import optax

from entrojax.advantages.rules import keep_mask, require_field
from entrojax.arguments import require_one_of
from entrojax.masking import divide, masked_mean, scalar_metric
from entrojax.objectives.chain import chain
from entrojax.objectives.gradient_changes import Loss, gradient_changes
from entrojax.objectives.loss import loss_by_parts
from entrojax.objectives.reading import (
  check_reads,
  statistics_read,
  under_current_policy,
)
from entrojax.schedules import Scheduled, at, fed
from entrojax.system.sharding import split_rows
from entrojax.types import (
  Aggregation,
  Array,
  Batch,
  Controller,
  Mean,
  Metrics,
  Model,
  Objective,
  Params,
  Responses,
  Rollout,
  ScoredTokens,
  Statistic,
  TrainState,
)
from entrojax.update.group_metrics import (
  NOTHING,
  Measured,
  distance_metrics,
  group_metrics,
)
from entrojax.update.optimizer import Optimizer
from entrojax.update.projection import projection_metrics
from entrojax.update.scoring import score_in_microbatches
from entrojax.update.soundness import is_sound, step_soundness
from entrojax.update.step_metrics import (
  sampler_difference,
  step_scalars,
  token_metrics,
)

# (state, ref_params, batch, key) -> (state, metrics)
Update = Callable[..., tuple[TrainState, Metrics]]


class BatchSplit(NamedTuple):
  """How a rollout batch is split into optimizer steps and micro-batches."""

  updates_per_rollout: int = 1  # optimizer steps on one rollout batch
  num_epochs: int = 1  # passes over the batch that these steps make together
  num_microbatches: int = 1  # parts of a mini-batch that are scored in turn
  rematerialise: bool = True  # trade a second forward pass for the activations
  # which rows batch statistics and selections are taken over. 'minibatch': all
  # rows of an optimizer step; 'micro': each micro-batch by itself, as in
  # released torch code
  scope: str = "minibatch"


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


class StepInputs(NamedTuple):
  """What an optimizer step reads besides the state."""

  batch: Batch  # the mini-batch
  ref_log_probs: Array | None  # f32[B, T], nats; None without a reference
  # declared with `old`, under the policy before the update; empty if this is
  # its only step
  old_statistics: Mapping[Statistic, Array]
  rollout_entropy: Array  # f32[], nats, the rollout batch's mean of old_entropy
  first: Array  # bool[], whether the policy before this step sampled the batch
  key: Array  # for objectives that select tokens at random


class Forward(NamedTuple):
  """What a mini-batch is under the policy before a step."""

  members: Mapping[str, Objective]  # of the chain, as they are at this step
  controller: Controller  # as it is at this step
  scores: Scores
  transpose: Callable[[Scores], tuple[Params]]  # cotangents -> gradient
  tokens: ScoredTokens
  mean_entropy: Array  # f32[], nats
  coefficient: Array  # f32[parts], the controller's for each part


def make_batch(
  rollout: Rollout,
  responses: Responses,
  step_ok: Array | None = None,
  entropy_offset: Array | None = None,
) -> Batch:
  """Build the batch of an update from a rollout and its advantages.

  Args:
    rollout: B = Q * G rows.
    responses: Q groups; advantages and keep, [Q, G], are read.
    step_ok: f32[B, T], 1 = a token of a step that was judged right; None:
      steps were not judged.
    entropy_offset: f32[B], nats, what is added to the entropy that controls
      steer by; None: nothing.
  """
  mask = rollout.response_mask
  advantages = require_field(responses, "advantages", "an update")
  return Batch(
    tokens=rollout.tokens,
    positions=rollout.positions,
    response_mask=mask,
    keep=keep_mask(responses).reshape(-1),
    old_log_probs=rollout.log_probs,
    old_entropy=rollout.entropy,
    advantages=jnp.broadcast_to(advantages.reshape(-1, 1), mask.shape),
    step_ok=step_ok,
    entropy_offset=entropy_offset,
  )


def init_state(params: Params, optimizer: Optimizer) -> TrainState:
  """Build the state before the first update."""
  return TrainState(
    params=params, opt_state=optimizer.init(params), step=jnp.int32(0)
  )


def restart(state: TrainState, optimizer: Optimizer) -> TrainState:
  """Replace the optimizer's state by a fresh one, including the controller's.

  The parameters and the count of optimizer steps stay.
  """
  return dataclasses.replace(state, opt_state=optimizer.init(state.params))


def make_update(
  model: Model,
  members: Mapping[str, Objective | Scheduled[Objective]],
  aggregate: Aggregation,
  optimizer: Optimizer,
  *,
  group_size: int = 1,
  temperature: float = 1.0,
  split: BatchSplit = ONE_STEP,
  on_policy: bool = True,
  mesh: Mesh | None = None,
  measured: Measured = NOTHING,
) -> Update:
  """Build the function update(state, ref_params, batch, key).

  Args:
    model: the model of the policy and of the reference.
    members: the objectives to chain, by name and in order. The metrics say what
      each of them does to the gradient. If a member, the controller or the
      projection is scheduled, each optimizer step uses and reports its numbers
      at state.step.
    aggregate: reduces the losses of all tokens to one number.
    optimizer: takes the step. The coefficient of its controller enters the
      objective. The entropy is differentiated only if the optimizer reads its
      gradient; otherwise the graph has no pass for it.
    group_size: G; G neighbouring rows of a batch have the same prompt.
    temperature: the sampling temperature of the rollouts.
    split: how a batch is split into optimizer steps and micro-batches.
    on_policy: whether the policy, as it is before the call, sampled the batch.
      If another policy did, the batch holds the log-probs of that policy.
    mesh: the mesh that the rows of a mini-batch are split over; None for a
      single device.
    measured: what is measured by groups of tokens.

  Returns:
    A pure function (state, ref_params, batch, key) -> (state, metrics), to be
    jitted with `state` donated. `ref_params` may be None: the graph then has no
    reference. Metrics are sums and counts over the updates of the call.

  Raises:
    ValueError: there is no member, a member reads a statistic that there is
      not, or a setting of `split` cannot work.
  """
  if split.updates_per_rollout % split.num_epochs:
    raise ValueError(
      f"updates_per_rollout = {split.updates_per_rollout} is not a multiple of "
      f"num_epochs = {split.num_epochs}"
    )
  require_one_of("training.scope", split.scope, ("minibatch", "micro"))
  chain(*members.values())  # raises if there is no member
  check_reads(members, on_policy=on_policy)
  setup = Setup(
    model,
    members,
    aggregate,
    optimizer,
    group_size,
    temperature,
    split,
    on_policy,
    mesh,
    measured,
  )

  def update(state, ref_params, batch, key):
    return _all_steps(setup, state, ref_params, batch, key)

  return update


def _all_steps(
  setup: Setup,
  state: TrainState,
  ref_params: Params | None,
  batch: Batch,
  key: Array,
) -> tuple[TrainState, Metrics]:
  """Take all optimizer steps on a rollout batch; add up their metrics."""
  inputs_of, _ = plan_steps(setup, state, ref_params, batch, key)
  if setup.split.updates_per_rollout == 1:  # no state to carry
    return take_step(setup, state, inputs_of(jnp.int32(0)))
  state, metrics = jax.lax.scan(
    lambda state, i: take_step(setup, state, inputs_of(i)),
    state,
    jnp.arange(setup.split.updates_per_rollout),
  )
  return state, jax.tree.map(lambda x: jnp.sum(x, axis=0), metrics)


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
      ref_log_probs = _score(setup, ref_params, batch, num_parts).log_probs
  old_statistics: Mapping[Statistic, Array] = {}
  old = tuple(s for s in setup.statistics if s.old)
  if old and split.updates_per_rollout > 1:
    with jax.named_scope("old_statistics"):
      old_statistics = _score(
        setup, state.params, batch, num_parts, under_current_policy(old)
      ).statistics
  rollout_entropy = masked_mean(batch.old_entropy, batch.response_mask)
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


def _score(
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
    statistics=statistics,
    mesh=setup.mesh,
  )
  return Scores(log_probs, entropy, dict(zip(statistics, values, strict=True)))


def take_step(
  setup: Setup, state: TrainState, inputs: StepInputs
) -> tuple[TrainState, Metrics]:
  """Take one optimizer step on one mini-batch.

  Args:
    setup: the arguments that all steps share.
    state: the state before the step.
    inputs: the mini-batch, and what belongs to it.
  """
  optimizer, batch = setup.optimizer, inputs.batch
  changing = (*setup.members.values(), *optimizer.scheduled)
  sampled, control_state = batch.response_mask, state.opt_state["control"]
  forward = score_minibatch(setup, state, inputs)
  scores, tokens, mean_entropy = (
    forward.scores,
    forward.tokens,
    forward.mean_entropy,
  )
  with jax.named_scope("objective"):
    loss, metrics, cotangents = _differentiate(setup, forward, inputs.key)
  with jax.named_scope("backward"):
    signals: dict[str, Any] = {"entropy": mean_entropy}
    if optimizer.scheduled:
      signals["step"] = state.step
    (grads,) = forward.transpose(cotangents)
    if optimizer.reads_entropy_gradient:
      of_entropy = entropy_cotangents(scores, sampled)
      signals["entropy_grad"] = lambda: forward.transpose(of_entropy)[0]
  with jax.named_scope("optimizer"):
    updates, opt_state = optimizer.update(
      grads, state.opt_state, state.params, **signals
    )
    counted = jnp.sum(tokens.mask) > 0
    sound = is_sound(loss, grads, updates, optimizer.skip_grad_norm)
    step = state.step
    state = _advance(state, updates, opt_state, counted & sound)
  with jax.named_scope("metrics"):
    scalars = {
      **step_scalars(tokens, loss, cotangents.log_probs, grads, updates),
      **forward.controller.metrics(control_state, mean_entropy),
      **fed(changing, step),
    }
    if optimizer.reads_entropy_gradient:
      scalars |= projection_metrics(opt_state)
    metrics |= token_metrics(tokens, sampled)
    if setup.measured.distances:
      metrics |= distance_metrics(tokens, sampled)
    if setup.measured.every:
      metrics |= group_metrics(
        tokens,
        cotangents,
        forward.transpose,
        step,
        every=setup.measured.every,
      )
    if setup.on_policy:
      metrics |= sampler_difference(tokens, batch, inputs.first)
    metrics |= {name: scalar_metric(value) for name, value in scalars.items()}
  return state, {**metrics, **step_soundness(counted, sound, grads)}


def score_minibatch(
  setup: Setup, state: TrainState, inputs: StepInputs
) -> Forward:
  """Score a mini-batch under the policy before a step."""
  batch, optimizer = inputs.batch, setup.optimizer
  members = {name: at(m, state.step) for name, m in setup.members.items()}
  controller = at(optimizer.controller, state.step)
  with jax.named_scope("score"):
    scores, transpose = jax.vjp(
      lambda params: _score(
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
    (mean_entropy,) = _mean_entropies(scores.entropy, batch, 1)
    num_parts = _num_parts(setup.split)
    coefficient = jax.vmap(controller.coefficient, (None, 0))(
      state.opt_state["control"],
      _mean_entropies(scores.entropy, batch, num_parts),
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


def _mean_entropies(entropy: Array, batch: Batch, num_parts: int) -> Array:
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


def _differentiate(
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


def _advance(
  state: TrainState, updates: Params, opt_state: Any, taken: Array
) -> TrainState:
  """Apply the updates if the step is taken.

  It is not if no token counted in the loss, or if a number is not finite.
  Parameters and optimizer state then stay as they are. Momentum would otherwise
  move the parameters on a mini-batch without a learning signal. The count of
  steps advances in both cases.

  Args:
    state: the state before the step.
    updates: what the optimizer adds to the parameters.
    opt_state: the optimizer's state after the step.
    taken: bool[], whether the step is taken.
  """

  def where_taken(stepped: Any, before: Any) -> Any:
    return jax.tree.map(lambda s, b: jnp.where(taken, s, b), stepped, before)

  return TrainState(
    params=where_taken(
      optax.apply_updates(state.params, updates), state.params
    ),
    opt_state=where_taken(opt_state, state.opt_state),
    step=state.step + 1,
  )
