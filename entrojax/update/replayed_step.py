"""Take one optimizer step on a whole batch, and return its gradient as well.

A replay (instruments/replay.py) compares several methods on one batch that a
run has kept. `make_replayed_step` builds the function that takes a method's
step. This function has the arguments of an update. It returns the gradient of
the loss, the parameters after the step, and one mask of the tokens whose
gradient is changed by any member of the chain of objectives.
"""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from entrojax.objectives.chain import chain
from entrojax.objectives.gradient_changes import touched_tokens
from entrojax.types import Array, Params
from entrojax.update.forward import loss_function, score_minibatch
from entrojax.update.minibatches import plan_steps
from entrojax.update.setup import Setup
from entrojax.update.train_step import take_step


class ReplayedStep(NamedTuple):
  """One method's step on a batch."""

  gradient: Params  # of the loss, before clipping
  after: Params  # the parameters after the step
  # f32[B, T], 1 = a counted token whose gradient a member of the chain changes
  touched: Array
  tokens: Array  # f32[], the number of tokens that count in the loss


# (state, ref_params, batch, key) -> ReplayedStep
ReplayStep = Callable[..., ReplayedStep]


def make_replayed_step(*arguments: Any, **options: Any) -> ReplayStep:
  """Build the function replay(state, ref_params, batch, key).

  Args:
    *arguments: of make_update.
    **options: of make_update.

  Returns:
    A pure function with the arguments of an update, whose first step is taken.
  """
  setup = Setup(*arguments, **options)

  def replay(state, ref_params, batch, key):
    inputs_of, _ = plan_steps(setup, state, ref_params, batch, key)
    inputs = inputs_of(jnp.int32(0))
    forward = score_minibatch(setup, state, inputs)
    loss_of = loss_function(setup, forward, inputs.key)
    whole = jax.grad(
      lambda scores: loss_of(chain(*forward.members.values()), scores)[0]
    )(forward.scores)
    changed = touched_tokens(forward.members, loss_of, forward.scores)
    touched = functools.reduce(jnp.logical_or, changed.values())
    (gradient,) = forward.transpose(whole)
    after, _ = take_step(setup, state, inputs)
    mask = forward.tokens.mask
    return ReplayedStep(
      gradient,
      after.params,
      touched.astype(jnp.float32) * mask,
      jnp.sum(mask),
    )

  return replay


def cosine(a: Params, b: Params) -> Array:
  """Compute the cosine of two gradients, f32[]; NaN if one of them is 0."""
  return optax.tree.vdot(a, b) / (optax.tree.norm(a) * optax.tree.norm(b))
