"""The update: the same on any split and mesh, and the tokens that it counts.

Structure is tested on a bigram policy, numbers on the tiny decoder.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from entrojax.control import entropic_pi, no_control
from entrojax.masking import masked_mean, scalar_metric
from entrojax.models import decoder
from entrojax.objectives import (
  aggregation,
  chain,
  entropic,
  entropy_bonus,
  ppo_clip,
  reference_kl,
)
from entrojax.objectives.chain import scale_loss
from entrojax.system.sharding import by_row, make_mesh, replicated
from entrojax.types import Batch, Mean, TokenLoss
from entrojax.update.optimizer import make_optimizer
from entrojax.update.train_step import (
  BatchSplit,
  init_state,
  make_update,
  restart,
)
from tests.helpers.updates import (
  BOTH,
  GROUP_SIZE,
  NUM_ROWS,
  PROMPT_LENGTH,
  SPLITS,
  Setting,
  difference,
  log_softmax,
  make_batch,
  recording_sgd,
  totals,
)

pytestmark = pytest.mark.slow

TARGET = 0.5

# -- any split, any mesh ------------------------------------------------------

EVERYTHING = {
  "ppo_clip": ppo_clip(clip_high=0.28, dual_clip=3.0),
  "entropic": entropic(min_probability=0.3),
  "reference_kl": reference_kl(kl_coef=0.1),
  "entropy_bonus": entropy_bonus(entropy_coef=0.05),
}

# Metrics that are float64 if the tokens are. The others are float32 scalars.
EXACT = ("actor/entropy", "actor/ppo_kl", "actor/pg_loss", "actor/kl_loss")


def decoder_setting(sizes, params, members, controller, dtype):
  return Setting(
    decoder(sizes, dtype=dtype),
    jax.tree.map(lambda x: jnp.asarray(x, dtype), params),
    members,
    controller,
  )


@pytest.fixture(scope="module")
def setting32(sizes, tiny_model):
  setting = decoder_setting(
    sizes, tiny_model[1], EVERYTHING, entropic_pi(target=TARGET), jnp.float32
  )
  return setting, setting.after_two_updates()


@pytest.fixture(scope="module")
def setting64(sizes, tiny_model):
  with jax.enable_x64(True):
    setting = decoder_setting(
      sizes, tiny_model[1], EVERYTHING, entropic_pi(target=TARGET), jnp.float64
    )
    return setting, setting.after_two_updates()


@pytest.fixture(scope="module")
def ppo64(sizes, tiny_model):
  with jax.enable_x64(True):
    setting = decoder_setting(
      sizes, tiny_model[1], {"ppo_clip": ppo_clip()}, no_control(), jnp.float64
    )
    return setting, setting.after_two_updates()


def test_the_comparison_has_something_to_compare(setting64):
  _, expected = setting64
  metrics = expected["metrics"]
  assert expected["gradients"]["embed_tokens"].dtype == np.float64
  assert abs(metrics["actor/ppo_kl"]) > 0.01
  assert 0 < metrics["actor/pg_clipfrac"] < 1
  assert 0.1 < metrics["entropic/touched"] < 0.9
  assert 0.1 < abs(metrics["control/coefficient"]) < 1
  assert metrics["actor/kl_loss"] > 1e-3
  assert metrics["actor/grad_norm"] > 1e-2


# float64 sums in another order differ by 1e-15. The controller's signal is
# float32, but rounded from numbers that differ by as little.


@pytest.mark.parametrize("split", SPLITS)
def test_splits_and_meshes_change_nothing_in_float64(split, setting64):
  setting, expected = setting64
  with jax.enable_x64(True):
    actual = setting.after_two_updates(**SPLITS[split])
  assert difference(actual, expected, EXACT) < 1e-10


def test_splits_and_meshes_do_not_change_plain_ppo(ppo64):
  setting, expected = ppo64
  with jax.enable_x64(True):
    actual = setting.after_two_updates(**BOTH)
  assert difference(actual, expected, EXACT[:3]) < 1e-10


# float32 rounds by 6e-8; two updates of a 2-layer decoder accumulate that.


def test_splits_and_meshes_change_only_rounding_in_float32(setting32):
  setting, expected = setting32
  actual = setting.after_two_updates(**BOTH)
  assert difference(actual, expected) < 1e-5


@pytest.mark.parametrize(
  "options",
  [
    {"num_microbatches": 2, "rematerialise": True},
    {"num_microbatches": 2, "rematerialise": False},
    {"group_size": 1},
  ],
)
def test_how_activations_are_kept_changes_only_rounding(options, setting32):
  setting, expected = setting32
  assert difference(setting.after_two_updates(**options), expected) < 1e-5


# -- one update ---------------------------------------------------------------


def simple(
  model,
  *,
  members=None,
  controller=None,
  learning_rate=0.5,
  optimizer=None,
  seed=0,
  on_policy=True,
  mesh=None,
  **split,
):
  """Return (update, state, batch) of a bigram policy, nothing jitted."""
  optimizer = optimizer or recording_sgd(
    controller or no_control(), learning_rate
  )
  update = make_update(
    model,
    members or {"ppo_clip": ppo_clip()},
    aggregation.token_mean,
    optimizer,
    group_size=GROUP_SIZE,
    split=BatchSplit(**split),
    on_policy=on_policy,
    mesh=mesh,
  )
  table = np.random.default_rng(seed).normal(size=(8, 8))
  params = {"embed_tokens": jnp.asarray(table, jnp.float32)}
  return update, init_state(params, optimizer), make_batch(seed)


def own_log_probs(state, batch) -> np.ndarray:
  """Compute the bigram policy's log-probs of the responses, f64[B, T]."""
  log_p = log_softmax(state.params["embed_tokens"])
  before = PROMPT_LENGTH - 1
  return log_p[batch.tokens[:, before:-1], batch.tokens[:, before + 1 :]]


