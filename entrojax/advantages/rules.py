"""Advantage rules applied in order, and what each of them changed.

    rewards, lengths, ... -> rule -> rule -> ... -> advantages, keep: [Q, G]

Exactly one rule is a baseline: it makes advantages of rewards. Rules before it
shape rewards, rules after it change advantages or leave responses out.
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
  """Returns `responses` with advantages and keep, both f32[Q, G], constants.

  Args:
    rules: by name, in order.
    responses: rewards f32[Q, G], and what else the rules read.

  Returns:
    The responses. Their metrics say of each rule but the baseline, against the
    same rules without it: `<name>/gradient_touched`, the share of tokens (of
    responses, where lengths are unknown) whose weight in the loss it changed,
    and `<name>/gradient_change`, the relative change of those weights, A keep /
    sum(keep), as a vector over tokens.

  Raises:
    ValueError: no rule is a baseline, two are, or one lacks what it reads.
  """
  if not rules:
    raise ValueError("the advantage needs at least one rule: its baseline")
  chex.assert_rank(responses.rewards, 2)
  for field in dataclasses.fields(responses):
    value = getattr(responses, field.name)
    if value is None or field.name == "metrics" or jnp.ndim(value) == 0:
      continue
    if value.shape != responses.rewards.shape:
      raise ValueError(
        f"{field.name} has shape {value.shape}, rewards "
        f"{responses.rewards.shape}"
      )
  done, baseline = _applied(rules, responses)
  if baseline is None:
    raise ValueError(
      f"no rule of {list(rules)} makes advantages of rewards: add a baseline, "
      "as 'grpo'"
    )
  changes: dict[str, Mean] = {}
  for name in (name for name in rules if name != baseline):
    rest = {n: rule for n, rule in rules.items() if n != name}
    changes.update(_changes(name, done, _applied(rest, responses)[0]))
  return jax.tree.map(
    jax.lax.stop_gradient,
    dataclasses.replace(done, metrics={**done.metrics, **changes}),
  )


def _applied(
  rules: Mapping[str, AdvantageRule], responses: Responses
) -> tuple[Responses, str | None]:
  """Returns the responses after all rules, and which was the baseline."""
  baseline = None
  for name, rule in rules.items():
    responses = rule(responses)
    if baseline is None and responses.advantages is not None:
      baseline = name
  return dataclasses.replace(responses, keep=kept(responses)), baseline


def _changes(
  name: str, done: Responses, without: Responses
) -> Mapping[str, Mean]:
  """Returns what a rule did to the weights of responses in the loss."""
  lengths = done.lengths
  lengths = jnp.ones_like(done.rewards) if lengths is None else lengths
  weight, before = (
    divide(_counted(r), jnp.sum(kept(r) * lengths)) for r in (done, without)
  )
  touched = _counted(done) != _counted(without)
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


def _counted(responses: Responses) -> Array:
  """Returns the advantages of responses, 0 of those that are left out."""
  return known(responses, "advantages", "the loss") * kept(responses)


def right(responses: Responses) -> Array:
  """Returns bool[Q, G]: which responses are right, by their raw verdicts.

  By their rewards, where the verdicts are unknown. Above 1/2 is right.
  """
  raw = responses.correctness
  return (responses.rewards if raw is None else raw) > 0.5


def kept(responses: Responses) -> Array:
  """Returns f32[Q, G], 1 = the response's tokens count in the loss."""
  if responses.keep is None:
    return jnp.ones_like(responses.rewards)
  return responses.keep


def leave_out(responses: Responses, left_out: Array) -> Responses:
  """Returns `responses` without those of bool[Q, G], denominators included."""
  return dataclasses.replace(
    responses, keep=jnp.where(left_out, 0.0, kept(responses))
  )


def shaped(responses: Responses, rewards: Array, rule: str) -> Responses:
  """Returns `responses` with the rewards that `rule` made of its rewards.

  Raises:
    ValueError: a baseline has read the rewards already.
  """
  if responses.advantages is not None:
    raise ValueError(
      f"{rule} changes rewards after a baseline has read them: put it before"
    )
  return dataclasses.replace(responses, rewards=rewards)


def known(responses: Responses, field: str, rule: str) -> Array:
  """Returns a field of `responses` that `rule` needs.

  Raises:
    ValueError: it is None.
  """
  value = getattr(responses, field)
  if value is None:
    hint = (
      ": put it after a baseline, as 'grpo'" if field == "advantages" else ""
    )
    raise ValueError(f"{rule} needs {field} of responses: there are none{hint}")
  return value
