"""Declare and read statistics beyond log-prob and entropy.

An update computes only the statistics that a member of its chain declares:

    def objective(tokens, token_loss, coefficient, key):
      varentropy = statistic_of(tokens, VARENTROPY, "calm")
      ...

    return reading(objective, VARENTROPY)

entropy/statistics.py lists them. VARENTROPY is under the current policy, and
gradients flow through it. old(VARENTROPY) is under the policy that sampled the
response, and is a constant. At the first update after a rollout both are equal.
If there are more updates, old statistics cost one more forward pass of the
rollout batch. An offline run has none: recorded rollouts hold log-probs and
entropies alone.
"""

from collections.abc import Mapping
import functools
import math

import jax.numpy as jnp

from entrojax.entropy.statistics import (
  check_statistics,
  describe,
  value_shape,
)
from entrojax.masking import masked_mean
from entrojax.schedules import at
from entrojax.types import Array, Objective, ScoredTokens, Statistic


class MissingStatisticError(ValueError):
  """Raised if a member reads a statistic that no member has declared."""


def reading(objective: Objective, *statistics: Statistic) -> Objective:
  """Declare that an objective reads statistics, beside those it has declared.

  Returns:
    The same objective with the declaration.

  Raises:
    ValueError: one of them is no statistic.
  """
  check_statistics(statistics)

  @functools.wraps(objective)
  def declared(*args):
    return objective(*args)

  every = (*statistics_read(objective), *statistics)
  declared.statistics = tuple(dict.fromkeys(every))  # type: ignore[attr-defined]
  return declared


def statistics_read(objective: Objective) -> tuple[Statistic, ...]:
  """Return the statistics that an objective has declared."""
  return getattr(at(objective, 0), "statistics", ())


def statistic_of(
  tokens: ScoredTokens, statistic: Statistic, member: str
) -> Array:
  """Return a statistic of a mini-batch, f32[B, T] or f32[B, T, k].

  Args:
    tokens: the mini-batch.
    statistic: what to read.
    member: name of the member that reads it, for the message.

  Raises:
    MissingStatisticError: no member of the chain has declared it.
  """
  if statistic not in tokens.statistics:
    has = ", ".join(map(describe, tokens.statistics)) or "none"
    raise MissingStatisticError(
      f"{member} reads {describe(statistic)}, which no member declares "
      f"(declared: {has}): let its factory return reading(objective, "
      f"{describe(statistic)})"
    )
  return tokens.statistics[statistic]


def rollout_entropy(tokens: ScoredTokens) -> Array:
  """Return the mean entropy of the policy that sampled the rollout batch.

  Returns:
    f32[], nats, the entropy that controls steer by; the mini-batch's mean if
    the tokens have no rollout_entropy.
  """
  entropy = tokens.rollout_entropy
  if entropy is None:
    entropy = tokens.old_entropy
  return masked_mean(entropy, tokens.mask)


def under_current_policy(
  statistics: tuple[Statistic, ...],
) -> tuple[Statistic, ...]:
  """Return the same statistics under the current policy, each once."""
  return tuple(dict.fromkeys(s._replace(old=False) for s in statistics))


def check_reads(
  members: Mapping[str, Objective],
  *,
  on_policy: bool,
  vocabulary: float = math.inf,
) -> None:
  """Check that what the members of a chain read can be computed.

  Args:
    members: the members by name.
    on_policy: whether the policy before an update has sampled its rollouts.
    vocabulary: the number of tokens; infinite if it is not known yet.

  Raises:
    ValueError: a member reads a statistic that there is not; the message names
      the member and the statistic.
  """
  for name, member in members.items():
    statistics = statistics_read(member)
    try:
      check_statistics(statistics, vocabulary)
    except ValueError as error:
      raise ValueError(f"objective: {name}: {error}") from error
    for statistic in statistics:
      if statistic.old and not on_policy:
        current = describe(statistic._replace(old=False))
        raise ValueError(
          f"objective: {name} reads {describe(statistic)}, but recorded "
          "rollouts hold only log-probs and entropies of the policy that "
          f"sampled them: read {current} of the current policy, or set "
          "offline.enabled to False"
        )


def placeholder_statistics(objective: Objective, token: Array) -> dict:
  """Return zeros for all statistics that an objective may read.

  Args:
    objective: the chain.
    token: f32[B, T], of the shape of the mini-batch.
  """
  declared = statistics_read(objective)
  return {
    statistic: jnp.zeros((*token.shape, *value_shape(statistic)), token.dtype)
    for statistic in (*under_current_policy(declared), *declared)
  }
