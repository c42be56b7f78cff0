"""Trace the methods of a run before it begins, so that errors appear early.

A trial computes nothing: it traces a loss of two rows of three tokens, or the
advantages of three groups. It also finds what the functions read.
"""

from collections.abc import Mapping
import functools
from typing import Any
import warnings

import jax
import jax.numpy as jnp

from entrojax import advantages, objectives
from entrojax.objectives import aggregation
from entrojax.objectives.reading import placeholder_statistics
from entrojax.types import (
  AdvantageRule,
  Array,
  Objective,
  Responses,
  ScoredTokens,
)


def try_members(
  members: Mapping[str, Objective], kinds: Mapping[str, str | None]
) -> None:
  """Trace the chain, and find out whether it has a surrogate.

  Args:
    members: the members by name, in order.
    kinds: the kind of each member. A member of unknown kind counts as a
      surrogate if it adds a term.

  Raises:
    ValueError: a member fails, or none of them is a surrogate.
  """
  surrogates = [name for name, kind in kinds.items() if kind == "surrogate"]

  def watched(name: str, member: Objective) -> Objective:
    @functools.wraps(member)
    def objective(tokens, token_loss, coefficient, key):
      result = member(tokens, token_loss, coefficient, key)
      if kinds[name] is None and len(result.terms) > len(token_loss.terms):
        surrogates.append(name)
      return result

    return objective

  trace_objective(
    objectives.chain(*(watched(n, m) for n, m in members.items()))
  )
  if not surrogates:
    raise ValueError(
      "objective has no surrogate, so the policy would not learn from rewards: "
      "begin it with a surrogate, such as 'ppo_clip'"
    )


def try_without_controller(
  members: Mapping[str, Objective], controller: str
) -> None:
  """Raise ValueError if a member needs a coefficient, which no one sets.

  Args:
    members: the members by name, in order. They have been traced with a
      coefficient.
    controller: the name of the controller, which drives nothing.
  """
  try:
    trace_objective(objectives.chain(*members.values()), coefficient=None)
  except ValueError as error:
    raise ValueError(
      "objective has a member that is driven by a controller, but control.name "
      f"is {controller!r}, which drives none ({error})"
    ) from error


def warn_of_unread_coefficient(objective: Objective, controller: str) -> None:
  """Warn if the loss does not depend on the controller's coefficient.

  Args:
    objective: the chain.
    controller: the name of the controller.
  """
  traced = jax.make_jaxpr(
    lambda coefficient: _trial_loss(
      objective, _trial_tokens(objective), coefficient
    )
  )(0.0).jaxpr
  dependent = set(map(id, traced.invars))
  for equation in traced.eqns:
    if not dependent.isdisjoint(map(id, equation.invars)):
      dependent.update(map(id, equation.outvars))
  if dependent.isdisjoint(map(id, traced.outvars)):
    warnings.warn(
      f"control.name is {controller!r}, and no member of objective reads its "
      "coefficient: it would steer nothing",
      stacklevel=3,
    )


def needs_reference(objective: Objective) -> bool:
  """Return whether a member of the chain reads the reference's log-probs.

  Args:
    objective: the chain, which works with a reference. If it fails without one,
      it reads it, and a member of the user's own code may fail in any way.
  """
  try:
    trace_objective(objective, with_reference=False)
  except ValueError:
    return True
  return False


def trace_objective(
  objective: Objective,
  *,
  with_reference: bool = True,
  coefficient: float | None = 0.0,
) -> None:
  """Trace the loss of two rows of three tokens.

  Args:
    objective: the chain.
    with_reference: whether the tokens have a reference log-prob.
    coefficient: the controller's; None: there is no controller.
  """
  tokens = _trial_tokens(objective, with_reference=with_reference)
  jax.eval_shape(lambda t: _trial_loss(objective, t, coefficient), tokens)


def try_rules(
  rules: Mapping[str, AdvantageRule], group_size: int
) -> tuple[str, ...]:
  """Trace advantage rules on three groups.

  Args:
    rules: by name, in order.
    group_size: responses per prompt.

  Returns:
    The names of the parts of rewards that the rules read.
  """
  names: list[str] = []

  def apply(array: Array) -> None:
    parts = _AnyParts(array)
    responses = Responses(
      rewards=array,
      correctness=array,
      log_probs=array,
      lengths=array,
      truncated=array,
      failed=array,
      clusters=array.astype(jnp.int32),
      entropy=jnp.float32(0.0),
      entropies=array,
      rollout_step=jnp.int32(0),
      parts=parts,
    )
    advantages.apply_rules(rules, responses)
    names.extend(parts.names_read)

  shape = (3, group_size)
  jax.eval_shape(apply, jax.ShapeDtypeStruct(shape, jnp.float32))
  return tuple(dict.fromkeys(names))


def _trial_loss(
  objective: Objective, tokens: ScoredTokens, coefficient: Array | float | None
) -> Array:
  """Compute the loss of a trial."""
  loss, _ = objectives.policy_loss(
    objective, aggregation.token_mean, tokens, coefficient=coefficient
  )
  return loss


def _trial_tokens(
  objective: Objective, *, with_reference: bool = True
) -> ScoredTokens:
  """Build two rows of three tokens, with all that an objective may read."""
  token = jnp.zeros((2, 3), jnp.float32)
  return ScoredTokens(
    log_probs=token,
    old_log_probs=token,
    entropy=token,
    old_entropy=token,
    advantages=token,
    mask=token,
    ref_log_probs=token if with_reference else None,
    step_ok=token,
    rollout_entropy=token,
    statistics=placeholder_statistics(objective, token),
  )


@jax.tree_util.register_pytree_node_class
class _AnyParts(dict):
  """The parts of a reward under any name; it notes the names that are read.

  A rule that reads all parts sees a single one.
  """

  def __init__(self, part: Array):
    """Build the parts; `part` stands for each of them."""
    super().__init__({"any": part})
    self.names_read: list[str] = []

  def __missing__(self, name: str) -> Array:
    self.names_read.append(name)
    return self["any"]

  def __contains__(self, name: object) -> bool:
    return True

  def get(self, name: str, default: Any = None) -> Array:
    """Return a part; none is ever missing, so `default` is never used."""
    del default
    return self[name]

  def tree_flatten(self):
    """Return no leaves: no function changes the parts."""
    return (), self

  @classmethod
  def tree_unflatten(cls, parts, leaves):
    """Return the parts themselves."""
    del leaves
    return parts
