"""Measure how much each member of a chain changes the gradient.

The gradient is taken of the mini-batch's loss, with respect to its log-probs,
entropies and statistics, before it is propagated into the model. Each member is
compared with the chain that ends before it. The first one, the surrogate, is
compared with the plain policy gradient of -A r. `gradient_changes` returns two
metrics for each member, and `touched_tokens` marks the tokens:

    <name>/gradient_change    |g - g_before| / |g_before|
    <name>/gradient_touched   share of the tokens whose gradient it changed

gradient_change is 0 if the member changes nothing on this mini-batch. If
g_before is 0 and g is not, as for an entropy bonus when all advantages are 0,
the ratio has no value, and the mini-batch does not count in the metric.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import functools
from typing import Any

import jax
import jax.numpy as jnp

from entrojax.masking import divide, mean_metric
from entrojax.objectives.chain import add_term, chain
from entrojax.objectives.surrogates import probability_ratio, unclipped_loss
from entrojax.types import (
  Array,
  Mean,
  Metrics,
  Objective,
  ScoredTokens,
  TokenLoss,
)

# Relative to the largest entry. Float32 sums in another order differ by less.
_ROUNDING = 1e-5

# (objective, what is learned) -> (loss f32[], metrics)
Loss = Callable[[Objective, Any], tuple[Array, Metrics]]


def gradient_changes(
  members: Mapping[str, Objective],
  loss_of: Loss,
  learned: Any,
  mask: Array,
) -> Metrics:
  """Compute how much each member changes the gradient.

  Args:
    members: the members of a chain by name, in order.
    loss_of: computes the loss of an objective on the mini-batch, with the same
      key and coefficient for all.
    learned: log-probs, entropies and statistics of the mini-batch, a pytree of
      f32[B, T] and f32[B, T, k].
    mask: f32[B, T], 1 = counted.

  Returns:
    Two metrics for each member: `<name>/gradient_change`, which is |g -
    g_before| / |g_before|, and `<name>/gradient_touched`, the share of tokens
    whose gradient it changed, in [0, 1].
  """
  metrics = {}
  for name, before, difference, touched in _compare(members, loss_of, learned):
    change, size = _norm(difference), _norm(before)
    metrics[f"{name}/gradient_change"] = Mean(
      total=divide(change, size),
      count=((size > 0) | (change == 0)).astype(jnp.float32),
    )
    metrics[f"{name}/gradient_touched"] = mean_metric(
      touched.astype(jnp.float32), mask
    )
  return metrics


def touched_tokens(
  members: Mapping[str, Objective], loss_of: Loss, learned: Any
) -> dict[str, Array]:
  """Mark the tokens whose gradient each member changes.

  Args:
    members: the members of a chain by name, in order.
    loss_of: computes the loss of an objective on the mini-batch.
    learned: log-probs, entropies and statistics of the mini-batch.

  Returns:
    bool[B, T] for each member.
  """
  steps = _compare(members, loss_of, learned)
  return {name: touched for name, _, _, touched in steps}


def _compare(
  members: Mapping[str, Objective], loss_of: Loss, learned: Any
) -> Iterator[tuple[str, list[Array], list[Array], Array]]:
  """Compare the gradient with each member to the one before it.

  Yields:
    The member's name; the gradient before it and |g - g_before|, each as arrays
    [B, T]; and bool[B, T], True = a token whose gradient it changes.
  """

  def gradient_of(objective: Objective) -> list[Array]:
    gradient = jax.grad(lambda learned: loss_of(objective, learned)[0])(learned)
    return [x for leaf in jax.tree.leaves(gradient) for x in _planes(leaf)]

  before, prefix = gradient_of(policy_gradient), []
  for name, member in members.items():
    prefix.append(member)
    after = gradient_of(chain(*prefix))
    difference: list[Array] = [
      jnp.abs(a - b) for a, b in zip(after, before, strict=True)
    ]
    largest = jnp.max(jnp.abs(jnp.stack([*before, *after])))
    touched: Array = (
      functools.reduce(jnp.maximum, difference) > _ROUNDING * largest
    )
    yield name, before, difference, touched
    before = after


def _planes(leaf: Array) -> list[Array]:
  """Split an array [B, T] or [B, T, k] into arrays [B, T]."""
  if leaf.ndim == 2:
    return [leaf]
  return [leaf[..., j] for j in range(leaf.shape[2])]


def _norm(gradients: Sequence[Array]) -> Array:
  """Compute the norm of all gradients together, f32[]."""
  return jnp.sqrt(sum(jnp.sum(jnp.square(g)) for g in gradients))


def policy_gradient(
  tokens: ScoredTokens, token_loss: TokenLoss, coefficient: Array, key: Array
) -> TokenLoss:
  """Add the term -A r: the objective that a surrogate is compared with."""
  del coefficient, key
  ratio = probability_ratio(tokens.log_probs, tokens.old_log_probs)
  loss = unclipped_loss(ratio, tokens.advantages)
  return add_term(token_loss, loss, tokens.mask, {})
