"""Log-probs and entropies of given responses: the trainer's forward pass.

As in a rollout, the prompt of a group is read once and its G responses share
what was read. Both pass through the layers together, P + G T tokens instead of
G (P + T), so that a layer's parameters are gathered once, and its gradient is
one product.
"""

import math

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from entrojax.entropy.token_stats import SAVED, token_stats
from entrojax.models.dense import COSTLY
from entrojax.system.sharding import num_row_shards, split_rows
from entrojax.types import Array, Model, Params


def score(
  model: Model,
  params: Params,
  tokens: Array,
  positions: Array,
  *,
  response_length: int,
  group_size: int = 1,
  temperature: float = 1.0,
  mesh: Mesh | None = None,
) -> tuple[Array, Array]:
  """Returns log-probs and entropies of the last `response_length` tokens.

  Args:
    model: the policy.
    params: its parameters.
    tokens: i32[B, L].
    positions: i32[B, L], -1 = padding.
    response_length: T < L.
    group_size: G; each run of G rows has one prompt, which is read once.
    temperature: the sampling temperature.
    mesh: over which the rows are split; None for a single device.

  Returns:
    (log_probs f32[B, T], entropy f32[B, T]), nats. Values at padding are
    finite and meaningless.
  """
  prompt_length = tokens.shape[1] - response_length
  prompt, response = jnp.split(tokens, [prompt_length], axis=1)
  prompt_at, response_at = jnp.split(positions, [prompt_length], axis=1)
  one_a_group = lambda x: x.reshape(-1, group_size, prompt_length)[:, 0]
  before, rest = model.apply_branches(
    params,
    one_a_group(prompt),
    one_a_group(prompt_at),
    # the last response token is predicted, never read
    response[:, :-1],
    response_at[:, :-1],
  )
  first = jnp.repeat(before[:, -1:], group_size, axis=0)
  return token_stats(
    jnp.concatenate([first, rest], axis=1),
    model.unembedding(params),
    response,
    temperature=temperature,
    mesh=mesh,
  )


def score_in_microbatches(
  model: Model,
  params: Params,
  tokens: Array,
  positions: Array,
  *,
  response_length: int,
  group_size: int,
  temperature: float,
  num_microbatches: int,
  rematerialise: bool,
  mesh: Mesh | None = None,
) -> tuple[Array, Array]:
  """Returns what `score` does, micro-batch by micro-batch.

  Its transpose accumulates gradients over the same loop, so that objectives
  see the log-probs of the whole mini-batch whatever its split. With
  `rematerialise` the backward pass runs the forward pass of each micro-batch
  again and the activations of only one exist at a time. Each micro-batch is
  split over the rows of `mesh`. A part that one device holds of it may be less
  than a group: its rows then read their prompt again.
  """
  shards = num_row_shards(mesh) if mesh is not None else 1
  rows_at_once = tokens.shape[0] // num_microbatches // shards
  shared = math.gcd(group_size, rows_at_once)

  def score_rows(rows):
    return score(
      model,
      params,
      *rows,
      response_length=response_length,
      group_size=shared,
      temperature=temperature,
      mesh=mesh,
    )

  if num_microbatches == 1:
    return score_rows((tokens, positions))
  kept = (SAVED,) if rematerialise else (SAVED, COSTLY)
  score_rows = jax.checkpoint(
    score_rows, policy=jax.checkpoint_policies.save_only_these_names(*kept)
  )
  rows = jax.tree.map(
    lambda x: x.reshape(num_microbatches, -1, *x.shape[1:]), (tokens, positions)
  )
  rows = split_rows(rows, mesh, axis=1)
  stats = jax.lax.map(score_rows, rows)
  return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), stats)
