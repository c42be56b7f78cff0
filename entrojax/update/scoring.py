"""Score given responses: compute the log-probs and entropies of their tokens.

This is the forward pass of the trainer, and gradients flow back through it.
`score` reads the prompt of a group once, as in a rollout, and its G responses
share the keys and values of the prompt. The prompt and its responses pass
through each layer together, as P + G T tokens instead of G (P + T). On a mesh,
each layer therefore gathers its parameters only once, and computes the gradient
of a kernel in one matrix product, or in two around fused attention.

`score_in_microbatches` does this for one micro-batch of rows after the other,
and the results are the same. If a device holds only a part of a group at a
time, the prompt is read once for each part.

With `response_buckets`, micro-batches have rows of similar length
(length_buckets.py), and each is computed up to the shortest bucket that holds
its longest response. The results are back in the order of the rows, and zeros
stand behind the bucket, so that nothing else depends on how rows were sorted.
"""

import math

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from entrojax.entropy.token_stats import SAVED, token_stats
from entrojax.models.kept import kept_of_microbatches
from entrojax.system.sharding import num_row_shards, split_rows
from entrojax.types import Array, Model, Params, Statistic
from entrojax.update.length_buckets import score_by_length, unit_size


def score(
  model: Model,
  params: Params,
  tokens: Array,
  positions: Array,
  *,
  response_length: int,
  group_size: int = 1,
  temperature: float = 1.0,
  statistics: tuple[Statistic, ...] = (),
  mesh: Mesh | None = None,
) -> tuple[Array, ...]:
  """Compute log-probs and entropies of the last `response_length` tokens.

  Args:
    model: the policy.
    params: the policy's parameters.
    tokens: i32[B, L], prompt and response of each row.
    positions: i32[B, L], -1 = padding.
    response_length: T < L.
    group_size: G; G neighbouring rows have the same prompt, which is read once.
    temperature: the sampling temperature, which divides the logits.
    statistics: further statistics to compute (entropy/statistics.py).
    mesh: the mesh that the rows are split over; None for a single device.

  Returns:
    (log_probs f32[B, T], entropy f32[B, T]), nats, followed by the value of
    each of `statistics`. Values at padding are finite and meaningless.
  """
  prompt_length = tokens.shape[1] - response_length
  prompt, response = jnp.split(tokens, [prompt_length], axis=1)
  prompt_at, response_at = jnp.split(positions, [prompt_length], axis=1)
  first_of_group = lambda x: x.reshape(-1, group_size, prompt_length)[:, 0]
  prompt_hidden, response_hidden = model.apply_branches(
    params,
    first_of_group(prompt),
    first_of_group(prompt_at),
    # The last token of a response is predicted, but never read.
    response[:, :-1],
    response_at[:, :-1],
  )
  first = jnp.repeat(prompt_hidden[:, -1:], group_size, axis=0)
  return token_stats(
    jnp.concatenate([first, response_hidden], axis=1),
    model.unembedding(params),
    response,
    temperature=temperature,
    statistics=statistics,
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
  rematerialise: bool | str,
  response_buckets: tuple[int, ...] = (),
  statistics: tuple[Statistic, ...] = (),
  mesh: Mesh | None = None,
) -> tuple[Array, ...]:
  """Compute the same numbers as `score`, one micro-batch after the other.

  The transpose of this function accumulates gradients over the same loop.
  Objectives can therefore see the log-probs of the whole mini-batch however it
  is split.

  Args:
    model: the policy.
    params: the policy's parameters.
    tokens: i32[B, L], prompt and response of each row.
    positions: i32[B, L], -1 = padding.
    response_length: T < L.
    group_size: G; G neighbouring rows have the same prompt. If a device holds
      less than a group of a micro-batch, its rows read their prompt again.
    temperature: the sampling temperature, which divides the logits.
    num_microbatches: the number of micro-batches, a divisor of B.
    rematerialise: what the backward pass keeps of all micro-batches, one of
      models/kept.py's OF_MICROBATCHES. True: nothing; it runs the forward pass
      of each micro-batch again, and the activations of only one exist at a
      time.
    response_buckets: ascending lengths below T. Rows are sorted by length, and
      a micro-batch whose responses all fit is computed up to the shortest of
      these lengths. (): rows keep their order and have T tokens.
    statistics: further statistics to compute (entropy/statistics.py).
    mesh: the mesh that the rows of each micro-batch are split over; None for a
      single device.

  Returns:
    (log_probs f32[B, T], entropy f32[B, T]), nats, followed by the value of
    each of `statistics`.
  """
  num_shards = num_row_shards(mesh) if mesh is not None else 1
  rows_at_once = tokens.shape[0] // num_microbatches // num_shards
  rows_per_prompt = math.gcd(group_size, rows_at_once)
  if response_buckets:
    rows_per_prompt = unit_size(
      rows_per_prompt, group_size, tokens.shape[1], response_length
    )

  def score_rows(params, rows, length):
    return score(
      model,
      params,
      *rows,
      response_length=length,
      group_size=rows_per_prompt,
      temperature=temperature,
      statistics=statistics,
      mesh=mesh,
    )

  saved = (SAVED, *kept_of_microbatches(rematerialise))
  policy = jax.checkpoint_policies.save_only_these_names(*saved)
  if response_buckets:
    return score_by_length(
      jax.checkpoint(score_rows, policy=policy, static_argnums=2),
      params,
      tokens,
      positions,
      buckets=(*response_buckets, response_length),
      group_size=group_size,
      rows_per_prompt=rows_per_prompt,
      num_microbatches=num_microbatches,
      mesh=mesh,
    )
  score_whole = lambda rows: score_rows(params, rows, response_length)
  if num_microbatches == 1:
    return score_whole((tokens, positions))
  rows = jax.tree.map(
    lambda x: x.reshape(num_microbatches, -1, *x.shape[1:]), (tokens, positions)
  )
  rows = split_rows(rows, mesh, axis=1)
  stats = jax.lax.map(jax.checkpoint(score_whole, policy=policy), rows)
  return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), stats)
