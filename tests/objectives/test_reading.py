"""A chain reads the statistics that its members declare, and no others."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import countdown
from entrojax.assembly.guards import guard_objective
from entrojax.assembly.methods import make_recipe
from entrojax.assembly.own_methods import own_methods
from entrojax.control import no_control
from entrojax.entropy.statistics import (
  MAX_PROBABILITY,
  VARENTROPY,
  old,
  top_log_probs,
)
from entrojax.masking import mean_metric
from entrojax.objectives import aggregation, chain, policy_loss, reinforce
from entrojax.objectives.chain import add_penalty
from entrojax.objectives.reading import (
  MissingStatisticError,
  check_reads,
  reading,
  statistic_of,
  statistics_read,
)
from entrojax.update.setup import BatchSplit
from entrojax.update.train_step import init_state, make_update
from tests.helpers.updates import log_softmax, make_batch, recording_sgd, totals

pytestmark = pytest.mark.slow

READS = (VARENTROPY, top_log_probs(2), old(MAX_PROBABILITY))


def mixed(tokens, token_loss, coefficient, key):
  """Add the penalty varentropy + log p_1 - 2 log p_2, and one metric."""
  del coefficient, key
  read = functools.partial(statistic_of, tokens, member="mixed")
  top = read(top_log_probs(2))
  penalty = read(VARENTROPY) + top[..., 0] - 2 * top[..., 1]
  moved = read(MAX_PROBABILITY) - read(old(MAX_PROBABILITY))
  metrics = {"mixed/moved": mean_metric(moved, tokens.mask)}
  return add_penalty(token_loss, penalty, tokens.mask, metrics)


def test_a_chain_reads_what_its_members_declare_each_once():
  member = reading(reading(mixed, VARENTROPY), top_log_probs(2), VARENTROPY)
  both = chain(reinforce(), member, reading(mixed, old(VARENTROPY)))
  expected = (VARENTROPY, top_log_probs(2), old(VARENTROPY))
  assert statistics_read(both) == expected
  assert statistics_read(guard_objective(both, "mine.py:both")) == expected
  assert statistics_read(mixed) == statistics_read(chain(reinforce())) == ()


def test_only_a_current_statistic_is_learned(random_tokens):
  tokens = random_tokens(0, 5, 7)
  member = lambda t, loss, *_: add_penalty(
    loss,
    statistic_of(t, VARENTROPY, "m") * statistic_of(t, old(VARENTROPY), "m"),
    t.mask,
    {},
  )

  def loss(statistics):
    return policy_loss(
      reading(member, VARENTROPY, old(VARENTROPY)),
      aggregation.token_mean,
      dataclasses.replace(tokens, statistics=statistics),
    )[0]

  # the padding's content has no gradient
  factor = jnp.where(tokens.mask > 0, 3.0, jnp.nan)
  statistics = {VARENTROPY: tokens.entropy, old(VARENTROPY): factor}
  gradients = jax.grad(loss)(statistics)
  np.testing.assert_allclose(
    gradients[VARENTROPY], 3 * tokens.mask / tokens.mask.sum(), rtol=1e-6
  )
  assert not gradients[old(VARENTROPY)].any()


@pytest.fixture
def updates(bigram):
  """Return run(**split) -> params and metrics after an update in float64."""
  optimizer = recording_sgd(no_control(), 0.05)
  rng = np.random.default_rng(5)
  params = {"embed_tokens": jnp.asarray(rng.normal(size=(8, 8)))}

  def run(**split):
    update = make_update(
      bigram,
      {"reinforce": reinforce(), "mixed": reading(mixed, *READS)},
      aggregation.token_mean,
      optimizer,
      group_size=2,
      temperature=0.8,
      split=BatchSplit(**split),
    )
    state, metrics = jax.jit(update)(
      init_state(params, optimizer),
      None,
      make_batch(0, np.float64),
      jax.random.key(0),
    )
    return state.params["embed_tokens"], totals(metrics)

  return params["embed_tokens"], run


def plain_loss(table):
  """Compute the loss of the test's update from the plain softmax."""
  batch = make_batch(0, np.float64)
  length = batch.response_mask.shape[1]
  before = batch.tokens[:, -length - 1 : -1]
  log_p = jax.nn.log_softmax(table[before] / 0.8)
  chosen = jnp.take_along_axis(log_p, batch.tokens[:, -length:, None], -1)
  p, top = jnp.exp(log_p), jnp.sort(log_p, axis=-1)
  mean = jnp.sum(p * log_p, axis=-1, keepdims=True)
  loss = (
    -batch.advantages * chosen[..., 0]
    + jnp.sum(p * jnp.square(log_p - mean), axis=-1)
    + top[..., -1]
    - 2 * top[..., -2]
  )
  return jnp.sum(loss * batch.response_mask) / jnp.sum(batch.response_mask)


