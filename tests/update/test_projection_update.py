"""The entropy-projected update in the graph of a train step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from entrojax.control import no_control
from entrojax.models import decoder
from entrojax.objectives import aggregation, ppo_clip
from entrojax.system.sharding import (
  by_row,
  make_mesh,
  param_shardings,
  replicated,
)
from entrojax.types import TrainState
from entrojax.update.scoring import score
from entrojax.update.setup import BatchSplit
from entrojax.update.train_step import init_state, make_update
from tests.helpers.projected import RAISE, WANTED, adam, bits, flat, sgd
from tests.helpers.updates import (
  BOTH,
  GROUP_SIZE,
  NUM_ROWS,
  PROMPT_LENGTH,
  RESPONSE_LENGTH,
  controlled,
  log_softmax,
  make_batch,
  totals,
)

pytestmark = pytest.mark.slow


def updater(model, optimizer, *, mesh=None, **split):
  return make_update(
    model,
    {"ppo_clip": ppo_clip()},
    aggregation.token_mean,
    optimizer,
    group_size=GROUP_SIZE,
    temperature=0.8,
    split=BatchSplit(**split),
    mesh=mesh,
  )


def table_state(optimizer, dtype=np.float32) -> TrainState:
  table = np.random.default_rng(0).normal(size=(8, 8))
  return init_state({"embed_tokens": jnp.asarray(table, dtype)}, optimizer)


def chained(projected):
  """Build an optimizer from a projected transform, without a controller."""
  return controlled(no_control(), reads_entropy_gradient=True, sgd=projected)


def recorded_and_expected_h(bigram, batch):
  """Return h as an update gets it, and as a loop over tokens computes it."""

  def keep(updates, state, params=None, *, entropy_grad, **unused):
    return updates, entropy_grad()

  recording = optax.GradientTransformationExtraArgs(
    lambda params: jax.tree.map(jnp.zeros_like, params), keep
  )
  optimizer = controlled(
    no_control(), reads_entropy_gradient=True, sgd=sgd(**RAISE), h=recording
  )
  state = table_state(optimizer)
  table = np.asarray(state.params["embed_tokens"])
  state, _ = jax.jit(updater(bigram, optimizer))(
    state, None, batch, jax.random.key(0)
  )
  # at temperature 0.8, dH/dz_v = -p_v (log p_v + H) / 0.8
  log_p = log_softmax(table / 0.8)
  entropies = -np.sum(np.exp(log_p) * log_p, axis=1, keepdims=True)
  slopes = -np.exp(log_p) * (log_p + entropies) / 0.8
  expected = np.zeros((8, 8))
  mask = np.asarray(batch.response_mask)
  for row, t in np.argwhere(mask):
    previous = batch.tokens[row, PROMPT_LENGTH - 1 + t]
    expected[previous] += slopes[previous] / mask.sum()
  return state.opt_state["h"]["embed_tokens"], expected


def test_h_is_the_gradient_of_the_token_mean_entropy(bigram):
  h, expected = recorded_and_expected_h(bigram, make_batch(0))
  # float32 sums of 50 terms of size 1/50
  np.testing.assert_allclose(h, expected, rtol=0, atol=1e-6)


def test_h_takes_in_tokens_that_the_loss_leaves_out(bigram):
  batch = make_batch(0)
  batch = dataclasses.replace(batch, keep=jnp.arange(NUM_ROWS) % 2.0)
  h, expected = recorded_and_expected_h(bigram, batch)
  # float32 sums of 50 terms of size 1/50
  np.testing.assert_allclose(h, expected, rtol=0, atol=1e-6)


def test_the_entropy_changes_as_wanted_to_second_order(bigram, float64):
  batch = make_batch(0, np.float64)

  def changes(learning_rate):
    """Return (measured, wanted); the wanted change is 0.2 learning rates."""
    request = 0.2 * learning_rate
    optimizer = chained(
      sgd(learning_rate, target=9.0, gain=1.0, limit=request, sided="both")
    )
    update = jax.jit(updater(bigram, optimizer))
    start = table_state(optimizer, np.float64)
    # an update that is taken back leaves h for the next
    aside, _ = update(start, None, batch, jax.random.key(0))
    start = dataclasses.replace(start, opt_state=aside.opt_state)
    state, before = update(start, None, batch, jax.random.key(0))
    _, after = update(state, None, batch, jax.random.key(0))
    entropies = [totals(m)["actor/entropy"] for m in (before, after)]
    assert before["projection/touched"].total == 1
    assert (
      abs(before["projection/uncorrected_change"].total - request) > request
    )
    return entropies[1] - entropies[0], request

  errors = []
  for learning_rate in (2e-2, 1e-2):
    measured, request = changes(learning_rate)
    errors.append(measured - request)
    assert abs(errors[-1]) < learning_rate * request
  # the third order of a step of 0.02 is a percent of the second
  assert errors[0] / errors[1] == pytest.approx(4, abs=0.1)


class Setting:
  """The policy and the batch of a comparison of splits."""

  def __init__(self, sizes, params, dtype):
    sizes = dataclasses.replace(sizes, num_hidden_layers=1)
    params = {
      **params,
      "layers": jax.tree.map(lambda x: x[:1], params["layers"]),
    }
    self.model = decoder(sizes, dtype=dtype)
    self.params = jax.tree.map(lambda x: jnp.asarray(x, dtype), params)
    self.batch = make_batch(0, dtype, sizes.vocab_size)

  def after_two_updates(self, *, mesh=(1, 1, 1), **split):
    """Return metrics, Adam's moments and the change of the parameters."""
    mesh = make_mesh(mesh, jax.devices()[: np.prod(mesh)])
    optimizer = adam(0.01, **RAISE, sided="both")
    update = updater(
      self.model,
      optimizer,
      updates_per_rollout=2,
      num_epochs=2,
      mesh=mesh,
      **split,
    )
    state = init_state(self.params, optimizer)
    shardings = param_shardings(mesh, state)
    state, metrics = jax.jit(
      update, out_shardings=(shardings, replicated(mesh))
    )(
      jax.device_put(state, shardings),
      None,
      jax.device_put(self.batch, by_row(mesh)),
      jax.device_put(jax.random.key(3), replicated(mesh)),
    )
    moments = optax.tree_utils.tree_get(state.opt_state, "ScaleByAdamState")
    return {
      "metrics": totals(metrics),
      "moments": flat((moments.mu, moments.nu)),
      "moved": flat(state.params) - flat(self.params),
    }


