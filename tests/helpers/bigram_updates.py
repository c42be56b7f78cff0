"""Build updates of a bigram policy, and compute by hand what they see."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from entrojax.control import no_control
from entrojax.objectives import aggregation, ppo_clip
from entrojax.types import Batch
from entrojax.update.setup import BatchSplit
from entrojax.update.train_step import init_state, make_update
from tests.helpers.updates import (
  GROUP_SIZE,
  NUM_ROWS,
  PROMPT_LENGTH,
  log_softmax,
  make_batch,
  recording_sgd,
)

TARGET = 0.5  # of the controller, nats


def simple(
  model,
  *,
  members=None,
  controller=None,
  learning_rate=0.5,
  optimizer=None,
  seed=0,
  on_policy=True,
  mesh=None,
  **split,
):
  """Return (update, state, batch) of a bigram policy, nothing jitted."""
  optimizer = optimizer or recording_sgd(
    controller or no_control(), learning_rate
  )
  update = make_update(
    model,
    members or {"ppo_clip": ppo_clip()},
    aggregation.token_mean,
    optimizer,
    group_size=GROUP_SIZE,
    split=BatchSplit(**split),
    on_policy=on_policy,
    mesh=mesh,
  )
  table = np.random.default_rng(seed).normal(size=(8, 8))
  params = {"embed_tokens": jnp.asarray(table, jnp.float32)}
  return update, init_state(params, optimizer), make_batch(seed)


def own_log_probs(state, batch) -> np.ndarray:
  """Compute the bigram policy's log-probs of the responses, f64[B, T]."""
  log_p = log_softmax(state.params["embed_tokens"])
  before = PROMPT_LENGTH - 1
  return log_p[batch.tokens[:, before:-1], batch.tokens[:, before + 1 :]]


def own_entropies(state, batch) -> np.ndarray:
  """Compute the bigram policy's entropies at the responses, f64[B, T]."""
  log_p = log_softmax(state.params["embed_tokens"])
  entropies = -np.sum(np.exp(log_p) * log_p, axis=1)
  return entropies[batch.tokens[:, PROMPT_LENGTH - 1 : -1]]


def half_kept(batch) -> Batch:
  """Return the batch with every second response left out of the loss."""
  return dataclasses.replace(
    batch, keep=jnp.arange(NUM_ROWS, dtype=jnp.float32) % 2
  )
