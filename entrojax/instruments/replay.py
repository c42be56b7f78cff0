"""Push one kept batch through several methods, and compare their steps.

Each method takes one optimizer step on the whole batch, from the parameters
and Adam's moments that the run had. All methods therefore start equal, and
differ in their advantages, their objective, their aggregation, their controller
and their projection. The ratio of the policies is 1, so that members which only
act at other ratios, such as clips, do nothing.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from entrojax.assembly.run import Run
from entrojax.instruments.kept_batches import KeptBatch
from entrojax.masking import masked_mean
from entrojax.system import hosts
from entrojax.system.sharding import by_row, replicated
from entrojax.types import Params, Responses, TrainState
from entrojax.update.replayed_step import ReplayedStep, cosine
from entrojax.update.train_step import make_batch


class MethodStep(NamedTuple):
  """The step of one method on the batch."""

  name: str
  step: ReplayedStep
  gradient_norm: float
  update_norm: float
  predicted: float  # nats per token, first order
  measured: float  # nats per token
  touched: float  # the share of the tokens that count in the loss


def state_of(run: Run, batch: KeptBatch) -> TrainState:
  """Return a run's state with the parameters, moments and step of a batch.

  Raises:
    ValueError: the parameters have other names or shapes than the run's.
  """
  shapes = lambda tree: jax.tree.map(np.shape, tree)
  if shapes(run.state.params) != shapes(batch.params):
    raise ValueError(
      "the kept batch has parameters of other shapes than model.path and lora"
    )
  place = lambda new, old: hosts.place(
    np.asarray(new).astype(old.dtype), old.sharding
  )

  def with_moments(part: Any) -> Any:
    if isinstance(part, optax.ScaleByAdamState):
      return optax.ScaleByAdamState(
        place(batch.num_steps, part.count),
        jax.tree.map(place, batch.mu, part.mu),
        jax.tree.map(place, batch.nu, part.nu),
      )
    if isinstance(part, optax.ScaleByScheduleState):
      return optax.ScaleByScheduleState(place(batch.num_steps, part.count))
    return part

  kinds = (optax.ScaleByAdamState, optax.ScaleByScheduleState)
  return dataclasses.replace(
    run.state,
    params=jax.tree.map(place, batch.params, run.state.params),
    opt_state=jax.tree.map(
      with_moments,
      run.state.opt_state,
      is_leaf=lambda part: isinstance(part, kinds),
    ),
    step=place(batch.step, run.state.step),  # where schedules are read
  )


def replay(name: str, run: Run, measuring: Run, batch: KeptBatch) -> MethodStep:
  """Take the step of a method.

  Args:
    name: the name of the method.
    run: its run.
    measuring: any run with the same model, whose graph measures all methods.
    batch: the kept batch.
  """
  state = state_of(run, batch)
  responses = jax.device_get(
    run.functions.advantage(batch.responses, batch.step)
  )
  learned = Responses(
    responses.rewards, advantages=responses.advantages, keep=responses.keep
  )
  rollout, learned, step_ok, offset = hosts.place(
    (batch.rollout, learned, batch.step_ok, batch.entropy_offset),
    by_row(run.mesh),
  )
  key = hosts.place(
    jax.random.wrap_key_data(jnp.asarray(batch.key)), replicated(run.mesh)
  )
  update_batch = make_batch(rollout, learned, step_ok, offset)
  step = run.functions.ledger.replay_step(
    state, run.ref_params, update_batch, key
  )
  start, end = (
    measuring.functions.ledger.measure_tokens(
      params, state.params, step.after, rollout.tokens, rollout.positions
    )
    for params in (state.params, step.after)
  )
  mask = rollout.response_mask
  return MethodStep(
    name,
    step,
    float(optax.tree.norm(step.gradient)),
    float(optax.tree.norm(optax.tree.sub(step.after, state.params))),
    float(masked_mean(start.change, mask)),
    float(masked_mean(end.entropy - start.entropy, mask)),
    float(jnp.sum(step.touched) / jnp.maximum(step.tokens, 1)),
  )


def cosines(steps: Sequence[MethodStep]) -> np.ndarray:
  """Compute the cosines between the methods' gradients, f64[M, M]."""
  gradients: list[Params] = [step.step.gradient for step in steps]
  pair = jax.jit(cosine)
  return np.array([[float(pair(a, b)) for b in gradients] for a in gradients])


def overlaps(steps: Sequence[MethodStep]) -> np.ndarray:
  """Compute how far the methods touch the same tokens, f64[M, M].

  The overlap of two methods is the number of tokens that both touch, divided by
  the number that at least one touches; NaN if there is no such token.
  """
  touched = [np.asarray(step.step.touched) > 0 for step in steps]
  return np.array(
    [
      [
        np.sum(a & b) / either if (either := np.sum(a | b)) else np.nan
        for b in touched
      ]
      for a in touched
    ]
  )
