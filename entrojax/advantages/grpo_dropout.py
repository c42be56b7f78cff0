"""GRPODropout: right responses that would drain the entropy are dropped.

    s = -(mean token log-prob);   h = A (s - mean s) / G

The sum of h over a group is the first-order change of its entropy. The largest
set with a sum of at least 0 is kept: the most negative h go first. Dropped
responses with A <= 0 come back, so that only likely right ones are dropped.
The rest is centred with weights exp(-s). arXiv 2610.11854.
"""

import dataclasses

import jax.numpy as jnp

from entrojax.advantages.rules import kept, known, leave_out
from entrojax.masking import divide, masked_sum
from entrojax.types import AdvantageRule, Array, Responses


def grpo_dropout(
  *, centre: str = "weighted", centre_whole_groups: bool = True
) -> AdvantageRule:
  """Makes the selection; put it after a baseline.

  Deviation: the released selector also drops responses of h = 0, keeps at
  least a quarter of a group and draws a random quarter of a group of zeros;
  those rules are not in the paper.

  Args:
    centre: how kept advantages are centred: "weighted", by exp(-s), as in the
      paper; "equal", by their mean; "none", which collapsed in its ablation.
    centre_whole_groups: also centre a group that lost no response. False:
      such a group is its baseline's, bit for bit.
  """
  if centre not in ("weighted", "equal", "none"):
    raise ValueError(
      "grpo_dropout.centre must be 'weighted', 'equal' or 'none', got "
      f"{centre!r}"
    )

  def rule(responses: Responses) -> Responses:
    advantages = known(responses, "advantages", "grpo_dropout")
    log_probs = known(responses, "log_probs", "grpo_dropout")
    dropped = ~kept_by_entropy(advantages, log_probs)
    responses = leave_out(responses, dropped)
    centred = _centred(advantages, log_probs, kept(responses), centre)
    if not centre_whole_groups:
      whole = ~jnp.any(dropped, axis=1, keepdims=True)
      centred = jnp.where(whole, advantages, centred)
    # a group without a signal has nothing to centre
    silent = jnp.all(advantages == 0, axis=1, keepdims=True)
    return dataclasses.replace(
      responses, advantages=jnp.where(silent, 0.0, centred)
    )

  return rule


def kept_by_entropy(advantages: Array, log_probs: Array) -> Array:
  """Returns bool[Q, G], which to keep, of advantages and log-probs [Q, G]."""
  surprise = -log_probs
  change = advantages * (surprise - jnp.mean(surprise, axis=1, keepdims=True))
  order = jnp.argsort(-change, axis=1, stable=True)
  # sums of the largest ones: they rise, then fall
  sums = jnp.cumsum(jnp.take_along_axis(change, order, axis=1), axis=1)
  rank = jnp.argsort(order, axis=1, stable=True)
  # a sum whose terms cancel is 0 but for rounding
  rounding = 1e-6 * jnp.sum(jnp.abs(change), axis=1, keepdims=True)
  within = jnp.take_along_axis(sums >= -rounding, rank, axis=1)
  return within | (advantages <= 0)


def _centred(
  advantages: Array, log_probs: Array, counted: Array, centre: str
) -> Array:
  """Returns advantages less the mean of what counts, as `centre` says."""
  if centre == "none":
    return advantages
  weights = counted
  if centre == "weighted":
    # shares of a group: exp of the highest log-prob cancels
    highest = jnp.max(log_probs, axis=1, keepdims=True)
    weights = counted * jnp.exp(log_probs - highest)
  total = masked_sum(advantages, weights, axis=1)
  return advantages - divide(total, jnp.sum(weights, axis=1))[:, None]
