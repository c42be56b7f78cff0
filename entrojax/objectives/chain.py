"""Compose objectives in a chain, and write the members of a chain.

`chain` applies objectives from left to right, as optax composes gradient
transforms:

    objective = chain(ppo_clip(clip_high=0.28), reference_kl(kl_coef=1e-3))

The members pass on a TokenLoss, which holds metrics, terms and penalties. Each
term or penalty has a loss f32[B, T] and a weight f32[B, T], where 1 = counted
by the denominator and 0 = ignored. A member calls one of these:

    add_term      add a loss that later members may change; a surrogate adds
                  the first
    map_terms     change all terms that earlier members have added
    scale_loss    multiply the losses of these terms by a constant factor
    add_penalty   add a loss (KL, entropy) that no member changes, wherever it
                  stands in the chain

A member that a controller drives gets its coefficient through
`require_coefficient`. loss.py reduces the result to one number.
"""

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp

from entrojax.objectives.reading import reading, statistics_read
from entrojax.types import Array, Metrics, Objective, Term, TokenLoss


def chain(*objectives: Objective) -> Objective:
  """Build the objective that applies `objectives` from left to right.

  Each member draws from its own key. The chain reads the statistics that its
  members have declared (reading.py).

  Raises:
    ValueError: there is no objective, or one of them is no function.
  """
  if not objectives:
    raise ValueError("chain needs at least one objective")
  for objective in objectives:
    if not callable(objective):
      raise ValueError(
        f"chain got {objective!r:.80}; expected objectives, as in "
        "chain(ppo_clip(), entropic())"
      )

  def composed(tokens, token_loss, coefficient, key):
    for i, objective in enumerate(objectives):
      # The key depends on the member's place and not on the chain's length:
      # a draw does not change with the members that follow.
      member_key = jax.random.fold_in(key, i)
      token_loss = objective(tokens, token_loss, coefficient, member_key)
    return token_loss

  return reading(composed, *(s for o in objectives for s in statistics_read(o)))


def add_term(
  token_loss: TokenLoss,
  loss: Array,
  weight: Array,
  metrics: Metrics,
  *,
  stopped: Array | bool | None = None,
) -> TokenLoss:
  """Add a term, which later members may reweight, and its metrics.

  Args:
    token_loss: the losses of the members before.
    loss: f32[B, T], to be minimised.
    weight: f32[B, T], 1 = counted by the denominator.
    metrics: sums and counts, by name.
    stopped: bool or f32[B, T], where the loss has no gradient although A is not
      0, as where PPO clips; False: nowhere. A surrogate marks them for
      `stopped_tokens`.

  Raises:
    ValueError: an earlier member reports one of the metrics. This happens if
      the chain has a second surrogate; only one is allowed.
  """
  if stopped is not None:
    marks = jnp.broadcast_to(jnp.asarray(stopped, jnp.float32), loss.shape)
    stopped = jax.lax.stop_gradient(marks)
  return token_loss._replace(
    terms=(*token_loss.terms, Term(loss=loss, weight=weight, stopped=stopped)),
    metrics=_merge_metrics(token_loss, metrics),
  )


def add_penalty(
  token_loss: TokenLoss, loss: Array, weight: Array, metrics: Metrics
) -> TokenLoss:
  """Add a penalty, which no member reweights, and its metrics.

  The arguments and the error are the same as in `add_term`.
  """
  return token_loss._replace(
    penalties=(*token_loss.penalties, Term(loss=loss, weight=weight)),
    metrics=_merge_metrics(token_loss, metrics),
  )


def _merge_metrics(token_loss: TokenLoss, metrics: Metrics) -> Metrics:
  """Merge metrics; raise ValueError if two members report the same one."""
  if clash := set(token_loss.metrics) & set(metrics):
    raise ValueError(
      f"two members of the chain report {sorted(clash)}: it takes one "
      "surrogate, and no member twice"
    )
  return {**token_loss.metrics, **metrics}


def stopped_tokens(token_loss: TokenLoss) -> Array | None:
  """Return the tokens that the surrogate gives no gradient, f32[B, T].

  Returns:
    1 = stopped; None: the surrogate does not say.
  """
  return token_loss.terms[0].stopped if token_loss.terms else None


def map_terms(
  token_loss: TokenLoss, change: Callable[[Term], Term], metrics: Metrics
) -> TokenLoss:
  """Apply `change` to every term so far, and add metrics.

  Raises:
    ValueError: there is no term to change, or an earlier member reports one of
      the metrics.
  """
  if not token_loss.terms:
    raise ValueError(
      "no term to change: put this member of the chain after a surrogate"
    )
  return token_loss._replace(
    terms=tuple(change(term) for term in token_loss.terms),
    metrics=_merge_metrics(token_loss, metrics),
  )


def scale_loss(
  token_loss: TokenLoss, factor: Array, metrics: Metrics
) -> TokenLoss:
  """Multiply the loss of every term so far by a factor, and add metrics.

  Args:
    token_loss: the losses of the members before. Their denominators stay.
    factor: f32[B, T]; no gradient flows through it.
    metrics: sums and counts, by name.

  Raises:
    ValueError: there is no term to scale, or an earlier member reports one of
      the metrics.
  """
  factor = jax.lax.stop_gradient(factor)
  return map_terms(
    token_loss,
    lambda term: dataclasses.replace(term, loss=term.loss * factor),
    metrics,
  )


def require_coefficient(coefficient: Array | None, member: str) -> Array:
  """Return the controller's coefficient, f32[]; raise if it is missing.

  Args:
    coefficient: f32[]; None: no controller set one.
    member: name of the member that needs it, for the message.

  Raises:
    ValueError: there is no coefficient.
  """
  if coefficient is None:
    raise ValueError(
      f"{member} needs the coefficient of a controller: none was given"
    )
  return coefficient
