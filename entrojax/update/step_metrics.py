"""Compute the metrics of an optimizer step that hold for every method.

They are the loss, norms, entropies, covariances and the difference between
sampler and trainer. Objectives, controllers and the projection report their own
metrics. Entropies and log-probs are in nats.

`step_scalars` returns plain numbers f32[]; the other functions return Means,
sums and counts. Shapes: tokens and masks f32[B, T], the rows of the mini-batch.
"""

from collections.abc import Mapping

import jax.numpy as jnp
import optax

from entrojax.entropy.covariance import (
  covariance_metrics,
  predicted_entropy_change,
)
from entrojax.entropy.histogram import entropy_histogram
from entrojax.masking import clean, mean_metric
from entrojax.types import Array, Batch, Mean, Metrics, Params, ScoredTokens


def step_scalars(
  tokens: ScoredTokens,
  loss: Array,
  log_prob_cotangent: Array,
  grads: Params,
  updates: Params,
) -> Mapping[str, Array]:
  """Compute the loss, the norms and the predicted entropy change of a step.

  Args:
    tokens: the mini-batch.
    loss: f32[].
    log_prob_cotangent: f32[B, T], d loss / d log_probs.
    grads: the gradient with respect to the parameters, before clipping.
    updates: what the optimizer adds to the parameters.

  Returns:
    Scalars f32[] by the name of their metric.
    covariance/predicted_change_weighted is the predicted entropy change with
    -N d loss / d log_prob in place of the advantage A, where N is the number of
    counted tokens. It thereby includes everything that the objective does to A.
    Negative: the entropy falls.
  """
  weights = -jnp.sum(tokens.mask) * log_prob_cotangent
  return {
    "actor/loss": loss,
    "covariance/predicted_change_weighted": predicted_entropy_change(
      tokens.log_probs, weights, tokens.mask
    ),
    "actor/grad_norm": optax.global_norm(grads),
    "actor/update_norm": optax.global_norm(updates),
  }


def control_metrics(values: Mapping[str, Array], entropy: Array) -> Metrics:
  """Build the metrics of the controller; they do not count without an entropy.

  An empty mini-batch has no entropy and no loss: the controller neither acted
  on it nor moved.

  Args:
    values: f32[] by the name of their metric.
    entropy: f32[], nats, the mean entropy of the mini-batch; NaN: it has none.
  """
  counts = jnp.isfinite(entropy)
  return {
    name: Mean(
      total=jnp.where(counts, value, 0).astype(jnp.float32),
      count=counts.astype(jnp.float32),
    )
    for name, value in values.items()
  }


def token_metrics(tokens: ScoredTokens, sampled: Array) -> Metrics:
  """Compute the metrics that are means over tokens.

  Args:
    tokens: the mini-batch; its mask leaves out responses that are not kept.
    sampled: f32[B, T], 1 = a sampled token, kept or not.
  """
  log_ratio = tokens.log_probs - tokens.old_log_probs
  signs = {"positive": tokens.advantages > 0, "negative": tokens.advantages < 0}
  return {
    **covariance_metrics(tokens),
    **{
      f"entropy/{name}": mean_metric(tokens.entropy, tokens.mask * sign)
      for name, sign in signs.items()
    },
    "actor/entropy": mean_metric(tokens.entropy, sampled),
    "actor/ppo_kl": mean_metric(-log_ratio, sampled),
    "actor/entropy_histogram": Mean(
      total=entropy_histogram(tokens.entropy, sampled),
      count=jnp.float32(1.0),
    ),
  }


def sampler_difference(
  tokens: ScoredTokens, batch: Batch, first: Array
) -> Metrics:
  """Compute how far sampler and trainer differ on the same parameters.

  The result is the largest |log-prob difference| of a sampled token, nats. Only
  the first update of a rollout batch can measure it, because its policy sampled
  the batch. The other updates report a count of 0.

  Args:
    tokens: the mini-batch, scored by the trainer.
    batch: the mini-batch with the log-probs of the sampler.
    first: bool[], whether the policy before this update sampled the batch.
  """
  difference = clean(
    jnp.abs(tokens.log_probs - batch.old_log_probs), batch.response_mask
  )
  count = first.astype(jnp.float32)
  return {
    "rollout/log_prob_diff_max": Mean(
      total=count * jnp.max(difference), count=count
    )
  }
