"""Compute the loss of a mini-batch: apply an objective, then aggregate.

    loss = sum over terms and penalties of aggregate(loss, weight)

`policy_loss` takes batch statistics and denominators over all rows that it is
given. `loss_by_parts` splits the rows into N equal parts, calls `policy_loss`
on each, and averages the N losses. An update uses one part by default, and with
scope = "micro" one part per micro-batch, as released torch code does.

Gradients flow to log-probs, entropies and statistics under the current policy
only. What the arrays hold where the mask is 0 has no effect.

Shapes: log-probs, entropies, advantages and masks are f32[B, T]; the loss is
f32[].
"""

import dataclasses

import chex
import jax
import jax.numpy as jnp

from entrojax.entropy.statistics import describe, value_shape
from entrojax.masking import clean
from entrojax.types import (
  Aggregation,
  Array,
  Metrics,
  Objective,
  ScoredTokens,
  TokenLoss,
)


def policy_loss(
  objective: Objective,
  aggregate: Aggregation,
  tokens: ScoredTokens,
  *,
  coefficient: Array | float | None = None,
  key: Array | None = None,
) -> tuple[Array, Metrics]:
  """Compute the loss of a mini-batch.

  It is differentiable in tokens.log_probs, in tokens.entropy, and in
  tokens.statistics if they are under the current policy.

  Args:
    objective: computes the losses of tokens, such as `chain(...)`.
    aggregate: reduces the losses of tokens to one number.
    tokens: the whole mini-batch, because batch statistics are taken over it.
    coefficient: the controller's coefficient, f32[]; None: there is no
      controller.
    key: consumed by objectives that draw; a constant key if omitted.

  Returns:
    (loss f32[], metrics as sums and counts).

  Raises:
    ValueError: a field has another shape than the mask, the objective adds no
      loss or has two surrogates, or a member lacks its coefficient, the
      reference's log-probs or a statistic.
  """
  check_tokens(tokens)
  key = jax.random.key(0) if key is None else key
  token_loss = objective(
    _zero_uncounted(tokens),
    TokenLoss(terms=(), metrics={}),
    None if coefficient is None else jnp.asarray(coefficient, jnp.float32),
    key,
  )
  terms = (*token_loss.terms, *token_loss.penalties)
  if not terms:
    raise ValueError(
      "the objective has no term: begin the chain with a surrogate"
    )
  losses = [aggregate(term.loss, term.weight) for term in terms]
  return sum(losses[1:], start=losses[0]), token_loss.metrics


def loss_by_parts(
  objective: Objective,
  aggregate: Aggregation,
  tokens: ScoredTokens,
  *,
  coefficient: Array,
  key: Array,
) -> tuple[Array, Metrics]:
  """Compute the mean of `policy_loss` over N equal parts of a mini-batch.

  With N = 1 the part is the mini-batch itself. With more, each part has its
  own batch statistics, selections and denominators, and all parts weigh the
  same. Released torch code computes statistics in this way.

  Args:
    objective: computes the losses of tokens, such as `chain(...)`.
    aggregate: reduces the losses of tokens to one number.
    tokens: B rows; each part is a run of B / N neighbouring rows.
    coefficient: f32[N], the controller's coefficient for each part.
    key: consumed; each part draws from its own key.

  Returns:
    (loss f32[], metrics as sums and counts over all parts).
  """
  num_parts = coefficient.shape[0]
  if num_parts == 1:
    return policy_loss(
      objective, aggregate, tokens, coefficient=coefficient[0], key=key
    )
  split = lambda x: x.reshape(num_parts, -1, *x.shape[1:])
  losses, metrics = jax.vmap(
    lambda part, coefficient, key: policy_loss(
      objective, aggregate, part, coefficient=coefficient, key=key
    )
  )(jax.tree.map(split, tokens), coefficient, jax.random.split(key, num_parts))
  return jnp.mean(losses), jax.tree.map(lambda x: jnp.sum(x, axis=0), metrics)


def check_tokens(tokens: ScoredTokens) -> None:
  """Raise ValueError for the first field whose shape differs from the mask."""
  expected = tokens.mask.shape
  for name, value in _fields(tokens).items():
    if value.shape != expected:
      raise ValueError(f"{name} has shape {value.shape}, mask {expected}")
  for statistic, value in tokens.statistics.items():
    if value.shape != (*expected, *value_shape(statistic)):
      raise ValueError(
        f"{describe(statistic)} has shape {value.shape}, mask {expected}"
      )
  chex.assert_rank(tokens.mask, 2)


def _fields(tokens: ScoredTokens) -> dict[str, Array]:
  """Return the fields f32[B, T] that are set, by name."""
  values = {f.name: getattr(tokens, f.name) for f in dataclasses.fields(tokens)}
  del values["statistics"]
  return {name: value for name, value in values.items() if value is not None}


def _zero_uncounted(tokens: ScoredTokens) -> ScoredTokens:
  """Set every field to 0 where the mask is 0, and stop gradients.

  No formula then meets the content of padding. Only what belongs to the current
  policy is learned: the sampling policy, the reference and the advantages are
  constants.
  """
  constant = jax.lax.stop_gradient
  mask = constant(tokens.mask)
  fields = {name: clean(value, mask) for name, value in _fields(tokens).items()}
  learned = ("log_probs", "entropy")
  statistics = {}
  for statistic, value in tokens.statistics.items():
    wide = jnp.reshape(mask, (*mask.shape, *(1 for _ in value.shape[2:])))
    value = clean(value, jnp.broadcast_to(wide, value.shape))
    statistics[statistic] = constant(value) if statistic.old else value
  return ScoredTokens(
    **{k: v if k in learned else constant(v) for k, v in fields.items()},
    statistics=statistics,
  )
