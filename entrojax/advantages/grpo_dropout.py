"""GRPODropout: drop the right responses that would drain the entropy.

    s = -(mean token log-prob);   h = A (s - mean s) / G

The sum of h over a group is the first-order change of its entropy. The rule
drops the responses of most negative h until the sum over the others is at least
0. Dropped responses with A <= 0 are then taken back, so that only likely right
ones stay dropped. They leave the loss and its denominators. Responses that
earlier rules left out are in none of these sums and means. By default, the
advantages of the kept responses are then centred: their mean with weights
exp(-s) is subtracted, also in a group that lost no response. A group in which
all advantages are 0 stays at 0.

arXiv 2610.11854. All arrays are f32[Q, G], and s is in nats.
"""

import dataclasses

import jax.numpy as jnp

from entrojax.advantages.rules import keep_mask, leave_out, require_field
from entrojax.arguments import require_one_of
from entrojax.masking import clean, divide, masked_mean, masked_sum
from entrojax.traits import RuleTraits
from entrojax.types import AdvantageRule, Array, Responses


@RuleTraits(kind="later", centres=True)
def grpo_dropout(
  *, centre: str = "weighted", centre_whole_groups: bool = True
) -> AdvantageRule:
  """Build GRPODropout's selection; put it after a baseline.

  Deviation: the released selector also drops responses of h = 0, keeps at
  least a quarter of a group and draws a random quarter of a group of zeros.
  Those rules are not in the paper.

  Args:
    centre: how kept advantages are centred. "weighted": by exp(-s), as in the
      paper. "equal": by their mean. "none": not at all, which collapsed in the
      paper's ablation.
    centre_whole_groups: also centre a group that lost no response. If False,
      such a group has the baseline's advantages, bit for bit.
  """
  require_one_of("grpo_dropout.centre", centre, ("weighted", "equal", "none"))

  def rule(responses: Responses) -> Responses:
    advantages = require_field(responses, "advantages", "grpo_dropout")
    log_probs = require_field(responses, "log_probs", "grpo_dropout")
    counted = keep_mask(responses)
    dropped = ~keep_by_entropy(advantages, log_probs, counted)
    responses = leave_out(responses, dropped)
    centred = _centred(advantages, log_probs, keep_mask(responses), centre)
    if not centre_whole_groups:
      whole = ~jnp.any(dropped, axis=1, keepdims=True)
      centred = jnp.where(whole, advantages, centred)
    # a group without a signal has nothing to centre
    silent = jnp.all(counted * advantages == 0, axis=1, keepdims=True)
    return dataclasses.replace(
      responses, advantages=jnp.where(silent, 0.0, centred)
    )

  return rule


def keep_by_entropy(
  advantages: Array, log_probs: Array, counted: Array
) -> Array:
  """Select the responses to keep, bool[Q, G].

  Args:
    advantages: f32[Q, G].
    log_probs: f32[Q, G], nats, mean over the tokens of a response.
    counted: f32[Q, G], 0 = left out before; such a response is selected.
  """
  surprise = -log_probs
  mean = masked_mean(surprise, counted, axis=1)[:, None]
  # G h: the factor 1 / G changes neither the order nor the sign
  change = clean(advantages * (surprise - mean), counted)
  order = jnp.argsort(-change, axis=1, stable=True)
  # sums of the 1, 2, ... G largest: they rise, then fall
  sums = jnp.cumsum(jnp.take_along_axis(change, order, axis=1), axis=1)
  rank = jnp.argsort(order, axis=1, stable=True)
  # a sum whose terms cancel is 0 except for rounding
  rounding = 1e-6 * jnp.sum(jnp.abs(change), axis=1, keepdims=True)
  within = jnp.take_along_axis(sums >= -rounding, rank, axis=1)
  return within | (advantages <= 0) | (counted == 0)


def _centred(
  advantages: Array, log_probs: Array, counted: Array, centre: str
) -> Array:
  """Subtract the group's mean over the counted responses, f32[Q, G].

  Args:
    advantages: f32[Q, G].
    log_probs: f32[Q, G], nats.
    counted: f32[Q, G], 1 = counted.
    centre: "weighted", "equal" or "none".
  """
  if centre == "none":
    return advantages
  weights = counted
  if centre == "weighted":
    # relative to the group's highest, which cancels: no exp underflows to 0/0
    highest = jnp.max(log_probs, axis=1, keepdims=True)
    weights = counted * jnp.exp(log_probs - highest)
  total = masked_sum(advantages, weights, axis=1)
  return advantages - divide(total, jnp.sum(weights, axis=1))[:, None]