def difference(actual, expected, metrics=()):
  """Return the largest relative error."""
  pairs = [(actual[name], expected[name]) for name in ("moments", "moved")]
  pairs += [(actual["metrics"][m], expected["metrics"][m]) for m in metrics]
  return max(np.linalg.norm(f - e) / np.linalg.norm(e) for f, e in pairs)


@pytest.fixture(scope="module")
def setting32(sizes, tiny_model):
  setting = Setting(sizes, tiny_model[1], jnp.float32)
  return setting, setting.after_two_updates()


@pytest.fixture(scope="module")
def setting64(sizes, tiny_model):
  with jax.enable_x64(True):
    setting = Setting(sizes, tiny_model[1], jnp.float64)
    return setting, setting.after_two_updates()


PROJECTION = [
  f"projection/{name}"
  for name in (
    "multiplier",
    "predicted_change",
    "uncorrected_change",
    "wanted_change",
    "relative_correction",
    "touched",
  )
]


def test_the_comparison_has_something_to_compare(setting64):
  _, expected = setting64
  metrics = expected["metrics"]
  # the first of the two updates has no forecast
  assert metrics["projection/touched"] == 1 / 2
  assert metrics["projection/relative_correction"] > 0.1
  assert metrics["projection/predicted_change"] == pytest.approx(WANTED / 2)


# float64 sums in another order differ by 1e-15, float32 ones by 6e-8. A split's
# metrics are float32 scalars.


def test_splits_and_meshes_change_nothing_in_float64(setting64):
  setting, expected = setting64
  with jax.enable_x64(True):
    actual = setting.after_two_updates(**BOTH)
  assert difference(actual, expected) < 1e-10


def test_splits_and_meshes_change_only_rounding_in_float32(setting32):
  setting, expected = setting32
  actual = setting.after_two_updates(**BOTH)
  assert difference(actual, expected, PROJECTION) < 1e-5


def test_an_update_without_a_token_is_not_corrected(bigram):
  optimizer = chained(sgd(**RAISE))
  state, batch = table_state(optimizer), make_batch(0)
  mask = jnp.zeros_like(batch.response_mask)
  batch = dataclasses.replace(batch, response_mask=mask)
  actual, metrics = jax.jit(updater(bigram, optimizer))(
    state, None, batch, jax.random.key(0)
  )
  assert bits(actual.params) == bits(state.params)
  assert all(metrics[name].total == 0 for name in PROJECTION)


def test_the_entropy_is_differentiated_only_for_an_optimizer_that_reads_it(
  sizes, tiny_model
):
  model, params = tiny_model
  batch = make_batch(0, vocabulary=sizes.vocab_size)

  def operations(function, *args):
    return jax.jit(function).lower(*args).cost_analysis()["flops"]

  forward = operations(
    lambda params: score(
      model,
      params,
      batch.tokens,
      batch.positions,
      response_length=RESPONSE_LENGTH,
      group_size=GROUP_SIZE,
    ),
    params,
  )

  def update(optimizer):
    return operations(
      updater(model, optimizer),
      init_state(params, optimizer),
      None,
      batch,
      jax.random.key(0),
    )

  # A backward pass costs two forward passes: 3 in all, or 5 for both.
  assert update(controlled(no_control(), sgd=sgd())) < 3.5 * forward
  assert update(chained(sgd(**RAISE))) > 4.5 * forward
