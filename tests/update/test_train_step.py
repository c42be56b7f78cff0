"""One update: its gradient, the tokens that it counts, and its graph."""

import copy
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from entrojax.control import entropic_pi, no_control, stage_schedule
from entrojax.objectives import (
  chain,
  entropic,
  entropy_bonus,
  ppo_clip,
  reference_kl,
)
from entrojax.objectives.chain import scale_loss
from entrojax.system.sharding import by_row, make_mesh, replicated
from entrojax.update.corrected_step import identity_preconditioner
from entrojax.update.optimizer import make_optimizer
from entrojax.update.projection import entropy_projection
from entrojax.update.train_step import init_state, restart
from tests.helpers.bigram_updates import (
  TARGET,
  half_kept,
  own_log_probs,
  simple,
)
from tests.helpers.updates import (
  GROUP_SIZE,
  NUM_ROWS,
  PROMPT_LENGTH,
  log_softmax,
  make_batch,
  recording_sgd,
  totals,
)

pytestmark = pytest.mark.slow

EVERYTHING_BUT_KL = {
  "ppo_clip": ppo_clip(),
  "entropic": entropic(min_probability=0.3),
  "entropy_bonus": entropy_bonus(entropy_coef=0.05),
}


@pytest.fixture(scope="module")
def first_update(bigram):
  """Return (state, batch, new state, metrics) of an update of the table."""
  update, state, batch = simple(bigram)
  return state, batch, *jax.jit(update)(state, None, batch, jax.random.key(0))


@pytest.fixture(scope="module")
def standing(bigram):
  """Return (update, state, batch): two updates that move no parameter."""
  update, state, batch = simple(
    bigram, learning_rate=0.0, updates_per_rollout=2, num_epochs=2
  )
  return jax.jit(update), state, batch


@pytest.fixture(scope="module")
def controlled(bigram):
  """Return (update, optimizer, state, batch): two updates with a controller."""
  optimizer = recording_sgd(entropic_pi(target=TARGET), 0.5)
  update, state, batch = simple(
    bigram,
    members=EVERYTHING_BUT_KL,
    optimizer=optimizer,
    updates_per_rollout=2,
    num_epochs=2,
  )
  return jax.jit(update), optimizer, state, batch


def test_the_first_update_has_the_policy_gradient_of_the_table(first_update):
  state, batch, new, metrics = first_update
  table = np.asarray(state.params["embed_tokens"])
  p = np.exp(log_softmax(table))
  # ascent on mean(A log p): each counted token pulls the row of the token
  # before it towards itself and away from the average
  gradient = np.zeros((8, 8))
  tokens, mask = np.asarray(batch.tokens), np.asarray(batch.response_mask)
  for row, t in np.argwhere(mask):
    previous, token = tokens[row, PROMPT_LENGTH - 1 + t :][:2]
    pull = np.eye(8)[token] - p[previous]
    gradient[previous] -= float(batch.advantages[row, t]) * pull
  gradient /= mask.sum()
  # float32 sums of 50 terms of size 1/50
  np.testing.assert_allclose(
    new.opt_state["record"]["embed_tokens"], gradient, rtol=0, atol=1e-6
  )
  np.testing.assert_allclose(
    new.params["embed_tokens"], table - 0.5 * gradient, rtol=0, atol=1e-6
  )
  # r = 1: the loss is -mean(A)
  np.testing.assert_allclose(
    totals(metrics)["actor/loss"],
    -np.sum(batch.advantages * mask) / mask.sum(),
    rtol=0,
    atol=1e-6,
  )


def test_at_the_first_update_the_ratio_is_exactly_1(first_update):
  *_, metrics = first_update
  assert metrics["actor/ppo_kl"].total == 0
  assert metrics["actor/pg_clipfrac"].total == 0


