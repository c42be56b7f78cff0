"""Batch statistics over parts of the mini-batch, as in released torch code."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.control import entropic_pi, no_control
from entrojax.objectives import (
  aggregation,
  chain,
  entropic,
  ppo_clip,
  steer,
  top_entropy,
)
from entrojax.objectives.loss import loss_by_parts, policy_loss
from tests.helpers.updates import Setting, difference

pytestmark = pytest.mark.slow

MEMBERS = {
  "ppo_clip": ppo_clip(),
  "top_entropy": top_entropy(fraction=0.3),
  "steer": steer(),
}
OBJECTIVE = chain(*MEMBERS.values())
AGGREGATE = aggregation.token_mean


def rows(tokens, start, stop):
  return jax.tree.map(lambda x: x[start:stop], tokens)


def test_parts_are_mini_batches_of_their_own(random_tokens):
  tokens = random_tokens(0, 6, 7)
  coefficient = jnp.array([0.5, -0.5, 0.0])
  objective = chain(OBJECTIVE, entropic(min_probability=0.3))
  actual, metrics = loss_by_parts(
    objective,
    AGGREGATE,
    tokens,
    coefficient=coefficient,
    key=jax.random.key(0),
  )
  alone = [
    policy_loss(
      objective,
      AGGREGATE,
      rows(tokens, 2 * i, 2 * i + 2),
      coefficient=coefficient[i],
    )
    for i in range(3)
  ]
  # 3 numbers of order 1 in another order of sums
  np.testing.assert_allclose(
    actual, np.mean([loss for loss, _ in alone]), rtol=2e-6
  )
  touched = metrics["top_entropy/touched"]
  assert touched.total == sum(m["top_entropy/touched"].total for _, m in alone)
  assert touched.count == jnp.sum(tokens.mask)


def test_one_part_is_the_mini_batch(random_tokens):
  tokens = random_tokens(1, 6, 7)
  one, _ = loss_by_parts(
    OBJECTIVE,
    AGGREGATE,
    tokens,
    coefficient=jnp.zeros(1),
    key=jax.random.key(0),
  )
  whole, _ = policy_loss(OBJECTIVE, AGGREGATE, tokens)
  np.testing.assert_array_equal(one, whole)


@pytest.fixture
def setting(bigram):
  table = np.random.default_rng(0).normal(size=(8, 8))
  return Setting(
    bigram,
    {"embed_tokens": jnp.asarray(table, jnp.float32)},
    {**MEMBERS, "entropic": entropic(min_probability=0.3)},
    entropic_pi(target=0.5),
  )


def test_scope_micro_depends_on_the_split_and_minibatch_does_not(setting):
  whole = setting.after_two_updates()
  parts = {
    scope: setting.after_two_updates(num_microbatches=4, scope=scope)
    for scope in ("minibatch", "micro")
  }
  # float32 sums in another order
  assert difference(parts["minibatch"], whole) < 1e-5
  assert difference(parts["micro"], whole) > 1e-2
  # Metrics over all tokens are the same, at least at the first update.
  for name in ("control/error", "actor/entropy"):
    np.testing.assert_allclose(
      parts["micro"]["metrics"][name], whole["metrics"][name], rtol=0.1
    )


def test_an_unknown_scope_is_refused(setting):
  with pytest.raises(ValueError, match=r"training\.scope .* 'global'"):
    setting.after_two_updates(scope="global")


def test_responses_that_are_left_out_count_nowhere(bigram):
  table = np.random.default_rng(0).normal(size=(8, 8))
  params = {"embed_tokens": jnp.asarray(table, jnp.float32)}
  kept = np.float32([1, 1, 0, 1] * 4)
  setting = Setting(bigram, params, MEMBERS, no_control())
  setting.batch = dataclasses.replace(setting.batch, keep=jnp.asarray(kept))
  run = setting.two_updates()
  actual = run()
  garbage = dataclasses.replace(
    setting.batch,
    advantages=jnp.where(kept[:, None] > 0, setting.batch.advantages, 1e6),
  )
  setting.batch = garbage
  again = run()
  np.testing.assert_array_equal(
    actual["gradients"]["embed_tokens"], again["gradients"]["embed_tokens"]
  )


def test_an_update_without_a_token_that_counts_moves_nothing(bigram):
  table = np.random.default_rng(0).normal(size=(8, 8))
  params = {"embed_tokens": jnp.asarray(table, jnp.float32)}
  setting = Setting(bigram, params, MEMBERS, entropic_pi(target=0.5))
  setting.batch = dataclasses.replace(setting.batch, keep=jnp.zeros(16))
  with np.errstate(invalid="ignore"):  # means over no token
    actual = setting.after_two_updates()
  np.testing.assert_array_equal(
    actual["params"]["embed_tokens"], table.astype("f4")
  )
  assert actual["metrics"]["actor/entropy"] > 0
  assert actual["metrics"]["control/integral"] == 0
