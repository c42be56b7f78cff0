"""Apply advantage rules in order, and measure how much each one changed.

    rewards, lengths, ... -> rule -> rule -> ... -> advantages, keep: f32[Q, G]

Exactly one rule is a baseline: it turns rewards into advantages. Rules before
it shape rewards. Rules after it change advantages or leave responses out. To
measure a rule, `apply_rules` applies all other rules once more and compares the
results; the baseline is not measured. Rules are written with the other
functions of this file.
"""

from collections.abc import Mapping
import dataclasses

import chex
import jax
import jax.numpy as jnp

from entrojax.masking import divide
from entrojax.types import AdvantageRule, Array, Mean, Responses


def apply_rules(
  rules: Mapping[str, AdvantageRule], responses: Responses
) -> Responses:
  """Compute advantages and keep, both f32[Q, G] and constants.

  Args:
    rules: by name, in order.
    responses: rewards f32[Q, G], and the other fields that the rules read.

  Returns:
    The responses with advantages, keep and two metrics for each rule except the
    baseline. Both compare the result with the result of all other rules.
    `<name>/gradient_touched` is the share of tokens (of responses, if lengths
    are unknown) whose weight in the loss the rule changed.
    `<name>/gradient_change` is the relative change of those weights, A keep /
    sum(keep), as a vector over tokens.

  Raises:
    ValueError: no rule is a baseline, two are, or the responses lack a field
      that a rule reads.
  """
  if not rules:
    raise ValueError("the advantage needs at least one rule: its baseline")
  _check_shapes(responses)
  done, baseline = _apply(rules, responses)
  if baseline is None:
    raise ValueError(
      f"no rule of {list(rules)} computes advantages: add a baseline, "
      "such as 'grpo'"
    )
  changes: dict[str, Mean] = {}
  for name in (name for name in rules if name != baseline):
    others = {n: rule for n, rule in rules.items() if n != name}
    changes.update(_change_metrics(name, done, _apply(others, responses)[0]))
  return jax.tree.map(
    jax.lax.stop_gradient,
    dataclasses.replace(done, metrics={**done.metrics, **changes}),
  )


def _check_shapes(responses: Responses) -> None:
  """Raise ValueError for the first field whose shape differs from rewards."""
  chex.assert_rank(responses.rewards, 2)
  for field in dataclasses.fields(responses):
    value = getattr(responses, field.name)
    if value is None or field.name in ("metrics", "parts"):
      continue  # these are dictionaries
    if jnp.ndim(value) == 0:
      continue
    if value.shape != responses.rewards.shape:
      raise ValueError(
        f"{field.name} has shape {value.shape}, rewards "
        f"{responses.rewards.shape}"
      )


def _apply(
  rules: Mapping[str, AdvantageRule], responses: Responses
) -> tuple[Responses, str | None]:
  """Return the responses after all rules, and the name of the baseline."""
  baseline = None
  for name, rule in rules.items():
    responses = rule(responses)
    if baseline is None and responses.advantages is not None:
      baseline = name
  return dataclasses.replace(responses, keep=keep_mask(responses)), baseline


def _change_metrics(
  name: str, done: Responses, without: Responses
) -> Mapping[str, Mean]:
  """Compute how much a rule changed the weights of responses in the loss.

  Args:
    name: the rule's name, for the metrics.
    done: the responses after all rules.
    without: the responses after all rules but this one.
  """
  lengths = done.lengths
  lengths = jnp.ones_like(done.rewards) if lengths is None else lengths
  weight, before = (
    divide(_kept_advantages(r), jnp.sum(keep_mask(r) * lengths))
    for r in (done, without)
  )
  touched = _kept_advantages(done) != _kept_advantages(without)
  norm = lambda x: jnp.sqrt(jnp.sum(lengths * jnp.square(x)))
  return {
    f"{name}/gradient_touched": Mean(
      total=jnp.sum(lengths * touched), count=jnp.sum(lengths)
    ),
    f"{name}/gradient_change": Mean(
      total=divide(norm(weight - before), norm(before)),
      count=jnp.float32(1.0),
    ),
  }


def _kept_advantages(responses: Responses) -> Array:
  """Return the advantages, f32[Q, G], 0 for responses that are left out."""
  advantages = require_field(responses, "advantages", "the loss")
  return advantages * keep_mask(responses)


def is_right(responses: Responses) -> Array:
  """Return which responses are right, bool[Q, G]: a verdict above 1/2.

  The verdicts are the raw ones; if they are unknown, the rewards.
  """
  raw = responses.correctness
  return (responses.rewards if raw is None else raw) > 0.5


def keep_mask(responses: Responses) -> Array:
  """Return f32[Q, G], 1 = the response's tokens count in the loss."""
  if responses.keep is None:
    return jnp.ones_like(responses.rewards)
  return responses.keep


def leave_out(responses: Responses, left_out: Array) -> Responses:
  """Remove responses from the loss, and from its denominators.

  Args:
    responses: some may have been left out already.
    left_out: bool[Q, G], the responses to remove.
  """
  return dataclasses.replace(
    responses, keep=jnp.where(left_out, 0.0, keep_mask(responses))
  )


def with_rewards(responses: Responses, rewards: Array, rule: str) -> Responses:
  """Return `responses` with the rewards f32[Q, G] that `rule` has shaped.

  Raises:
    ValueError: a baseline has read the rewards already.
  """
  if responses.advantages is not None:
    raise ValueError(
      f"{rule} changes rewards after a baseline has read them: put it before"
    )
  return dataclasses.replace(responses, rewards=rewards)


def require_field(responses: Responses, field: str, reader: str) -> Array:
  """Return a field of `responses`, or raise if it is None.

  Args:
    responses: the responses so far.
    field: name of the field.
    reader: name of the rule that reads it, for the message.

  Raises:
    ValueError: the field is None.
  """
  value = getattr(responses, field)
  if value is None:
    hint = ""
    if field == "advantages":
      hint = ": put it after a baseline, such as 'grpo'"
    raise ValueError(
      f"{reader} needs {field}, which the responses do not have{hint}"
    )
  return value