def mean_max_probability(table):
  batch = make_batch(0, np.float64)
  length = batch.response_mask.shape[1]
  before = np.asarray(batch.tokens[:, -length - 1 : -1])
  largest = np.exp(log_softmax(np.asarray(table)[before] / 0.8)).max(axis=-1)
  return np.average(largest, weights=np.asarray(batch.response_mask))


@pytest.mark.usefixtures("float64")
def test_an_update_learns_from_statistics_and_knows_those_before_it(updates):
  start, run = updates
  once, metrics = run()
  expected = start - 0.05 * jax.grad(plain_loss)(start)
  np.testing.assert_allclose(once, expected, rtol=0, atol=1e-12)
  assert metrics["mixed/moved"] == 0  # the policy sampled this mini-batch
  assert metrics["mixed/gradient_touched"] > 0.9
  twice, metrics = run(updates_per_rollout=2, num_epochs=2, num_microbatches=4)
  expected = once - 0.05 * jax.grad(plain_loss)(once)
  np.testing.assert_allclose(twice, expected, rtol=0, atol=1e-12)
  moved = mean_max_probability(once) - mean_max_probability(start)
  np.testing.assert_allclose(
    metrics["mixed/moved"],
    (0 + moved) / 2,
    rtol=1e-5,  # metrics are float32
  )


def test_a_statistic_that_nobody_declares_is_an_error_with_its_remedy():
  members = {"reinforce": reinforce(), "mixed": reading(mixed, VARENTROPY)}
  message = (
    r"objective: mixed raised MissingStatisticError: mixed reads "
    r"top_log_probs\(2\), which no member declares \(declared: VARENTROPY\): "
    r"let its factory return reading\(objective, top_log_probs\(2\)\)"
  )
  with pytest.raises(ValueError, match=message):
    make_recipe(countdown.get_config(), own_methods(objective=members))


def test_no_recorded_rollouts_hold_a_statistic_of_their_policy():
  config = countdown.get_config()
  config.offline.enabled = True
  members = {"reinforce": reinforce(), "mixed": reading(mixed, *READS)}
  message = (
    r"objective: mixed reads old\(MAX_PROBABILITY\), but recorded rollouts "
    r"hold only log-probs and entropies .* offline\.enabled"
  )
  with pytest.raises(ValueError, match=message):
    make_recipe(config, own_methods(objective=members))


def test_what_no_statistic_can_be_names_the_member():
  with pytest.raises(ValueError, match="'entropy' is no statistic"):
    reading(mixed, "entropy")
  with pytest.raises(
    ValueError, match=r"objective: mixed: top_log_probs\(9\): the vocab.* 8 "
  ):
    check_reads(
      {"mixed": reading(mixed, top_log_probs(9))}, on_policy=True, vocabulary=8
    )


def test_statistics_of_the_wrong_shape_are_named(random_tokens):
  tokens = random_tokens(0, 5, 7)
  wrong = {top_log_probs(2): tokens.entropy}
  with pytest.raises(
    ValueError, match=r"top_log_probs\(2\) has shape \(5, 7\)"
  ):
    policy_loss(
      reinforce(),
      aggregation.token_mean,
      dataclasses.replace(tokens, statistics=wrong),
    )
  with pytest.raises(
    MissingStatisticError, match=r"declared: top_p_entropy\(0\.8\)"
  ):
    statistic_of(tokens, VARENTROPY, "mixed")
