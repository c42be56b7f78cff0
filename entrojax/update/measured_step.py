"""Take one optimizer step of an update again, and measure what it is made of.

The update of a rollout batch takes several optimizer steps, and its graph keeps
only the last parameters. The function of `make_measured_step` takes the first
steps again, from the same state and with the same keys, and stops at the one
that is to be measured. The update itself stays as it is, and so does the run.

The step is split into what each part of the method contributes to it. h is the
gradient of the mean entropy H of the mini-batch, nats, before the step:

    history          <h, the optimizer's step for a gradient of 0>: its momentum
                     and weight decay
    policy_gradient  what the plain policy gradient of -A r adds
    <member>         what the member adds to the chain that ends before it; the
                     first member is compared with the plain policy gradient, as
                     in objectives/gradient_changes.py
    projection       what the projection adds to the finished step, if there is
                     one

Each contribution is a difference of two steps, both from the same state of the
optimizer. They add up to <h, step>, the first-order change of H by the whole
step.
"""

from collections.abc import Callable, Mapping
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from entrojax.objectives.chain import chain
from entrojax.objectives.gradient_changes import policy_gradient
from entrojax.types import Array, Batch, Objective, Params, TrainState
from entrojax.update.forward import (
  Forward,
  entropy_cotangents,
  loss_function,
  score_minibatch,
)
from entrojax.update.minibatches import StepInputs, plan_steps
from entrojax.update.setup import Scores, Setup
from entrojax.update.train_step import take_step


class Rows(NamedTuple):
  """Some rows of a rollout batch, and whether each response is right."""

  batch: Batch
  right: Array  # f32[B], 1 = right


class MeasuredStep(NamedTuple):
  """One optimizer step, and the tokens to measure it on."""

  before: Params
  after: Params
  own: Rows  # the mini-batch of the step
  # rows of the same rollout batch that no step has trained on so far; None if
  # every step trains on all rows
  held_back: Rows | None
  weights: Array  # f32[B, T], -N d loss / d log_prob, N = counted tokens
  contributions: Mapping[str, Array]  # f32[], nats


# (state, ref_params, rows, key, number i32[] of the step) -> MeasuredStep
MeasureStep = Callable[..., MeasuredStep]


def make_measured_step(*arguments: Any, **options: Any) -> MeasureStep:
  """Build the function measure(state, ref_params, rows, key, number).

  Args:
    *arguments: of make_update.
    **options: of make_update.

  Returns:
    A pure function. `state`, `ref_params`, `key` and the batch in `rows` are
    arguments of the update, `number` i32[] is the number of the step in it,
    from 0. If the update takes several steps on different rows, the rows of the
    next step are the held-back ones. The measured step must then be in the
    first pass over the batch, and not the last one of it.
  """
  setup = Setup(*arguments, **options)

  def measure(state, ref_params, rows, key, number):
    return _measure(setup, state, ref_params, rows, key, number)

  return measure


def num_measurable(updates_per_rollout: int, num_epochs: int) -> int:
  """Count the first steps of an update that can be measured, at least 1."""
  return max(updates_per_rollout // num_epochs - 1, 1)


def _measure(
  setup: Setup,
  state: TrainState,
  ref_params: Params | None,
  rows: Rows,
  key: Array,
  number: Array,
) -> MeasuredStep:
  """Measure a step; see `make_measured_step`."""
  split = setup.split
  inputs_of, rows_of = plan_steps(setup, state, ref_params, rows.batch, key)

  def next_step(i, states):
    _, state = states
    return state, take_step(setup, state, inputs_of(i))[0]

  before, after = jax.lax.fori_loop(0, number + 1, next_step, (state, state))
  inputs = inputs_of(number)
  forward = score_minibatch(setup, before, inputs)
  step = optax.tree.sub(after.params, before.params)
  weights, contributions = _contributions(setup, before, inputs, forward, step)
  part = lambda i: jax.tree.map(lambda x: x[rows_of(i)], rows)
  one_step = split.updates_per_rollout == 1
  return MeasuredStep(
    before.params,
    after.params,
    own=rows if one_step else part(number),
    held_back=(
      part(number + 1) if split.updates_per_rollout > split.num_epochs else None
    ),
    weights=weights,
    contributions=contributions,
  )


def _contributions(
  setup: Setup,
  state: TrainState,
  inputs: StepInputs,
  forward: Forward,
  step: Params,
) -> tuple[Array, dict[str, Array]]:
  """Compute the loss weight of each token, and each part's contribution.

  Args:
    setup: the arguments that all steps share.
    state: the state before the step.
    inputs: the mini-batch, and what belongs to it.
    forward: the mini-batch under the policy before the step.
    step: the difference of the parameters.
  """
  scores, members = forward.scores, forward.members
  loss_of = loss_function(setup, forward, inputs.key)

  def cotangents_of(objective) -> Scores:
    return jax.grad(lambda s: loss_of(objective, s)[0])(scores)

  (h,) = forward.transpose(
    entropy_cotangents(scores, inputs.batch.response_mask)
  )
  chains: list[Objective] = [policy_gradient]
  chains += [
    chain(*list(members.values())[: i + 1]) for i in range(len(members))
  ]
  prefixes = [cotangents_of(objective) for objective in chains]
  counted = jnp.sum(forward.tokens.mask)

  def change_by(gradient: Params) -> Array:
    """Compute <h, the step that the optimizer makes of a gradient>."""
    # an entropy that is not finite turns the projection off
    signals = {"entropy": jnp.float32(jnp.nan)}
    if setup.optimizer.scheduled:
      signals["step"] = state.step
    if setup.optimizer.reads_entropy_gradient:
      signals["entropy_grad"] = lambda: h
    made, _ = setup.optimizer.update(
      gradient, state.opt_state, state.params, **signals
    )
    return jnp.where(counted > 0, optax.tree.vdot(h, made), 0.0)

  # the last chain is the whole one, whose step is known unless it is projected
  is_projected = setup.optimizer.reads_entropy_gradient
  differentiated = prefixes if is_projected else prefixes[:-1]
  # one after the other, so that only one gradient is in memory
  changes = jax.lax.map(
    lambda cotangents: change_by(forward.transpose(cotangents)[0]),
    jax.tree.map(lambda *x: jnp.stack(x), *differentiated),
  )
  history = change_by(optax.tree.zeros_like(h))
  totals = [history, *changes, optax.tree.vdot(h, step)]
  names = ["policy_gradient", *members]
  if is_projected:
    names = [*names, "projection"]
  gains = [after - before for before, after in itertools.pairwise(totals)]
  weights = -counted * prefixes[-1].log_probs
  return weights, {"history": history, **dict(zip(names, gains, strict=True))}
