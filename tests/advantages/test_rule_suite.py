"""Test what holds for every advantage rule of entrojax.advantages."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax import advantages
from entrojax.advantages import apply_rules, grpo
from entrojax.assembly import lookup
from entrojax.traits import traits_of
from tests.helpers.rule_cases import RULES, random_responses

FUNCTIONS = lookup.functions(advantages, "AdvantageRule")
ORDER = jnp.array([3, 0, 7, 5, 1, 2, 6, 4])  # of the responses of a group

every_rule = pytest.mark.parametrize("row", RULES)


def kind_of(row) -> str | None:
  traits = traits_of(FUNCTIONS[row.partition(",")[0]])
  return traits and traits.kind


def rows_of(*kinds):
  return [row for row in RULES if kind_of(row) in kinds]


@functools.cache
def compiled(row):
  return jax.jit(functools.partial(apply_in_place, row))


def apply(row, responses):
  return compiled(row)(responses)


def apply_in_place(row, responses):
  """Apply a rule where its kind belongs: alone, before or after a baseline."""
  rules = {row: RULES[row]}
  if kind_of(row) != "baseline":
    rules |= {"baseline": grpo()}
  if kind_of(row) == "later":
    rules = dict(reversed(rules.items()))
  return apply_rules(rules, responses)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_rule_is_tested(name):
  assert name in {row.partition(",")[0] for row in RULES}, (
    f"no test knows the advantage rule {name}: add a row {name!r} to RULES in "
    "tests/helpers/rule_cases.py"
  )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_rule_declares_its_kind(name):
  assert traits_of(FUNCTIONS[name]) is not None, (
    f"put @RuleTraits(kind=...) of entrojax/traits.py above {name}"
  )


@every_rule
def test_a_rule_acts_on_the_responses_of_the_suite(row):
  responses = random_responses(1)
  if kind_of(row) == "baseline":
    # no two rewards of a group are equal
    distinct = responses.rewards - 0.01 * jnp.arange(8.0)[None]
    responses = dataclasses.replace(responses, rewards=distinct)
    done = apply_in_place(row, responses)
    touched = jnp.any(done.advantages != 0)
  else:
    done = apply(row, responses)
    touched = done.metrics[f"{row}/gradient_touched"].total > 0
  assert touched, (
    f"{row} leaves the suite's responses as they are, so that no test would "
    "notice what it does: give its row in tests/helpers/rule_cases.py settings "
    "that act"
  )


@every_rule
def test_advantages_are_finite_float32_and_keep_is_0_or_1(row):
  done = apply(row, random_responses(0))
  for field in ("advantages", "keep"):
    values = getattr(done, field)
    assert values.dtype == jnp.float32 and values.shape == (6, 8), (
      f"{row}: its {field} are {values.dtype}{list(values.shape)}, expected "
      "float32[6, 8], a number for each response"
    )
    assert jnp.all(jnp.isfinite(values)), (
      f"{row}: some of its {field} are not finite; look at groups whose "
      "rewards are all equal, which the suite has"
    )
  assert jnp.all((done.keep == 0) | (done.keep == 1)), (
    f"{row}: keep must be 1 for a response that counts and 0 for one that does "
    "not"
  )


@every_rule
def test_the_order_of_groups_and_of_their_responses_does_not_matter(row):
  permute = lambda x: x if jnp.ndim(x) == 0 else x[::-1][:, ORDER]
  responses = random_responses(2)
  done = apply(row, responses)
  actual = apply(row, jax.tree.map(permute, responses))
  # sums over 8 responses, in another order
  np.testing.assert_allclose(
    actual.advantages, permute(done.advantages), rtol=0, atol=2e-6
  )
  np.testing.assert_array_equal(actual.keep, permute(done.keep))


@every_rule
def test_a_group_depends_on_other_groups_only_where_declared(row):
  first, second = random_responses(3), random_responses(4)
  mixed = jax.tree.map(
    lambda x, y: x if jnp.ndim(x) == 0 else jnp.concatenate([x[:2], y[2:]]),
    first,
    second,
  )
  expected, actual = apply(row, first), apply(row, mixed)
  if traits_of(FUNCTIONS[row.partition(",")[0]]).mixes_groups:
    assert jnp.any(actual.advantages[:2] != expected.advantages[:2]), (
      f"{row} declares mixes_groups, but a group depends on itself alone"
    )
    return
  says = f"{row} reads other groups: declare it with mixes_groups=True"
  np.testing.assert_array_equal(
    actual.advantages[:2], expected.advantages[:2], says
  )
  np.testing.assert_array_equal(actual.keep[:2], expected.keep[:2], says)


@pytest.mark.parametrize("row", rows_of("baseline"))
def test_a_baseline_alone_leaves_rewards_and_says_nothing_of_itself(row):
  done = apply(row, random_responses(0))
  np.testing.assert_array_equal(done.rewards, random_responses(0).rewards)
  assert done.metrics == {}, (
    f"{row} adds the metrics {', '.join(done.metrics)}: a baseline adds none"
  )


@pytest.mark.parametrize("row", rows_of("baseline"))
def test_two_baselines_are_refused(row):
  rules = {"first": grpo(), "second": RULES[row]}
  with pytest.raises(ValueError, match="choose one baseline"):
    apply_rules(rules, random_responses(0))


@pytest.mark.parametrize("row", rows_of("later"))
def test_a_rule_on_advantages_before_the_baseline_is_refused(row):
  name = row.partition(",")[0]
  rules = {name: RULES[row], "grpo": grpo()}
  with pytest.raises(ValueError, match=f"{name} needs advantages.*after a"):
    apply_rules(rules, random_responses(0))


@pytest.mark.parametrize("row", rows_of("shaping"))
def test_a_rule_on_rewards_after_the_baseline_is_refused(row):
  name = row.partition(",")[0]
  rules = {"grpo": grpo(), name: RULES[row]}
  with pytest.raises(ValueError, match=f"{name} changes rewards after"):
    apply_rules(rules, random_responses(0))


@pytest.mark.parametrize("row", rows_of("baseline", "shaping", "later"))
def test_a_response_that_was_left_out_stays_out(row):
  responses = random_responses(4)
  kept = jnp.ones((6, 8)).at[0, 1].set(0).at[2, 0].set(0)
  done = apply(row, dataclasses.replace(responses, keep=kept))
  assert jnp.all(done.keep <= kept), (
    f"{row} keeps a response that an earlier rule left out: multiply keep"
  )
