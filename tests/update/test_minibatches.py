"""Mini-batches and epochs, and what the controller reads of each of them.

All updates have the objective `probe`, which reports its mini-batch and moves
no parameter, and the same controller. So one graph serves all tests that split
the rollout batch in the same way.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.control import entropic_pi
from entrojax.masking import masked_mean, scalar_metric
from entrojax.objectives import ppo_clip
from entrojax.objectives.reading import rollout_entropy
from entrojax.types import Batch, Mean, TokenLoss
from tests.helpers.bigram_updates import (
  TARGET,
  half_kept,
  own_entropies,
  simple,
)
from tests.helpers.updates import NUM_ROWS, totals

pytestmark = pytest.mark.slow

KP, KI = 0.25, 0.125


def probe(tokens, token_loss, coefficient, key):
  """An objective that reports its mini-batch as metrics; its own loss is 0.

  The advantage of row b is b, so that rows can be recognised.
  """
  del key
  rows = tokens.advantages[:, 0].astype(jnp.int32)
  entropy = masked_mean(tokens.entropy, tokens.mask)
  metrics = {
    "probe/rows": Mean(jnp.zeros(NUM_ROWS).at[rows].add(1.0), jnp.float32(1)),
    "probe/num_rows": scalar_metric(len(rows)),
    "probe/split_groups": scalar_metric(
      jnp.sum(rows[0::2] + 1 != rows[1::2]) + jnp.sum(rows[0::2] % 2)
    ),
    "probe/entropy": scalar_metric(entropy),
    "probe/rollout_entropy": scalar_metric(rollout_entropy(tokens)),
    "probe/coefficient": scalar_metric(coefficient),
  }
  actual = ppo_clip()(tokens, token_loss, coefficient, None)
  (term,) = actual.terms
  term = dataclasses.replace(term, loss=0 * term.loss)
  return TokenLoss((term,), {**actual.metrics, **metrics})


def numbered(batch, full=True) -> Batch:
  """Return `batch` with row b's advantage b and, if `full`, no padding."""
  shape = batch.response_mask.shape
  rows = jnp.broadcast_to(
    jnp.arange(NUM_ROWS, dtype=jnp.float32)[:, None], shape
  )
  mask = jnp.ones(shape) if full else batch.response_mask
  return dataclasses.replace(batch, advantages=rows, response_mask=mask)


@pytest.fixture(scope="module")
def probed(bigram):
  """Return probed(updates, epochs) -> (update, state, batch), compiled once."""

  @functools.cache
  def make(updates_per_rollout=1, num_epochs=1):
    update, state, batch = simple(
      bigram,
      members={"probe": probe},
      controller=entropic_pi(target=TARGET, kp=KP, ki=KI, limit=9.0),
      updates_per_rollout=updates_per_rollout,
      num_epochs=num_epochs,
    )
    return jax.jit(update), state, batch

  return make


@pytest.mark.parametrize(
  ("updates_per_rollout", "num_epochs"),
  [(1, 1), (4, 1), (4, 4), (4, 2), (8, 1)],
)
def test_every_epoch_visits_every_row_once(
  probed, updates_per_rollout, num_epochs
):
  update, state, batch = probed(updates_per_rollout, num_epochs)
  state, metrics = update(state, None, numbered(batch), jax.random.key(0))
  np.testing.assert_array_equal(
    metrics["probe/rows"].total, np.full(NUM_ROWS, num_epochs)
  )
  assert state.step == updates_per_rollout
  minibatch = NUM_ROWS * num_epochs // updates_per_rollout
  assert totals(metrics)["probe/num_rows"] == minibatch
  assert metrics["probe/split_groups"].total == 0


def test_the_mini_batches_of_another_key_are_others(probed):
  update, state, batch = probed(4, 1)
  sums = {
    float(
      update(state, None, numbered(batch, full=False), jax.random.key(k))[1][
        "probe/entropy"
      ].total
    )
    for k in range(4)
  }
  # A sum of means over ragged mini-batches depends on which rows are together.
  assert len(sums) > 1


