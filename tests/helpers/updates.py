"""Helpers for tests of updates.

They are a random batch, an optimizer that keeps its gradients, and a comparison
of updates that split the same batch in different ways.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

from entrojax.objectives import aggregation
from entrojax.system.sharding import (
  by_row,
  make_mesh,
  param_shardings,
  replicated,
)
from entrojax.types import Batch, Controller
from entrojax.update.optimizer import Optimizer
from entrojax.update.setup import BatchSplit
from entrojax.update.train_step import init_state, make_update

NUM_ROWS, PROMPT_LENGTH, RESPONSE_LENGTH = 16, 3, 5
GROUP_SIZE = 2
BOTH = {"num_microbatches": 2, "mesh": (2, 2, 2)}
# tests/system/test_meshes.py has meshes with one axis of 8
SPLITS = {
  "8 micro-batches": {"num_microbatches": 8},
  "2 x 2 x 2": {"mesh": (2, 2, 2)},
  "half a group a part": {"num_microbatches": 2, "mesh": (8, 1, 1)},
}


def make_batch(seed, dtype=np.float32, vocabulary=8) -> Batch:
  """Draw 8 prompts x 2 responses; prompts and responses are ragged.

  The last response is empty. The old log-probs are near the log-probs of a
  uniform policy, so that ratios lie on both sides of 1.
  """
  rng = np.random.default_rng(seed)
  rows, length = NUM_ROWS, RESPONSE_LENGTH
  prompts = rng.integers(vocabulary, size=(rows // GROUP_SIZE, PROMPT_LENGTH))
  responses = rng.integers(vocabulary, size=(rows, length))
  before = rng.integers(PROMPT_LENGTH, size=rows // GROUP_SIZE)
  lengths = rng.integers(1, length + 1, rows)
  lengths[-1] = 0
  mask = np.arange(length) < lengths[:, None]
  real = np.concatenate(
    [
      (np.arange(PROMPT_LENGTH) >= before[:, None]).repeat(GROUP_SIZE, 0),
      mask,
    ],
    axis=1,
  )
  old = rng.normal(-np.log(vocabulary), 0.3, (rows, length))
  advantages = rng.normal(size=(rows, 1)).repeat(length, 1)
  return Batch(
    tokens=jnp.asarray(
      np.concatenate([prompts.repeat(GROUP_SIZE, 0), responses], 1), jnp.int32
    ),
    positions=jnp.asarray(
      np.where(real, np.cumsum(real, axis=1) - 1, -1), jnp.int32
    ),
    response_mask=jnp.asarray(mask, jnp.float32),
    keep=jnp.ones(rows),
    old_log_probs=jnp.asarray(old, dtype),
    old_entropy=jnp.asarray(rng.gamma(2.0, 0.5, (rows, length)), dtype),
    advantages=jnp.asarray(advantages, dtype),
  )


def controlled(
  controller: Controller, *, reads_entropy_gradient=False, **transforms
) -> Optimizer:
  """Build an optimizer from a controller and named transforms, in order."""
  chain = optax.named_chain(
    ("control", controller.transform), *transforms.items()
  )
  return Optimizer(chain.init, chain.update, controller, reads_entropy_gradient)


def recording_sgd(controller, learning_rate) -> Optimizer:
  """Build plain descent that keeps the gradients of its last step."""
  record = optax.GradientTransformationExtraArgs(
    lambda params: jax.tree.map(jnp.zeros_like, params),
    lambda updates, state, params=None, **unused: (updates, updates),
  )
  return controlled(controller, record=record, sgd=optax.sgd(learning_rate))


def totals(metrics):
  """Return sum / count of every metric on the host."""
  return {
    name: np.asarray(m.total) / np.asarray(m.count)
    for name, m in metrics.items()
  }


def log_softmax(logits):
  logits = np.asarray(logits, np.float64)
  return logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))


class Setting:
  """The parts of an update that a comparison of splits holds fixed.

  Numbers have the type of `params`.
  """

  def __init__(
    self,
    model,
    params,
    members,
    controller,
    *,
    aggregate=aggregation.token_mean,
  ):
    self.model, self.params = model, params
    self.members, self.controller = members, controller
    self.aggregate = aggregate
    table = params["embed_tokens"]
    self.batch = make_batch(0, table.dtype, vocabulary=len(table))

  def after_two_updates(self, **options):
    """Return metrics, the second update's gradients and new params.

    Both updates see the whole batch. The probability ratio is 1 at the first
    update; the second compares the policy with the batch's old log-probs.
    """
    return self.two_updates(**options)()

  def two_updates(self, *, mesh=(1, 1, 1), group_size=GROUP_SIZE, **split):
    """Build run(control_state=None) -> results of two updates.

    Without an argument the controller starts in its own first state.
    """
    mesh = make_mesh(mesh, jax.devices()[: np.prod(mesh)])
    optimizer = recording_sgd(self.controller, 0.05)
    update = make_update(
      self.model,
      self.members,
      self.aggregate,
      optimizer,
      group_size=group_size,
      temperature=0.8,
      split=BatchSplit(updates_per_rollout=2, num_epochs=2, **split),
      mesh=mesh,
    )
    state = init_state(self.params, optimizer)
    shardings = param_shardings(mesh, state)
    reference = jax.tree.map(lambda x: 0.9 * x, self.params)
    update = jax.jit(update, out_shardings=(shardings, replicated(mesh)))

    def run(control=None):
      start = state
      if control is not None:
        opt_state = state.opt_state.copy()
        opt_state["control"] = control
        start = dataclasses.replace(state, opt_state=opt_state)
      end, metrics = update(
        jax.device_put(start, shardings),
        jax.device_put(reference, shardings.params),
        jax.device_put(self.batch, by_row(mesh)),
        jax.device_put(jax.random.key(3), replicated(mesh)),
      )
      return jax.device_get(
        {
          "metrics": totals(metrics),
          "gradients": end.opt_state["record"],
          "params": end.params,
        }
      )

    return run


def difference(actual, expected, metrics=None):
  """Return the largest relative error of gradients, params and metrics."""
  pairs = [
    [
      np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree[part])])
      for tree in (actual, expected)
    ]
    for part in ("gradients", "params")
  ]
  for name in metrics or expected["metrics"]:
    pairs.append(
      [np.atleast_1d(x["metrics"][name]) for x in (actual, expected)]
    )
  return max(
    np.linalg.norm(f - e) / max(np.linalg.norm(e), 1e-2) for f, e in pairs
  )