def own_entropies(state, batch) -> np.ndarray:
  """Compute the bigram policy's entropies at the responses, f64[B, T]."""
  log_p = log_softmax(state.params["embed_tokens"])
  entropies = -np.sum(np.exp(log_p) * log_p, axis=1)
  return entropies[batch.tokens[:, PROMPT_LENGTH - 1 : -1]]


def half_kept(batch) -> Batch:
  """Return the batch with every second response left out of the loss."""
  return dataclasses.replace(batch, keep=jnp.arange(NUM_ROWS) % 2.0)


def test_the_first_update_has_the_policy_gradient_of_the_table(bigram):
  update, state, batch = simple(bigram)
  new, metrics = jax.jit(update)(state, None, batch, jax.random.key(0))
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


def test_at_the_first_update_the_ratio_is_exactly_1(bigram):
  update, state, batch = simple(bigram)
  _, metrics = jax.jit(update)(state, None, batch, jax.random.key(0))
  assert metrics["actor/ppo_kl"].total == 0
  assert metrics["actor/pg_clipfrac"].total == 0


def test_at_later_updates_the_old_policy_is_the_batch_s(bigram):
  update, state, batch = simple(
    bigram, learning_rate=0.0, updates_per_rollout=2, num_epochs=2
  )
  _, metrics = jax.jit(update)(state, None, batch, jax.random.key(0))
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


def test_the_difference_between_sampler_and_trainer_is_measured_once(bigram):
  update, state, batch = simple(
    bigram, learning_rate=0.0, updates_per_rollout=2, num_epochs=2
  )
  own = own_log_probs(state, batch)
  shift = np.zeros_like(own)
  shift[0, 0], shift[3, 0], shift[-1] = 0.125, -0.25, 9.0  # the last is empty
  batch = dataclasses.replace(
    batch, old_log_probs=jnp.asarray(own + shift, jnp.float32)
  )
  _, metrics = jax.jit(update)(state, None, batch, jax.random.key(0))
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


EVERYTHING_BUT_KL = {
  "ppo_clip": ppo_clip(),
  "entropic": entropic(min_probability=0.3),
  "entropy_bonus": entropy_bonus(entropy_coef=0.05),
}


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -1e30])
def test_the_content_of_padding_changes_no_number(bigram, garbage):
  controller = entropic_pi(target=TARGET)
  update, state, batch = simple(
    bigram,
    members=EVERYTHING_BUT_KL,
    controller=controller,
    updates_per_rollout=2,
    num_epochs=2,
  )
  dirty = dataclasses.replace(
    batch,
    **{
      name: jnp.where(batch.response_mask > 0, getattr(batch, name), garbage)
      for name in ("old_log_probs", "old_entropy", "advantages")
    },
  )
  update = jax.jit(update)
  expected = update(state, None, batch, jax.random.key(0))
  actual = update(state, None, dirty, jax.random.key(0))
  jax.tree.map(np.testing.assert_array_equal, actual, expected)


# -- mini-batches and epochs --------------------------------------------------


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


@pytest.mark.parametrize(
  ("updates_per_rollout", "num_epochs"),
  [(1, 1), (4, 1), (2, 2), (4, 2), (8, 1)],
)
def test_every_epoch_visits_every_row_once(
  bigram, updates_per_rollout, num_epochs
):
  update, state, batch = simple(
    bigram,
    members={"probe": probe},
    updates_per_rollout=updates_per_rollout,
    num_epochs=num_epochs,
  )
  state, metrics = jax.jit(update)(
    state, None, numbered(batch), jax.random.key(0)
  )
  np.testing.assert_array_equal(
    metrics["probe/rows"].total, np.full(NUM_ROWS, num_epochs)
  )
  assert state.step == updates_per_rollout
  minibatch = NUM_ROWS * num_epochs // updates_per_rollout
  assert totals(metrics)["probe/num_rows"] == minibatch
  assert metrics["probe/split_groups"].total == 0


