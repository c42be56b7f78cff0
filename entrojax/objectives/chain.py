"""Composition of objectives, and the one call that turns them into a number.

An objective is a function (tokens, token_loss, coefficient, key) ->
token_loss. A surrogate adds the first term; later members reweight the terms
before them or add terms of their own, in the order given, as optax composes
gradient transforms. Penalties (KL, entropy) are kept apart: no member weighs
them, wherever it stands.

    objective = chain(ppo_clip(clip_high=0.28), reference_kl(kl_coef=1e-3))
"""

from collections.abc import Callable
import dataclasses

import chex
import jax
import jax.numpy as jnp

from entrojax.masking import clean
from entrojax.types import (
  Aggregation,
  Array,
  Metrics,
  Objective,
  ScoredTokens,
  Term,
  TokenLoss,
)


def chain(*objectives: Objective) -> Objective:
  """Makes the objective that applies `objectives` from left to right."""
  if not objectives:
    raise ValueError("chain needs at least one objective")

  def composed(tokens, token_loss, coefficient, key):
    for i, objective in enumerate(objectives):
      # its place, not the chain's length: what follows does not change a draw
      member_key = jax.random.fold_in(key, i)
      token_loss = objective(tokens, token_loss, coefficient, member_key)
    return token_loss

  return composed


def add_term(
  token_loss: TokenLoss, loss: Array, weight: Array, metrics: Metrics
) -> TokenLoss:
  """Returns `token_loss` with one more term and more metrics.

  Raises:
    ValueError: a member before reports one of the metrics, as a second
      surrogate would: a chain has one.
  """
  return token_loss._replace(
    terms=(*token_loss.terms, Term(loss=loss, weight=weight)),
    metrics=_merged(token_loss, metrics),
  )


def add_penalty(
  token_loss: TokenLoss, loss: Array, weight: Array, metrics: Metrics
) -> TokenLoss:
  """Returns `token_loss` with one more penalty, likewise."""
  return token_loss._replace(
    penalties=(*token_loss.penalties, Term(loss=loss, weight=weight)),
    metrics=_merged(token_loss, metrics),
  )


def _merged(token_loss: TokenLoss, metrics: Metrics) -> Metrics:
  if clash := set(token_loss.metrics) & set(metrics):
    raise ValueError(
      f"two members of the chain report {sorted(clash)}: it takes one surrogate"
    )
  return {**token_loss.metrics, **metrics}


def map_terms(
  token_loss: TokenLoss, change: Callable[[Term], Term], metrics: Metrics
) -> TokenLoss:
  """Returns `token_loss` with every term so far changed, and more metrics.

  Raises:
    ValueError: there is no term to change.
  """
  if not token_loss.terms:
    raise ValueError(
      "no term to change: put this member of the chain after a surrogate"
    )
  return token_loss._replace(
    terms=tuple(change(term) for term in token_loss.terms),
    metrics={**token_loss.metrics, **metrics},
  )


def scale_loss(
  token_loss: TokenLoss, factor: Array, metrics: Metrics
) -> TokenLoss:
  """Returns `token_loss` with every loss so far times a constant f32[B, T].

  Denominators stay.
  """
  factor = jax.lax.stop_gradient(factor)
  return map_terms(
    token_loss,
    lambda term: dataclasses.replace(term, loss=term.loss * factor),
    metrics,
  )


def policy_loss(
  objective: Objective,
  aggregate: Aggregation,
  tokens: ScoredTokens,
  *,
  coefficient: Array | float | None = None,
  key: Array | None = None,
) -> tuple[Array, Metrics]:
  """Returns the loss of a mini-batch, differentiable in log_probs and entropy.

  Args:
    objective: what to minimise.
    aggregate: how token losses become one number.
    tokens: the mini-batch, all of it: batch statistics are taken over it.
    coefficient: the controller's signal, f32[]; None: there is no controller.
    key: consumed by objectives that draw; a constant when omitted.

  Returns:
    (loss f32[], metrics as sums and counts).

  Raises:
    ValueError: a field has another shape than the mask, the objective has no
      term, two surrogates, or a member that lacks its coefficient or the
      reference's log-probs.
  """
  check_tokens(tokens)
  key = jax.random.key(0) if key is None else key
  token_loss = objective(
    _only_counted(tokens),
    TokenLoss(terms=(), metrics={}),
    None if coefficient is None else jnp.asarray(coefficient, jnp.float32),
    key,
  )
  terms = (*token_loss.terms, *token_loss.penalties)
  if not terms:
    raise ValueError("the objective has no term: begin the chain with one")
  losses = [aggregate(term.loss, term.weight) for term in terms]
  return sum(losses[1:], start=losses[0]), token_loss.metrics


def driven(coefficient: Array | None, member: str) -> Array:
  """Returns the coefficient that a controller drives `member` with.

  Raises:
    ValueError: there is none.
  """
  if coefficient is None:
    raise ValueError(
      f"{member} needs the coefficient of a controller: none was given"
    )
  return coefficient


def loss_by_parts(
  objective: Objective,
  aggregate: Aggregation,
  tokens: ScoredTokens,
  *,
  coefficient: Array,
  key: Array,
) -> tuple[Array, Metrics]:
  """Returns the mean of `policy_loss` over parts of a mini-batch.

  One part is the mini-batch itself. Several are the statistics scope of
  released torch code: batch statistics, selections and denominators are those
  of a part, and a part counts by its share of the rows.

  Args:
    objective: as for `policy_loss`.
    aggregate: likewise.
    tokens: B rows, of which each part is a run of B / N.
    coefficient: f32[N], of each part.
    key: consumed; each part draws from its own.
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
  """Raises ValueError naming the first field whose shape is not the mask's."""
  for field in dataclasses.fields(tokens):
    value = getattr(tokens, field.name)
    if value is not None and value.shape != tokens.mask.shape:
      raise ValueError(
        f"{field.name} has shape {value.shape}, mask {tokens.mask.shape}"
      )
  chex.assert_rank(tokens.mask, 2)


def _only_counted(tokens: ScoredTokens) -> ScoredTokens:
  """Zeroes what the mask leaves out, so that no formula meets garbage.

  The sampling policy, the reference and the advantages are constants.
  """
  constant = jax.lax.stop_gradient
  mask = constant(tokens.mask)
  fields = {
    field.name: clean(value, mask)
    for field in dataclasses.fields(tokens)
    if (value := getattr(tokens, field.name)) is not None
  }
  learned = ("log_probs", "entropy")
  return ScoredTokens(
    **{k: v if k in learned else constant(v) for k, v in fields.items()}
  )
