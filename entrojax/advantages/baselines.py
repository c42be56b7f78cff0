"""Baselines: compare the reward of a response with the rewards of its group.

    grpo:     A = (R - mean) / (std + 1e-6)
    dr_grpo:  A = R - mean
    rloo:     A = R - mean of the others
    maxrl:    A = (R - mean) / (share of right responses + 1e-6)
    qae:      A = (R - quantile) / (std + 1e-6)
    rs_grpo:  A = (exp(beta R) / mean of exp(beta R) - 1) / beta
    gdpo:     A = sum over parts k of w_k (R_k - mean) / (std + 1e-6)

R is the reward after the rules that shape rewards. Rewards and advantages are
f32[Q, G], and the mean and std are over a group, which needs at least 2
responses. A group whose rewards differ by less than 1e-6 carries no signal and
gets exactly 0. Otherwise rounding would leave a small residue, and dividing it
by a tiny std would make it large. Baselines from the number of right responses
are in pass_at_k.py, and the three rules that need no group in decomposed.py.
"""

import dataclasses

import jax
import jax.numpy as jnp

from entrojax.arguments import require, require_in
from entrojax.traits import RuleTraits
from entrojax.types import AdvantageRule, Array, Responses

_EQUAL = 1e-6  # rewards closer than this are equal


@RuleTraits(kind="baseline")
def grpo() -> AdvantageRule:
  """Build A = (R - mean) / (std + 1e-6), with std of ddof 1.

  GRPO (DeepSeekMath, arXiv 2402.03300, sec. 4.1.2), as in verl.
  """

  return lambda responses: with_advantages(
    responses, _standardised(responses.rewards)
  )


@RuleTraits(kind="baseline")
def dr_grpo() -> AdvantageRule:
  """Build A = R - mean: Dr.GRPO (arXiv 2503.20783, sec. 3.2)."""
  return lambda responses: with_advantages(
    responses, _centred(responses.rewards)
  )


@RuleTraits(kind="baseline")
def rloo() -> AdvantageRule:
  """Build A = R - mean of the others: RLOO (arXiv 2402.14740, eq. 8).

  It equals G / (G - 1) * (R - mean).
  """

  def rule(responses: Responses) -> Responses:
    group_size = responses.rewards.shape[1]
    centred = _centred(responses.rewards)
    return with_advantages(responses, centred * (group_size / (group_size - 1)))

  return rule


@RuleTraits(kind="baseline")
def maxrl() -> AdvantageRule:
  """Build A = (R - mean) / (share of right responses + 1e-6).

  MaxRL (arXiv 2602.02710). A prompt counts in inverse proportion to its success
  rate, so the update follows the gradient of log(success rate). With rewards
  of 0 and 1 the denominator is their mean, as in the paper.

  Deviation: the paper has no shaped rewards. A penalty can bring their mean to
  0 or below it, so here the raw verdicts make the denominator. A group without
  a right response gets exactly 0.
  """

  def rule(responses: Responses) -> Responses:
    raw = responses.correctness
    verdicts = responses.rewards if raw is None else raw
    rate = jnp.mean(verdicts, axis=1, keepdims=True)
    advantages = _centred(responses.rewards) / (jnp.maximum(rate, 0) + 1e-6)
    return with_advantages(responses, jnp.where(rate > 0, advantages, 0.0))

  return rule


@RuleTraits(kind="baseline")
def qae(*, quantile: float = 0.4) -> AdvantageRule:
  """Build A = (R - quantile) / (std + 1e-6), with std of ddof 1.

  Quantile advantage estimation (arXiv 2509.22611). The quantile is the smallest
  reward that at least this share of the group does not exceed. With rewards of
  0 and 1 it is 0 where the success rate is at most 1 - quantile: there right
  responses are pushed up, and wrong ones have A = 0. Elsewhere it is 1: wrong
  responses are pushed down, and right ones have A = 0.

  Args:
    quantile: the share K, in (0, 1]. A larger K pushes down wrong responses of
      more prompts, and pushes up right responses of fewer.
  """
  require_in("qae.quantile", quantile, "(0, 1]")

  def rule(responses: Responses) -> Responses:
    rewards = responses.rewards
    _require_group(rewards)
    # the slack keeps a product such as 0.7 * 10 from rounding up to 8
    rank = jnp.ceil(quantile * rewards.shape[1] - 1e-4).astype(jnp.int32)
    ordered = jnp.sort(rewards, axis=1)
    baseline = jnp.take(ordered, jnp.maximum(rank, 1) - 1, axis=1)[:, None]
    deviation = jnp.std(rewards, axis=1, ddof=1, keepdims=True)
    advantages = (rewards - baseline) / (deviation + 1e-6)
    return with_advantages(
      responses, jnp.where(all_equal(rewards), 0.0, advantages)
    )

  return rule


