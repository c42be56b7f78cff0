"""Account for the entropy that an optimizer step gains or loses.

An entry of the ledger compares the mean entropy H of the same tokens before and
after a step, in three columns:

    own        the tokens that the step was trained on
    held_back  tokens of the same rollout batch that no step has trained on yet
    fresh      tokens of the next rollout batch

For each column it has, in nats per token:

    entropy_before, entropy_after
    measured             entropy_after - entropy_before
    first_order          <grad H before, step>
    trapezoid            the mean of <grad H, step> before and after
    left                 measured - first_order
    covariance           minus the mean covariance of log-prob and advantage,
                         per unit of step size (arXiv 2505.22617, eq. 10)
    weighted_covariance  the same with each token's loss weight in place of its
                         advantage; only for own tokens, as others have none

`first_order` and `measured` are split by group of tokens, in four ways. The
share of a group is the sum over its tokens divided by the number of all tokens,
so the shares of a split add up to the whole. A token that is not counted in the
mean is in no group.

    by_sign      sign of the advantage x probability at or above the median or
                 below it; tokens of advantage 0 are a group of their own
    by_verdict   tokens of right and of wrong responses
    by_entropy   fifths of the tokens' entropy, the lowest first
    by_position  fifths of the response, the first first

Shapes: f32[B, T], rows of response tokens.
"""

from collections.abc import Mapping

import jax.numpy as jnp

from entrojax.entropy.covariance import predicted_entropy_change
from entrojax.masking import divide, masked_mean, masked_sum, scalar_metric
from entrojax.types import Array, Mean, Metrics
from entrojax.update.measured_step import Rows
from entrojax.update.token_changes import TokenChanges

COLUMNS = ("own", "held_back", "fresh")

# split -> the names of its groups, in the order of the logged lists
SPLITS: Mapping[str, tuple[str, ...]] = {
  "by_sign": (
    "positive_probable",
    "positive_rare",
    "negative_probable",
    "negative_rare",
    "no_advantage",
  ),
  "by_verdict": ("right", "wrong"),
  "by_entropy": tuple(f"fifth_{i}" for i in range(1, 6)),
  "by_position": tuple(f"fifth_{i}" for i in range(1, 6)),
}


def column_metrics(
  rows: Rows,
  start: TokenChanges,
  end: TokenChanges,
  weights: Array | None = None,
) -> Metrics:
  """Compute the entry of one column.

  Args:
    rows: the tokens of the column.
    start: the tokens under the policy before the step.
    end: the same tokens under the policy after it.
    weights: f32[B, T], -N d loss / d log_prob; None: the step was not made of
      these tokens.

  Returns:
    Numbers f32[] by their name, and lists f32[groups] by the name
    <first_order, measured or tokens>/<split>, where tokens is the share of the
    tokens in each group.
  """
  mask = rows.batch.response_mask
  counted = mask * rows.batch.keep[:, None]
  measured = end.entropy - start.entropy  # token by token: no large sums cancel
  before = masked_mean(start.entropy, mask)
  change = masked_mean(measured, mask)
  first_order = masked_mean(start.change, mask)
  numbers = {
    "entropy_before": before,
    "entropy_after": before + change,
    "measured": change,
    "first_order": first_order,
    "trapezoid": (first_order + masked_mean(end.change, mask)) / 2,
    "left": change - first_order,
    "covariance": predicted_entropy_change(
      start.log_probs, rows.batch.advantages, counted
    ),
  }
  if weights is not None:
    numbers["weighted_covariance"] = predicted_entropy_change(
      start.log_probs, weights, counted
    )
  metrics = {key: scalar_metric(value) for key, value in numbers.items()}
  shared = {
    "first_order": start.change,
    "measured": measured,
    "tokens": jnp.ones_like(mask),
  }
  for split, groups in token_groups(rows, start).items():
    for key, values in shared.items():
      metrics[f"{key}/{split}"] = _list_metric(
        divide(
          jnp.stack([masked_sum(values, group) for group in groups]),
          jnp.sum(mask),
        )
      )
  return metrics


def token_groups(rows: Rows, start: TokenChanges) -> dict[str, list[Array]]:
  """Compute the groups of each split as masks f32[B, T], in order.

  Every counted token is in exactly one group of each split.
  """
  mask, advantages = rows.batch.response_mask, rows.batch.advantages
  (median,) = _edges(start.log_probs, mask, 2)
  probable = start.log_probs >= median
  signs = [advantages > 0, advantages < 0]
  by_sign = [sign & p for sign in signs for p in (probable, ~probable)]
  right = jnp.broadcast_to(rows.right[:, None] > 0, mask.shape)
  fifth = sum(
    (start.entropy >= edge).astype(jnp.int32)
    for edge in _edges(start.entropy, mask, 5)
  )
  lengths = jnp.sum(mask, axis=1, keepdims=True)
  at = jnp.broadcast_to(jnp.arange(mask.shape[1])[None], mask.shape)
  part = 5 * at // jnp.maximum(lengths, 1).astype(jnp.int32)
  groups = {
    "by_sign": [*by_sign, advantages == 0],
    "by_verdict": [right, ~right],
    "by_entropy": [fifth == i for i in range(5)],
    "by_position": [part == i for i in range(5)],
  }
  return {
    split: [mask * group for group in members]
    for split, members in groups.items()
  }


def _edges(values: Array, mask: Array, num_parts: int) -> list[Array]:
  """Return the values that begin the second to the last of equal parts.

  Equal values are in the same part, so parts may differ in size.
  """
  ordered = jnp.sort(jnp.where(mask > 0, values, jnp.inf), axis=None)
  count = jnp.sum(mask).astype(jnp.int32)
  return [ordered[-(-count * i // num_parts)] for i in range(1, num_parts)]


def _list_metric(values: Array) -> Mean:
  """Build a metric from a list of numbers f32[K]."""
  return Mean(total=values.astype(jnp.float32), count=jnp.float32(1.0))