def test_at_later_updates_the_old_policy_is_the_batch_s(standing):
  update, state, batch = standing
  _, metrics = update(state, None, batch, jax.random.key(0))
  own = own_log_probs(state, batch)
  kl = np.sum((batch.old_log_probs - own) * batch.response_mask)
  # the first update adds 0 to the total and its tokens to the count
  np.testing.assert_allclose(
    totals(metrics)["actor/ppo_kl"],
    kl / (2 * np.sum(batch.response_mask)),
    rtol=1e-5,  # float32 differences of log-probs
  )


def test_the_first_update_on_the_batch_of_another_policy_has_its_ratio(bigram):
  update, state, batch = simple(bigram, on_policy=False)
  _, metrics = jax.jit(update)(state, None, batch, jax.random.key(0))
  log_ratio = own_log_probs(state, batch) - batch.old_log_probs
  kl = -np.sum(log_ratio * batch.response_mask) / np.sum(batch.response_mask)
  np.testing.assert_allclose(
    totals(metrics)["actor/ppo_kl"],
    kl,
    rtol=1e-5,  # float32 differences of log-probs
  )
  # Sampler and trainer cannot be compared on the same parameters.
  assert "rollout/log_prob_diff_max" not in metrics


def test_the_difference_between_sampler_and_trainer_is_measured_once(standing):
  update, state, batch = standing
  own = own_log_probs(state, batch)
  shift = np.zeros_like(own)
  shift[0, 0], shift[3, 0], shift[-1] = 0.125, -0.25, 9.0  # the last is empty
  batch = dataclasses.replace(
    batch, old_log_probs=jnp.asarray(own + shift, jnp.float32)
  )
  _, metrics = update(state, None, batch, jax.random.key(0))
  metric = metrics["rollout/log_prob_diff_max"]
  assert metric.count == 1
  # float32 log-probs below 8
  np.testing.assert_allclose(metric.total, 0.25, rtol=0, atol=2e-6)


def test_an_update_without_a_token_changes_nothing_but_the_step(bigram):
  update, state, batch = simple(
    bigram,
    members=EVERYTHING_BUT_KL,
    optimizer=make_optimizer(
      entropic_pi(target=TARGET),
      optax.constant_schedule(0.1),
      b1=0.9,
      b2=0.999,
      eps=1e-8,
      weight_decay=0.0,
      max_grad_norm=1.0,
    ),
  )
  batch = dataclasses.replace(
    batch, response_mask=jnp.zeros_like(batch.response_mask)
  )
  new, metrics = jax.jit(update)(state, None, batch, jax.random.key(0))
  jax.tree.map(np.testing.assert_array_equal, new.params, state.params)
  assert new.opt_state["control"].integral == 0
  assert new.step == 1
  assert metrics["actor/loss"].total == 0


def test_an_empty_mini_batch_does_not_count_in_the_metrics_of_control(bigram):
  # every mini-batch is one group, and the first group has no token
  num_groups = NUM_ROWS // GROUP_SIZE
  update, state, batch = simple(
    bigram,
    members=EVERYTHING_BUT_KL,
    optimizer=recording_sgd(entropic_pi(target=TARGET, kp=0.1), 0.0),
    updates_per_rollout=num_groups,
  )
  mask = batch.response_mask.at[:GROUP_SIZE].set(0.0)
  batch = dataclasses.replace(batch, response_mask=mask)
  _, metrics = jax.jit(update)(state, None, batch, jax.random.key(0))
  for name in ("control/error", "control/coefficient", "control/integral"):
    assert metrics[name].count == num_groups - 1
    assert np.isfinite(metrics[name].total)


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -1e30])
def test_the_content_of_padding_changes_no_number(controlled, garbage):
  update, _, state, batch = controlled
  dirty = dataclasses.replace(
    batch,
    **{
      name: jnp.where(batch.response_mask > 0, getattr(batch, name), garbage)
      for name in ("old_log_probs", "old_entropy", "advantages")
    },
  )
  expected = update(state, None, batch, jax.random.key(0))
  actual = update(state, None, dirty, jax.random.key(0))
  jax.tree.map(np.testing.assert_array_equal, actual, expected)


