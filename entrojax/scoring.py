"""Log-probs and entropies of given responses: the trainer's forward pass."""

import jax

from entrojax.token_stats import token_stats
from entrojax.types import Array, Model, Params


def score(
  model: Model,
  params: Params,
  tokens: Array,
  positions: Array,
  *,
  response_length: int,
  temperature: float = 1.0,
) -> tuple[Array, Array]:
  """Returns log-probs and entropies of the last `response_length` tokens.

  Args:
    model: the policy.
    params: its parameters.
    tokens: i32[B, L].
    positions: i32[B, L], -1 = padding.
    response_length: T < L.
    temperature: the sampling temperature.

  Returns:
    (log_probs f32[B, T], entropy f32[B, T]), nats. Values at padding are
    finite and meaningless.
  """
  hidden, _ = model.apply(params, tokens[:, :-1], positions[:, :-1], None)
  return token_stats(
    hidden[:, -response_length:],
    tokens[:, -response_length:],
    lambda h: model.unembed(params, h),
    temperature=temperature,
  )


def score_in_microbatches(
  model: Model,
  params: Params,
  tokens: Array,
  positions: Array,
  *,
  response_length: int,
  temperature: float,
  num_microbatches: int,
  rematerialise: bool,
) -> tuple[Array, Array]:
  """Returns what `score` does, micro-batch by micro-batch.

  Its transpose accumulates gradients over the same loop, so that objectives
  see the log-probs of the whole mini-batch whatever its split. With
  `rematerialise` the backward pass runs the forward pass of each micro-batch
  again and the activations of only one exist at a time.
  """

  def score_rows(rows):
    return score(
      model,
      params,
      *rows,
      response_length=response_length,
      temperature=temperature,
    )

  if num_microbatches == 1:
    return score_rows((tokens, positions))
  if rematerialise:
    score_rows = jax.checkpoint(score_rows)
  rows = jax.tree.map(
    lambda x: x.reshape(num_microbatches, -1, *x.shape[1:]), (tokens, positions)
  )
  stats = jax.lax.map(score_rows, rows)
  return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), stats)
