"""Measure an update by groups of its tokens: distances, covariance, gradient.

Tokens are grouped by fifths of their entropy, from the lowest (1) to the
highest (5), and by fifths of their response, from its start (1) to its end (5).

`distance_metrics` estimates the KL divergence from the base and from the policy
that sampled the response, for all tokens and by both kinds of fifths:

    KL(pi || base)     k3(log pi - log base)
    KL(pi_old || pi)   k3(log pi_old - log pi),   k3(x) = exp(-x) + x - 1

each with the sampled tokens (objectives/reference_kl.py). `group_metrics` adds
the mean covariance of log-probability and advantage over the tokens of highest
covariance, and the norm of the gradient that a group of tokens contributes.

Shapes: log-probs, entropies and masks are f32[B, T], the rows of a mini-batch.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from entrojax.entropy.covariance import token_covariance
from entrojax.entropy.token_groups import entropy_fifth, position_fifth
from entrojax.masking import divide, mean_metric
from entrojax.objectives.reference_kl import k3
from entrojax.types import Array, Mean, Metrics, Params, ScoredTokens

FIFTHS = 5
# parts of the tokens, by highest covariance; 2e-4 is Clip-Cov's
COVARIANCE_SHARES = (0.0002, 0.002, 0.02, 0.2)


class Measured(NamedTuple):
  """What an update measures by groups of tokens."""

  distances: bool = False  # the KL divergences; needs a reference for the base
  every: int = 0  # optimizer steps between two `group_metrics`; 0 = none


NOTHING = Measured()


def distance_metrics(tokens: ScoredTokens, sampled: Array) -> Metrics:
  """Estimate the distances from the base and from the sampling policy.

  Args:
    tokens: the mini-batch; without ref_log_probs there is no kl_base.
    sampled: f32[B, T], 1 = a sampled token, kept or not.

  Returns:
    Metrics such as kl_base/mean, kl_base/entropy_1 and kl_sampler/position_5,
    nats per token.
  """
  x = {"kl_sampler": tokens.old_log_probs - tokens.log_probs}
  if tokens.ref_log_probs is not None:
    x["kl_base"] = tokens.log_probs - tokens.ref_log_probs
  masks = {"mean": sampled, **fifths_of_tokens(tokens.entropy, sampled)}
  return {
    f"{distance}/{name}": mean_metric(k3(difference), mask)
    for distance, difference in x.items()
    for name, mask in masks.items()
  }


def fifths_of_tokens(entropy: Array, sampled: Array) -> dict[str, Array]:
  """Return the mask f32[B, T] of each fifth: entropy_1, ..., position_5."""
  numbers = {
    "entropy": entropy_fifth(entropy, sampled),
    "position": position_fifth(sampled),
  }
  return {
    f"{kind}_{i + 1}": sampled * (number == i)
    for kind, number in numbers.items()
    for i in range(FIFTHS)
  }


def group_metrics(
  tokens: ScoredTokens,
  cotangents: Any,
  transpose: Callable[[Any], tuple[Params]],
  step: Array,
  *,
  every: int,
) -> Metrics:
  """Compute covariances and gradient norms by group, every few steps.

  The norms of the groups of one kind do not add up to the norm of the whole
  gradient, because the gradients of groups may point in opposite directions. A
  token whose advantage is 0 is in neither group of signs.

  Args:
    tokens: the mini-batch.
    cotangents: d loss / d scores, a tree of f32[B, T] and f32[B, T, k].
    transpose: cotangents -> (gradient of the parameters,).
    step: i32[], optimizer steps before this one.
    every: optimizer steps between two measurements. Each takes one backward
      pass per group, 7 in all.

  Returns:
    covariance/top_0.0002 and others, nats; gradient_norm/positive, /negative
    and /entropy_1 to /entropy_5. They count only in the steps that measure.
  """
  masks = _groups(tokens)
  names = [f"gradient_norm/{name}" for name in masks]
  names += [f"covariance/top_{share:g}" for share in COVARIANCE_SHARES]

  def norm(mask: Array) -> Array:
    part = jax.tree.map(lambda x: x * _as_wide(mask, x), cotangents)
    (gradient,) = transpose(part)
    return optax.global_norm(gradient).astype(jnp.float32)

  def measure() -> Array:
    norms = jax.lax.map(norm, jnp.stack([*masks.values()]))
    return jnp.concatenate([norms, top_covariances(tokens)])

  measures = step % every == 0
  values = jax.lax.cond(
    measures, measure, lambda: jnp.zeros(len(names), jnp.float32)
  )
  count = measures.astype(jnp.float32)
  return {
    name: Mean(total=value, count=count)
    for name, value in zip(names, values, strict=True)
  }


def _groups(tokens: ScoredTokens) -> Mapping[str, Array]:
  """Return the mask f32[B, T] of each group."""
  mask = tokens.mask
  fifth = entropy_fifth(tokens.entropy, mask)
  return {
    "positive": mask * (tokens.advantages > 0),
    "negative": mask * (tokens.advantages < 0),
    **{f"entropy_{i + 1}": mask * (fifth == i) for i in range(FIFTHS)},
  }


def _as_wide(mask: Array, x: Array) -> Array:
  """Give a mask f32[B, T] the number of axes of x, f32[B, T, ...]."""
  return mask.reshape(*mask.shape, *(1,) * (x.ndim - mask.ndim))


def top_covariances(tokens: ScoredTokens) -> Array:
  """Average the covariance over the tokens that have most of it.

  Returns:
    f32[shares], nats: the mean over max(1, floor(share * N)) of N counted
    tokens, for each of COVARIANCE_SHARES.
  """
  covariance = token_covariance(
    tokens.log_probs, tokens.advantages, tokens.mask
  )
  kept = jnp.where(tokens.mask > 0, covariance, -jnp.inf).ravel()
  descending = jnp.sort(kept, descending=True)
  number = jnp.sum(tokens.mask)

  def mean_of(share: float) -> Array:
    k = jnp.minimum(jnp.maximum(jnp.floor(share * number), 1.0), number)
    first = jnp.arange(descending.size) < k
    return divide(jnp.sum(jnp.where(first, descending, 0.0)), k)

  return jnp.stack([mean_of(share) for share in COVARIANCE_SHARES])