def test_a_restart_has_a_fresh_optimizer_and_the_policy_of_before(controlled):
  update, optimizer, state, batch = controlled
  trained, _ = update(state, None, batch, jax.random.key(0))
  control = trained.opt_state["control"]
  assert control.integral != 0
  opt_state = copy.copy(state.opt_state)
  opt_state["control"] = control
  jax.tree.map(
    np.testing.assert_array_equal,
    restart(trained, optimizer),
    dataclasses.replace(trained, opt_state=opt_state),
  )


def test_a_restart_keeps_the_start_entropy_of_the_projection():
  optimizer = make_optimizer(
    no_control(),
    optax.constant_schedule(0.1),
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    weight_decay=0.0,
    max_grad_norm=1.0,
    projection=functools.partial(
      entropy_projection,
      precondition=identity_preconditioner,
      target_fraction=0.7,
    ),
  )
  params = {"kernel": jnp.ones((1, 3))}
  state = init_state(params, optimizer)
  _, opt_state = optimizer.update(
    params,
    state.opt_state,
    params,
    entropy=jnp.float32(0.9),
    entropy_grad=lambda: params,
  )
  trained = dataclasses.replace(state, opt_state=opt_state)
  fresh = restart(trained, optimizer).opt_state["adamw"]
  assert fresh.start_entropy == jnp.float32(0.9)
  assert fresh.num_updates == 1
  jax.tree.map(
    np.testing.assert_array_equal, fresh.inner, state.opt_state["adamw"].inner
  )


def test_a_stage_schedule_lasts_all_stages_of_a_curriculum():
  optimizer = recording_sgd(stage_schedule(num_updates=4), 0.1)
  params = {"kernel": jnp.ones((1, 3))}
  state = init_state(params, optimizer)
  coefficients = []
  for step in range(4):
    if step == 2:
      state = restart(state, optimizer)
    control = state.opt_state["control"]
    coefficients.append(float(optimizer.controller.coefficient(control, 0.5)))
    _, opt_state = optimizer.update(
      params, state.opt_state, params, entropy=jnp.float32(0.5)
    )
    state = dataclasses.replace(state, opt_state=opt_state)
  assert coefficients == [0, 0, 0, 0.5]


# -- what an update reports ---------------------------------------------------


def doubled(tokens, token_loss, coefficient, key):
  """An objective that doubles the loss of tokens with a negative advantage."""
  del coefficient, key
  return scale_loss(
    token_loss, jnp.where(tokens.advantages < 0, 2.0, 1.0), metrics={}
  )


def test_the_weighted_prediction_is_minus_the_covariance_with_the_weights(
  bigram,
):
  update, state, batch = simple(
    bigram, members={"ppo_clip": ppo_clip(), "doubled": doubled}
  )
  batch = half_kept(batch)
  _, metrics = jax.jit(update)(state, None, batch, jax.random.key(0))
  # At a ratio of 1 the gradient weighs a token's log-prob by A, or 2 A.
  advantages = np.asarray(batch.advantages, np.float64)
  weights = np.where(advantages < 0, 2 * advantages, advantages)
  counted = np.asarray(batch.response_mask * batch.keep[:, None]) > 0
  expected = -np.cov(
    own_log_probs(state, batch)[counted], weights[counted], ddof=0
  )[0, 1]
  assert abs(expected) > 0.01
  # float32 means of some 25 products of size 1
  np.testing.assert_allclose(
    metrics["covariance/predicted_change_weighted"].total,
    expected,
    rtol=0,
    atol=2e-6,
  )


KL = {
  "ppo_clip": ppo_clip(),
  "reference_kl": reference_kl(kl_coef=0.5, estimator="k2"),
}

# -- the graph ----------------------------------------------------------------


