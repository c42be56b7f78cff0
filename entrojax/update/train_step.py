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
`restart` replaces the optimizer's state by a fresh one, for a new stage of a
curriculum, and keeps the parameters and the state of the entropy's controls.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import optax

from entrojax.advantages.rules import keep_mask, require_field
from entrojax.arguments import require_one_of
from entrojax.masking import scalar_metric
from entrojax.models.kept import OF_MICROBATCHES
from entrojax.objectives.chain import chain
from entrojax.objectives.reading import check_reads
from entrojax.schedules import Scheduled, fed
from entrojax.types import (
  Aggregation,
  Array,
  Batch,
  Metrics,
  Model,
  Objective,
  Params,
  Responses,
  Rollout,
  TrainState,
)
from entrojax.update.forward import (
  differentiate,
  entropy_cotangents,
  score_minibatch,
)
from entrojax.update.group_metrics import (
  NOTHING,
  Measured,
  distance_metrics,
  group_metrics,
)
from entrojax.update.minibatches import StepInputs, plan_steps
from entrojax.update.optimizer import Optimizer, keep_control
from entrojax.update.projection import projection_metrics
from entrojax.update.setup import ONE_STEP, BatchSplit, Setup
from entrojax.update.soundness import is_sound, step_soundness
from entrojax.update.step_metrics import (
  control_metrics,
  sampler_difference,
  step_scalars,
  token_metrics,
)

# (state, ref_params, batch, key) -> (state, metrics)
Update = Callable[..., tuple[TrainState, Metrics]]


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
  """Replace the optimizer's state by a fresh one.

  The parameters, the count of optimizer steps, and the states of the controller
  and of the projection stay. Their schedules therefore last a whole run, and a
  target that is a fraction of the start's entropy refers to the run's start.
  """
  return dataclasses.replace(
    state,
    opt_state=keep_control(state.opt_state, optimizer.init(state.params)),
  )


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
  require_one_of("training.rematerialise", split.rematerialise, OF_MICROBATCHES)
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
    loss, metrics, cotangents = differentiate(setup, forward, inputs.key)
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
      **fed(changing, step),
    }
    if optimizer.reads_entropy_gradient:
      scalars |= projection_metrics(opt_state)
    metrics |= token_metrics(tokens, sampled)
    metrics |= control_metrics(
      forward.controller.metrics(control_state, mean_entropy), mean_entropy
    )
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
