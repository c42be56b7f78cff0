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
    simpson              (before + 4 middle + after) / 6 of <grad H, step>, by
                         Simpson's rule; only for own tokens, on which the
                         entropy is most curved along the step
    left                 measured - first_order
    covariance           minus the mean covariance of log-prob and advantage,
                         per unit of step size (arXiv 2505.22617, eq. 10)
    weighted_covariance  the same with each token's loss weight in place of its
                         advantage; only for own tokens, as others have none

`first_order` and `measured` are split by group of tokens, in the ways of
entropy/token_groups.py. The share of a group is the sum over its tokens divided
by the number of all tokens, so the shares of a split add up to the whole.

Shapes: f32[B, T], rows of response tokens.
"""

import jax.numpy as jnp

from entrojax.entropy.covariance import predicted_entropy_change
from entrojax.entropy.token_groups import token_groups
from entrojax.masking import divide, masked_mean, masked_sum, scalar_metric
from entrojax.types import Array, Mean, Metrics
from entrojax.update.measured_step import Rows
from entrojax.update.token_changes import TokenChanges

COLUMNS = ("own", "held_back", "fresh")


def column_metrics(
  rows: Rows,
  start: TokenChanges,
  end: TokenChanges,
  weights: Array | None = None,
  middle: TokenChanges | None = None,
) -> Metrics:
  """Compute the entry of one column.

  Args:
    rows: the tokens of the column.
    start: the tokens under the policy before the step.
    end: the same tokens under the policy after it.
    weights: f32[B, T], -N d loss / d log_prob; None: the step was not made of
      these tokens.
    middle: the same tokens under the policy half-way along the step; None: they
      were not measured there.

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
  at_end = masked_mean(end.change, mask)
  numbers = {
    "entropy_before": before,
    "entropy_after": before + change,
    "measured": change,
    "first_order": first_order,
    "trapezoid": (first_order + at_end) / 2,
    "left": change - first_order,
    "covariance": predicted_entropy_change(
      start.log_probs, rows.batch.advantages, counted
    ),
  }
  if weights is not None:
    numbers["weighted_covariance"] = predicted_entropy_change(
      start.log_probs, weights, counted
    )
  if middle is not None:
    half_way = masked_mean(middle.change, mask)
    numbers["simpson"] = (first_order + 4 * half_way + at_end) / 6
  metrics = {key: scalar_metric(value) for key, value in numbers.items()}
  shared = {
    "first_order": start.change,
    "measured": measured,
    "tokens": jnp.ones_like(mask),
  }
  groups_of = token_groups(
    start.log_probs, start.entropy, rows.batch.advantages, rows.right, mask
  )
  for split, groups in groups_of.items():
    for key, values in shared.items():
      metrics[f"{key}/{split}"] = _list_metric(
        divide(
          jnp.stack([masked_sum(values, group) for group in groups]),
          jnp.sum(mask),
        )
      )
  return metrics


def _list_metric(values: Array) -> Mean:
  """Build a metric from a list of numbers f32[K]."""
  return Mean(total=values.astype(jnp.float32), count=jnp.float32(1.0))