def test_one_compilation_serves_all_values(bigram):
  traces = 0

  def counting(tokens, token_loss, coefficient, key):
    nonlocal traces
    traces += 1
    return chain(ppo_clip(), entropic())(tokens, token_loss, coefficient, key)

  update, state, _ = simple(
    bigram,
    members={"counting": counting},
    controller=entropic_pi(target=TARGET),
  )
  update = jax.jit(update)
  state, _ = update(state, None, make_batch(0), jax.random.key(0))
  traced = traces
  for seed in (1, 2):
    state, _ = update(state, None, make_batch(seed), jax.random.key(seed))
  assert traces == traced


def test_the_state_is_donated(bigram):
  update, state, batch = simple(bigram)
  state = jax.tree.map(jnp.copy, state)
  new, _ = jax.jit(update, donate_argnums=0)(
    state, None, batch, jax.random.key(0)
  )
  assert state.params["embed_tokens"].is_deleted()
  assert not batch.tokens.is_deleted()
  assert jnp.all(jnp.isfinite(new.params["embed_tokens"]))


def test_a_reference_adds_its_divergence_and_is_not_changed(bigram):
  update, state, batch = simple(
    bigram,
    members=KL,
  )
  reference = jax.tree.map(lambda x: 0.5 * x, state.params)
  _, metrics = jax.jit(update)(state, reference, batch, jax.random.key(0))
  at = (
    batch.tokens[:, PROMPT_LENGTH - 1 : -1],
    batch.tokens[:, PROMPT_LENGTH:],
  )
  table = state.params["embed_tokens"]
  x = (log_softmax(table) - log_softmax(0.5 * table))[at]
  mask = np.asarray(batch.response_mask)
  kl = np.sum(0.5 * x**2 * mask) / mask.sum()
  # float32 means of numbers of size 1
  np.testing.assert_allclose(
    totals(metrics)["actor/kl_loss"], kl, rtol=0, atol=1e-6
  )
  plain = -np.sum(batch.advantages * mask) / mask.sum()
  np.testing.assert_allclose(
    totals(metrics)["actor/loss"], plain + 0.5 * kl, rtol=0, atol=2e-6
  )
  np.testing.assert_array_equal(reference["embed_tokens"], 0.5 * table)


def test_the_reference_is_met_row_by_row_in_shuffled_mini_batches(bigram):
  update, state, batch = simple(
    bigram,
    members=KL,
    learning_rate=0.0,
    updates_per_rollout=4,
    num_microbatches=2,
  )
  _, metrics = jax.jit(update)(state, state.params, batch, jax.random.key(0))
  # Policy and reference are the same: a reference of another row would show.
  np.testing.assert_allclose(
    metrics["actor/kl_loss"].total, 0, rtol=0, atol=1e-10
  )


def test_without_a_reference_the_graph_has_no_second_forward_pass(bigram):
  def num_forward_passes(with_reference):
    calls = 0

    def counted(*args):
      nonlocal calls
      calls += 1
      return bigram.apply_branches(*args)

    update, state, batch = simple(bigram._replace(apply_branches=counted))
    reference = state.params if with_reference else None
    jax.eval_shape(update, state, reference, batch, jax.random.key(0))
    return calls

  assert num_forward_passes(with_reference=False) == 1
  assert num_forward_passes(with_reference=True) == 2


def test_each_of_8_devices_does_an_eighth_of_the_update(bigram):
  def operations(num_devices):
    mesh = make_mesh((num_devices, 1, 1), jax.devices()[:num_devices])
    update, state, batch = simple(bigram, mesh=mesh)
    graph = jax.jit(update).lower(
      jax.device_put(state, replicated(mesh)),
      None,
      jax.device_put(batch, by_row(mesh)),
      jax.device_put(jax.random.key(0), replicated(mesh)),
    )
    return graph.compile().cost_analysis()["flops"]

  # Every device also does what does not depend on the rows: the optimizer, and
  # sums over devices. That is less than as much again.
  assert operations(8) < operations(1) / 4