def test_the_mini_batches_of_another_key_are_others(bigram):
  update, state, batch = simple(
    bigram, members={"probe": probe}, updates_per_rollout=4, learning_rate=0.0
  )
  update = jax.jit(update)
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


# -- the controller -----------------------------------------------------------


def entropies_of_all_and_of_kept(state, batch) -> tuple[float, float]:
  """Compute the mean entropy of the sampled and of the kept tokens."""
  entropies, sampled = own_entropies(state, batch), batch.response_mask
  kept = sampled * batch.keep[:, None]
  return tuple(
    float(np.average(entropies, weights=mask)) for mask in (sampled, kept)
  )


def test_the_integral_takes_in_tokens_that_the_loss_leaves_out(bigram):
  update, state, batch = simple(bigram, controller=entropic_pi(target=TARGET))
  batch = half_kept(batch)
  sampled, kept = entropies_of_all_and_of_kept(state, batch)
  assert abs(sampled - kept) > 1e-3
  state, _ = jax.jit(update)(state, None, batch, jax.random.key(0))
  # float32 means of entropies below 3
  np.testing.assert_allclose(
    state.opt_state["control"].integral, sampled - TARGET, rtol=0, atol=2e-6
  )


def test_the_coefficient_reads_tokens_that_the_loss_leaves_out(bigram):
  update, state, batch = simple(
    bigram,
    members={"probe": probe},
    controller=entropic_pi(target=TARGET, kp=1.0, ki=0.0, limit=9.0),
  )
  batch = half_kept(numbered(batch, full=False))
  sampled, kept = entropies_of_all_and_of_kept(state, batch)
  assert abs(sampled - kept) > 1e-3
  _, metrics = jax.jit(update)(state, None, batch, jax.random.key(0))
  # float32 means of entropies below 3
  np.testing.assert_allclose(
    metrics["probe/coefficient"].total, sampled - TARGET, rtol=0, atol=2e-6
  )


def test_a_restart_has_a_fresh_optimizer_and_the_policy_of_before(bigram):
  controller = entropic_pi(target=TARGET)
  optimizer = recording_sgd(controller, 0.5)
  update, state, batch = simple(bigram, optimizer=optimizer)
  trained, _ = jax.jit(update)(state, None, batch, jax.random.key(0))
  assert trained.opt_state["control"].integral != 0
  fresh = restart(trained, optimizer)
  jax.tree.map(
    np.testing.assert_array_equal,
    fresh,
    dataclasses.replace(trained, opt_state=state.opt_state),
  )


def test_the_integral_takes_in_the_entropy_of_each_mini_batch_once(bigram):
  update, state, batch = simple(
    bigram,
    members={"probe": probe},
    controller=entropic_pi(target=TARGET),
    updates_per_rollout=4,
  )
  state, metrics = jax.jit(update)(
    state, None, numbered(batch, full=False), jax.random.key(0)
  )
  assert metrics["probe/entropy"].count == 4
  # float32 sums of 4 numbers below 3
  np.testing.assert_allclose(
    state.opt_state["control"].integral,
    metrics["probe/entropy"].total - 4 * TARGET,
    rtol=0,
    atol=2e-6,
  )


def test_the_coefficient_uses_the_integral_before_its_own_update(bigram):
  kp, ki, num_updates = 0.25, 0.125, 4
  update, state, batch = simple(
    bigram,
    members={"probe": probe},
    controller=entropic_pi(target=TARGET, kp=kp, ki=ki, limit=9.0),
    learning_rate=0.0,
    updates_per_rollout=num_updates,
    num_epochs=num_updates,
  )
  _, metrics = jax.jit(update)(state, None, numbered(batch), jax.random.key(0))
  # the policy stands still and each update sees the whole batch: one error e,
  # and kp e + ki k e at update k = 0 ... 3
  error = float(totals(metrics)["probe/entropy"]) - TARGET
  expected = kp * error + ki * error * np.mean(np.arange(num_updates))
  # float32 numbers below 3
  np.testing.assert_allclose(
    totals(metrics)["probe/coefficient"], expected, rtol=0, atol=2e-6
  )


def test_the_integral_goes_on_where_the_last_call_ended(bigram):
  update, state, batch = simple(
    bigram,
    members={"probe": probe},
    controller=entropic_pi(target=TARGET),
    learning_rate=0.0,
  )
  update = jax.jit(update)
  integrals = []
  for seed in range(3):
    state, _ = update(state, None, numbered(batch), jax.random.key(seed))
    integrals.append(float(state.opt_state["control"].integral))
  # three float32 additions of one error below 2
  np.testing.assert_allclose(
    integrals, np.arange(1, 4) * integrals[0], rtol=1e-6
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
  assert update._cache_size() == 1


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