def test_updates_that_are_no_multiple_of_the_epochs_are_refused(bigram):
  with pytest.raises(ValueError, match=r"= 3 .* multiple of num_epochs = 2"):
    simple(bigram, updates_per_rollout=3, num_epochs=2)


# -- the controller -----------------------------------------------------------


def entropies_of_all_and_of_kept(state, batch) -> tuple[float, float]:
  """Compute the mean entropy of the sampled and of the kept tokens."""
  entropies, sampled = own_entropies(state, batch), batch.response_mask
  kept = sampled * batch.keep[:, None]
  return tuple(
    float(np.average(entropies, weights=mask)) for mask in (sampled, kept)
  )


def test_the_integral_takes_in_tokens_that_the_loss_leaves_out(probed):
  update, state, batch = probed()
  batch = half_kept(batch)
  sampled, kept = entropies_of_all_and_of_kept(state, batch)
  assert abs(sampled - kept) > 1e-3
  state, _ = update(state, None, batch, jax.random.key(0))
  # float32 means of entropies below 3
  np.testing.assert_allclose(
    state.opt_state["control"].integral, sampled - TARGET, rtol=0, atol=2e-6
  )


def test_the_coefficient_reads_tokens_that_the_loss_leaves_out(probed):
  update, state, batch = probed()
  batch = half_kept(numbered(batch, full=False))
  sampled, kept = entropies_of_all_and_of_kept(state, batch)
  assert abs(sampled - kept) > 1e-3
  _, metrics = update(state, None, batch, jax.random.key(0))
  # float32 means of entropies below 3
  np.testing.assert_allclose(
    metrics["probe/coefficient"].total / KP,
    sampled - TARGET,
    rtol=0,
    atol=2e-6,
  )


def test_the_integral_takes_in_the_entropy_of_each_mini_batch_once(probed):
  update, state, batch = probed(4, 1)
  batch = numbered(batch, full=False)
  state, metrics = update(state, None, batch, jax.random.key(0))
  assert metrics["probe/entropy"].count == 4
  # float32 sums of 4 numbers below 3
  np.testing.assert_allclose(
    state.opt_state["control"].integral,
    metrics["probe/entropy"].total - 4 * TARGET,
    rtol=0,
    atol=2e-6,
  )


def test_objectives_see_the_entropy_of_the_rollout_batch_plus_its_offset(
  probed,
):
  update, state, batch = probed(4, 1)
  batch = numbered(batch, full=False)
  mean = np.average(batch.old_entropy, weights=batch.response_mask)
  for offset in (None, -0.25):
    rows = None if offset is None else jnp.full(NUM_ROWS, offset)
    shifted = dataclasses.replace(batch, entropy_offset=rows)
    _, metrics = update(state, None, shifted, jax.random.key(0))
    # a float32 mean of numbers below 10
    np.testing.assert_allclose(
      totals(metrics)["probe/rollout_entropy"],
      mean + (offset or 0),
      rtol=0,
      atol=5e-6,
    )


def test_the_coefficient_uses_the_integral_before_its_own_update(probed):
  num_updates = 4
  update, state, batch = probed(num_updates, num_updates)
  _, metrics = update(state, None, numbered(batch), jax.random.key(0))
  # the policy stands still and each update sees the whole batch: one error e,
  # and KP e + KI k e at update k = 0 ... 3
  error = float(totals(metrics)["probe/entropy"]) - TARGET
  expected = KP * error + KI * error * np.mean(np.arange(num_updates))
  # float32 numbers below 3
  np.testing.assert_allclose(
    totals(metrics)["probe/coefficient"], expected, rtol=0, atol=2e-6
  )


def test_the_integral_goes_on_where_the_last_call_ended(probed):
  update, state, batch = probed()
  integrals = []
  for seed in range(3):
    state, _ = update(state, None, numbered(batch), jax.random.key(seed))
    integrals.append(float(state.opt_state["control"].integral))
  # three float32 additions of one error below 2
  np.testing.assert_allclose(
    integrals, np.arange(1, 4) * integrals[0], rtol=1e-6
  )
