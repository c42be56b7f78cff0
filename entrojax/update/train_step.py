"""The update: one graph from a rollout batch to new parameters.

    policy forward -> log-probs and entropy of the whole mini-batch
    -> coefficient of the controller -> objective -> aggregate -> loss
    -> backward -> optax chain (the controller's state advances in it)

Mini-batches and epochs are scanned inside the graph. An objective sees its
mini-batch whole, [B, T] at a time, however many micro-batches and devices
computed it: the model's forward pass runs micro-batch by micro-batch, the loss
is differentiated with respect to log-probs and entropies, and those cotangents
go back through the same loop. Batch statistics (means, quantiles, maxima, the
controller's entropy) are therefore exact for every method.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import optax

from entrojax.advantages.rules import keep_mask, require_field
from entrojax.entropy.covariance import (
  covariance_metrics,
  predicted_entropy_change,
)
from entrojax.masking import (
  clean,
  divide,
  masked_mean,
  mean_metric,
  scalar_metric,
)
from entrojax.metrics import entropy_histogram
from entrojax.objectives.gradient_changes import gradient_changes
from entrojax.objectives.loss import loss_by_parts
from entrojax.system.sharding import split_rows
from entrojax.types import (
  Aggregation,
  Array,
  Batch,
  Controller,
  Mean,
  Model,
  Objective,
  Params,
  Responses,
  Rollout,
  ScoredTokens,
  TrainState,
)
from entrojax.update.projection import projection_metrics
from entrojax.update.scoring import score_in_microbatches

Update = Callable[..., tuple[TrainState, Mapping[str, Mean]]]


def make_batch(
  rollout: Rollout, responses: Responses, step_ok: Array | None = None
) -> Batch:
  """Returns a rollout with the advantages and keep of its responses."""
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
  )


def init_state(
  params: Params, optimizer: optax.GradientTransformationExtraArgs
) -> TrainState:
  """Returns the state before the first update."""
  return TrainState(
    params=params, opt_state=optimizer.init(params), step=jnp.int32(0)
  )


def restart(
  state: TrainState, optimizer: optax.GradientTransformationExtraArgs
) -> TrainState:
  """Returns the state with a fresh optimizer, controller included."""
  return dataclasses.replace(state, opt_state=optimizer.init(state.params))


def make_update(
  model: Model,
  objective: Objective,
  aggregate: Aggregation,
  controller: Controller,
  optimizer: optax.GradientTransformationExtraArgs,
  *,
  group_size: int = 1,
  temperature: float = 1.0,
  updates_per_rollout: int = 1,
  num_epochs: int = 1,
  num_microbatches: int = 1,
  rematerialise: bool = True,
  scope: str = "minibatch",
  members: Mapping[str, Objective] | None = None,
  entropy_gradient: bool = False,
  on_policy: bool = True,
  mesh: Mesh | None = None,
) -> Update:
  """Makes update(state, ref_params, batch, key) -> (state, metrics).

  Args:
    model: policy and reference.
    objective: what to minimise.
    aggregate: how token losses become one number.
    controller: its coefficient enters the objective, its transform is the
      optimizer's 'control'.
    optimizer: from make_optimizer, with the same controller.
    group_size: G; each run of G rows of a batch has one prompt.
    temperature: the sampling temperature of the rollouts.
    updates_per_rollout: optimizer steps of one call.
    num_epochs: passes over the batch that those steps make together.
    num_microbatches: parts of a mini-batch whose activations exist in turn.
    rematerialise: trade a second forward pass for their memory.
    scope: of batch statistics and selections. "minibatch": all rows of an
      optimizer step, whatever their split; "micro": each micro-batch by
      itself, as in released torch code.
    members: of the chain that `objective` is, by name; the metrics then say
      what each does to the gradient.
    entropy_gradient: differentiate the mini-batch's entropy as well, for an
      optimizer with an entropy_projection in it; off, no pass for it is made.
    on_policy: the policy, as it is before the call, sampled the batch; if not,
      another did, whose numbers are the batch's.
    mesh: over whose rows mini-batches are split; None for a single device.

  Returns:
    A pure function to jit, with `state` donated. `ref_params` may be None:
    the reference is then not in the graph. Metrics are sums and counts over
    the updates of the call.
  """
  if updates_per_rollout % num_epochs:
    raise ValueError(
      f"updates_per_rollout = {updates_per_rollout} is not a multiple of "
      f"num_epochs = {num_epochs}"
    )
  if scope not in ("minibatch", "micro"):
    raise ValueError(
      f"training.scope must be 'minibatch' or 'micro', got {scope!r}"
    )
  parts = num_microbatches if scope == "micro" else 1

  def scores(params, batch, microbatches):
    return score_in_microbatches(
      model,
      params,
      batch.tokens,
      batch.positions,
      response_length=batch.response_mask.shape[1],
      group_size=group_size,
      temperature=temperature,
      num_microbatches=microbatches,
      rematerialise=rematerialise,
      mesh=mesh,
    )

  def step(state, batch, ref_log_probs, first, key):
    """One optimizer step on one mini-batch."""
    (log_probs, entropy), transpose = jax.vjp(
      lambda params: scores(params, batch, num_microbatches), state.params
    )
    tokens = _scored(batch, log_probs, entropy, ref_log_probs, first)
    (mean_entropy,) = _mean_entropies(entropy, batch.response_mask, 1)
    control_state = state.opt_state["control"]

    coefficient = jax.vmap(controller.coefficient, (None, 0))(
      control_state, _mean_entropies(entropy, batch.response_mask, parts)
    )

    def loss_of(objective, log_probs, entropy):
      return loss_by_parts(
        objective,
        aggregate,
        dataclasses.replace(tokens, log_probs=log_probs, entropy=entropy),
        coefficient=coefficient,
        key=key,
      )

    changes = gradient_changes(members or {}, loss_of, tokens)
    (loss, metrics), cotangents = jax.value_and_grad(
      loss_of, argnums=(1, 2), has_aux=True
    )(objective, log_probs, entropy)
    signals = {"entropy": mean_entropy}
    if entropy_gradient:
      grads, signals["entropy_grad"] = _two_gradients(
        transpose, cotangents, _entropy_cotangents(tokens, batch.response_mask)
      )
    else:
      (grads,) = transpose(cotangents)
    updates, opt_state = optimizer.update(
      grads, state.opt_state, state.params, **signals
    )
    counted = jnp.sum(tokens.mask) > 0
    state = TrainState(
      params=_where(
        counted, optax.apply_updates(state.params, updates), state.params
      ),
      opt_state=_where(counted, opt_state, state.opt_state),
      step=state.step + 1,
    )
    # what weighs each token's log-prob, whatever the method did to A
    weighted = -jnp.sum(tokens.mask) * cotangents[0]
    scalars = {
      "actor/loss": loss,
      "covariance/predicted_change_weighted": predicted_entropy_change(
        tokens.log_probs, weighted, tokens.mask
      ),
      "actor/grad_norm": optax.global_norm(grads),
      "actor/update_norm": optax.global_norm(updates),
      **controller.metrics(control_state, mean_entropy),
      **(projection_metrics(opt_state) if entropy_gradient else {}),
    }
    return state, {
      **changes,
      **metrics,
      **_token_metrics(tokens, batch.response_mask),
      **(_sampler_difference(tokens, batch, first) if on_policy else {}),
      **{name: scalar_metric(value) for name, value in scalars.items()},
    }

  def update(state, ref_params, batch, key):
    ref_log_probs = None
    if ref_params is not None:
      ref_log_probs, _ = scores(
        ref_params, batch, num_microbatches * updates_per_rollout // num_epochs
      )
    shuffle_key, step_key = jax.random.split(key)

    def one(state, i, minibatch, ref):
      first = (i == 0) & on_policy
      minibatch, ref = split_rows((minibatch, ref), mesh)
      return step(state, minibatch, ref, first, jax.random.fold_in(step_key, i))

    if updates_per_rollout == 1:  # no row to gather, no state to carry
      return one(state, jnp.int32(0), batch, ref_log_probs)
    rows = _minibatch_rows(
      shuffle_key,
      batch.tokens.shape[0],
      group_size,
      updates_per_rollout,
      num_epochs,
    )
    state, metrics = jax.lax.scan(
      lambda state, i: one(
        state, i, *jax.tree.map(lambda x: x[rows[i]], (batch, ref_log_probs))
      ),
      state,
      jnp.arange(updates_per_rollout),
    )
    return state, jax.tree.map(lambda x: jnp.sum(x, axis=0), metrics)

  return update


def _minibatch_rows(
  key: Array,
  num_rows: int,
  group_size: int,
  num_updates: int,
  num_epochs: int,
) -> Array:
  """Returns i32[updates, rows of a mini-batch]: each epoch shuffles groups."""
  groups = jnp.arange(num_rows).reshape(-1, group_size)
  keys = jax.random.split(key, num_epochs)
  orders = jax.vmap(lambda k: jax.random.permutation(k, groups))(keys)
  return orders.reshape(num_updates, -1)


def _scored(
  batch: Batch,
  log_probs: Array,
  entropy: Array,
  ref_log_probs: Array | None,
  first: Array,
) -> ScoredTokens:
  """Returns what the objective sees.

  Where the policy is the sampling policy (`first`) its own numbers stand for
  the old ones, so that the ratio is exactly 1 there.
  """
  own = jax.lax.stop_gradient
  return ScoredTokens(
    log_probs=log_probs,
    old_log_probs=jnp.where(first, own(log_probs), batch.old_log_probs),
    entropy=entropy,
    old_entropy=jnp.where(first, own(entropy), batch.old_entropy),
    advantages=batch.advantages,
    mask=batch.response_mask * batch.keep[:, None],
    ref_log_probs=ref_log_probs,
    step_ok=batch.step_ok,
  )


def _where(counted: Array, stepped: Any, before: Any) -> Any:
  """Returns the tree `stepped`, or `before` if no token counted in the loss.

  Momentum would else move the parameters on a mini-batch that says nothing.
  """
  return jax.tree.map(lambda s, b: jnp.where(counted, s, b), stepped, before)


def _mean_entropies(entropy: Array, mask: Array, parts: int) -> Array:
  """Returns the token-mean entropy of each run of rows, nats, f32[parts].

  NaN where there is no token.
  """
  entropy, mask = (
    x.reshape(parts, -1) for x in (jax.lax.stop_gradient(entropy), mask)
  )
  mean = masked_mean(entropy, mask, axis=1)
  return jnp.where(jnp.sum(mask, axis=1) > 0, mean, jnp.nan)


def _entropy_cotangents(
  tokens: ScoredTokens, sampled: Array
) -> tuple[Array, Array]:
  """Returns d (token-mean entropy) / d log_probs and / d entropy."""
  share = divide(sampled, jnp.sum(sampled))
  return jnp.zeros_like(tokens.log_probs), share.astype(tokens.entropy.dtype)


def _two_gradients(
  transpose: Callable[..., tuple[Params]], first: Any, second: Any
) -> tuple[Params, Params]:
  """Returns the gradients of two cotangents, in one pass over both.

  Where micro-batches are rematerialised, each pass runs the forward pass
  again: two passes cost 7 forward passes in all, this one 6. By XLA's account,
  for a micro-batch of 16 rows of 4 layers of 128 units: 2.29 and 1.97 GFLOP,
  20.1 and 18.5 MB of temporaries. Otherwise both cost the same.
  """
  stacked = jax.tree.map(lambda *x: jnp.stack(x), first, second)
  (grads,) = jax.vmap(transpose)(stacked)
  return tuple(jax.tree.map(lambda x, i=i: x[i], grads) for i in range(2))


def _sampler_difference(
  tokens: ScoredTokens, batch: Batch, first: Array
) -> Mapping[str, Mean]:
  """Returns how far sampler and trainer are apart on the same parameters.

  Only the first update of a rollout batch can tell.
  """
  difference = clean(
    jnp.abs(tokens.log_probs - batch.old_log_probs), batch.response_mask
  )
  count = first.astype(jnp.float32)
  return {
    "rollout/log_prob_diff_max": Mean(
      total=count * jnp.max(difference), count=count
    )
  }


def _token_metrics(tokens: ScoredTokens, sampled: Array) -> Mapping[str, Mean]:
  """Returns what is measured over all sampled tokens, f32[B, T]."""
  log_ratio = tokens.log_probs - tokens.old_log_probs
  signs = {"positive": tokens.advantages > 0, "negative": tokens.advantages < 0}
  return {
    **covariance_metrics(tokens),
    **{
      f"entropy/{name}": mean_metric(tokens.entropy, tokens.mask * sign)
      for name, sign in signs.items()
    },
    "actor/entropy": mean_metric(tokens.entropy, sampled),
    "actor/ppo_kl": mean_metric(-log_ratio, sampled),
    "actor/entropy_histogram": Mean(
      total=entropy_histogram(tokens.entropy, sampled),
      count=jnp.float32(1.0),
    ),
  }