@RuleTraits(kind="baseline")
def rs_grpo(*, beta: float = 2.0) -> AdvantageRule:
  """Build A = (exp(beta R) / mean of exp(beta R) - 1) / beta.

  Risk-sensitive GRPO (arXiv 2509.24261), as in the authors' code: the policy
  gradient of log(mean of exp(beta R)) / beta, which lies between the mean and
  the largest reward of a group.

  Args:
    beta: > 0. Near 0 it is Dr.GRPO; a larger beta counts rare right responses
      more and wrong ones less.
  """
  require_in("rs_grpo.beta", beta, "(0, inf)")

  def rule(responses: Responses) -> Responses:
    rewards = responses.rewards
    _require_group(rewards)
    # a softmax is exp(beta R) over its sum, and does not overflow
    share = jax.nn.softmax(beta * rewards, axis=1) * rewards.shape[1]
    return with_advantages(
      responses, jnp.where(all_equal(rewards), 0.0, (share - 1) / beta)
    )

  return rule


@RuleTraits(kind="baseline")
def gdpo(
  *, parts: tuple[str, ...] = (), weights: tuple[float, ...] = ()
) -> AdvantageRule:
  """Build GRPO's baseline for each part of the reward; put `whiten` after it.

  GDPO (arXiv 2601.05242), as in verl and TRL. A part that varies little counts
  as much as one that varies a lot, where GRPO's sum would hide it. Rules that
  shape rewards leave the parts as they are.

  Args:
    parts: names of the parts; () = the whole reward is the only one.
    weights: their weights w_k, in the same order; () = 1 for each.

  Returns:
    A rule. It raises ValueError if the rewards lack one of the parts.
  """
  require(
    not weights or len(weights) == len(parts),
    f"gdpo.weights = {weights} must have one weight for each of gdpo.parts = "
    f"{parts}",
  )

  def rule(responses: Responses) -> Responses:
    if not parts:
      return grpo()(responses)
    total = jnp.zeros_like(responses.rewards)
    for name, weight in zip(parts, weights or [1.0] * len(parts), strict=True):
      if name not in responses.parts:
        raise ValueError(
          f"gdpo.parts names {name!r}, and the parts of the rewards are "
          f"{', '.join(responses.parts) or 'none'}"
        )
      total += weight * _standardised(responses.parts[name])
    return with_advantages(responses, total)

  return rule


def with_advantages(responses: Responses, advantages: Array) -> Responses:
  """Return `responses` with the advantages of a baseline, f32[Q, G].

  Raises:
    ValueError: an earlier rule has computed advantages already.
  """
  if responses.advantages is not None:
    raise ValueError(
      "two rules compute advantages from rewards: choose one baseline"
    )
  return dataclasses.replace(responses, advantages=advantages)


def all_equal(rewards: Array) -> Array:
  """Compute whether all rewards f32[Q, G] of a group are equal, bool[Q, 1]."""
  spread = jnp.max(rewards, axis=1) - jnp.min(rewards, axis=1)
  return (spread < _EQUAL)[:, None]


def _require_group(rewards: Array) -> None:
  """Raise ValueError if the groups of f32[Q, G] have a single response."""
  if rewards.shape[1] < 2:
    raise ValueError(
      "a group of 1 response has no baseline: group_size must be at least 2"
    )


def _standardised(rewards: Array) -> Array:
  """Compute (R - mean) / (std + 1e-6), f32[Q, G], with std of ddof 1."""
  deviation = jnp.std(rewards, axis=1, ddof=1, keepdims=True)
  return _centred(rewards) / (deviation + 1e-6)


def _centred(rewards: Array) -> Array:
  """Compute R - mean, f32[Q, G], exactly 0 in a group of equal rewards."""
  _require_group(rewards)
  centred = rewards - jnp.mean(rewards, axis=1, keepdims=True)
  return jnp.where(all_equal(rewards), 0.0, centred)
