"""The ledger: tokens' first-order changes, a measured step and its columns."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from entrojax.control import entropic_pi, no_control
from entrojax.entropy.token_groups import SPLITS, token_groups
from entrojax.objectives import aggregation, entropic, ppo_clip
from entrojax.system.sharding import (
  by_row,
  make_mesh,
  param_shardings,
  replicated,
)
from entrojax.types import Batch
from entrojax.update.corrected_step import identity_preconditioner
from entrojax.update.ledger_columns import column_metrics
from entrojax.update.measured_step import Rows, make_measured_step
from entrojax.update.projection import entropy_projection
from entrojax.update.scoring import score
from entrojax.update.setup import BatchSplit
from entrojax.update.token_changes import TokenChanges, make_token_changes
from entrojax.update.train_step import init_state, make_update
from tests.helpers.updates import (
  GROUP_SIZE,
  RESPONSE_LENGTH,
  controlled,
  make_batch,
  totals,
)

ON_8 = (8, 1, 1)
RATE = 0.05


def many_rows(vocabulary) -> Batch:
  """Draw 128 rows: two mini-batches of 8 devices x 8 micro-batches x 1 row."""
  batches = [make_batch(seed, vocabulary=vocabulary) for seed in range(8)]
  return jax.tree.map(lambda *x: jnp.concatenate(x), *batches)


def place(tree, mesh):
  return jax.device_put(tree, by_row(mesh))


def inner_product(a, b):
  return float(optax.tree.vdot(a, b))


@pytest.mark.slow
def test_changes_of_tokens_are_the_derivative_along_the_step(tiny_model):
  # in one part, and on 8 devices in 8 parts
  model, params = tiny_model
  keys = iter(jax.random.split(jax.random.key(1), 99))
  step = jax.tree.map(
    lambda x: 1e-2 * jax.random.normal(next(keys), x.shape), params
  )
  batch = jax.tree.map(lambda x: x[:64], many_rows(11))
  options = {"response_length": RESPONSE_LENGTH, "group_size": GROUP_SIZE}
  changes = {}
  for parts, devices in ((1, (1, 1, 1)), (8, ON_8)):
    mesh = make_mesh(devices, jax.devices()[: np.prod(devices)])
    measure = make_token_changes(
      model, **options, temperature=0.8, num_microbatches=parts, mesh=mesh
    )
    changes[parts] = jax.device_get(
      jax.jit(measure)(
        *jax.device_put((params, step), replicated(mesh)),
        *place((batch.tokens, batch.positions), mesh),
      )
    )
  for one, split in zip(changes[1], changes[8], strict=True):
    np.testing.assert_allclose(split, one, rtol=1e-4, atol=1e-6)

  def mean_entropy(params):
    _, entropy = score(
      model, params, batch.tokens, batch.positions, **options, temperature=0.8
    )
    return jnp.sum(entropy * batch.response_mask) / jnp.sum(batch.response_mask)

  entropy, gradient = jax.jit(jax.value_and_grad(mean_entropy))(params)
  mask = np.asarray(batch.response_mask)
  mean = lambda x: np.sum(x * mask) / np.sum(mask)
  np.testing.assert_allclose(mean(changes[1].entropy), entropy, rtol=1e-6)
  expected = inner_product(gradient, step)
  np.testing.assert_allclose(mean(changes[1].change), expected, rtol=1e-5)


class Case:
  """A table of logits, a batch and the methods of an update of two steps."""

  def __init__(self, bigram, members, optimizer):
    table = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    self.params = {"embed_tokens": jnp.asarray(table)}
    self.batch, self.key = many_rows(8), jax.random.key(3)
    self.optimizer = optimizer
    self.arguments = (bigram, members, aggregation.token_mean, optimizer)

  def call(self, make, *arguments, mesh=(1, 1, 1), rows=None, parts=1):
    """Call what `make` builds with the state, the rows and the key."""
    mesh = make_mesh(mesh, jax.devices()[: np.prod(mesh)])
    function = make(
      *self.arguments,
      group_size=GROUP_SIZE,
      temperature=0.8,
      split=BatchSplit(updates_per_rollout=2, num_microbatches=parts),
      mesh=mesh,
    )
    state = init_state(self.params, self.optimizer)
    return jax.jit(function)(
      jax.device_put(state, param_shardings(mesh, state)),
      None,
      place(self.batch if rows is None else rows, mesh),
      *jax.device_put((self.key, *arguments), replicated(mesh)),
    )

  def measure(self, number, **options):
    right = jnp.asarray(np.arange(128) % 3 == 0, jnp.float32)
    rows = Rows(self.batch, right)
    number = jnp.int32(number)
    return jax.device_get(
      self.call(make_measured_step, number, rows=rows, **options)
    )

  def first_order(self, measured):
    """Compute <grad H, step> on the step's own tokens, by itself."""
    own = measured.own.batch

    def mean_entropy(params):
      _, entropy = score(
        self.arguments[0],
        params,
        own.tokens,
        own.positions,
        response_length=RESPONSE_LENGTH,
        temperature=0.8,
      )
      return jnp.sum(entropy * own.response_mask) / jnp.sum(own.response_mask)

    gradient = jax.jit(jax.grad(mean_entropy))(measured.before)
    step = optax.tree.sub(measured.after, measured.before)
    return inner_product(gradient, step)


@pytest.fixture(scope="module")
def driven(bigram) -> Case:
  """Return a case with a clip, a controlled member and momentum."""
  optimizer = controlled(
    entropic_pi(target=0.5), sgd=optax.sgd(RATE, momentum=0.9)
  )
  members = {"ppo_clip": ppo_clip(), "entropic": entropic(min_probability=0.1)}
  return Case(bigram, members, optimizer)


@pytest.fixture(scope="module")
def second(driven):
  return driven.measure(1)


@pytest.mark.slow
def test_the_last_measured_step_ends_where_the_update_does(driven, second):
  state, _ = driven.call(make_update)
  np.testing.assert_allclose(
    second.after["embed_tokens"], state.params["embed_tokens"], rtol=1e-6
  )
  assert np.any(second.before["embed_tokens"] != second.after["embed_tokens"])


@pytest.mark.slow
def test_contributions_add_up_to_the_first_order_change(driven, second):
  parts = second.contributions
  assert set(parts) == {"history", "policy_gradient", "ppo_clip", "entropic"}
  assert all(abs(value) > 1e-7 for value in parts.values()), parts
  whole = driven.first_order(second)
  np.testing.assert_allclose(sum(parts.values()), whole, rtol=1e-5)


@pytest.mark.slow
def test_a_measured_step_is_the_same_on_8_devices_in_8_microbatches(driven):
  one, split = driven.measure(0), driven.measure(0, mesh=ON_8, parts=8)
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(split), strict=True):
    np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-7)
  # the held-back rows are the other mini-batch, with their verdicts
  together = np.concatenate([one.own.batch.tokens, one.held_back.batch.tokens])
  rows = sorted(map(tuple, np.asarray(driven.batch.tokens).tolist()))
  assert sorted(map(tuple, together.tolist())) == rows
  assert one.own.right.shape == one.held_back.right.shape == (64,)
  assert one.contributions["history"] == 0  # no momentum before the first step
  assert one.contributions["ppo_clip"] == 0  # nor a ratio other than 1


@pytest.mark.slow
def test_a_projection_contributes_what_it_adds_to_the_step(bigram):
  project = functools.partial(
    entropy_projection, precondition=identity_preconditioner, sided="both"
  )
  optimizer = controlled(
    no_control(), reads_entropy_gradient=True, adamw=project(optax.sgd(RATE))
  )
  case = Case(bigram, {"ppo_clip": ppo_clip()}, optimizer)
  # the second step, as the first has no gradient of earlier tokens
  measured = case.measure(1)
  parts = measured.contributions
  assert abs(parts["projection"]) > 1e-5
  whole = case.first_order(measured)
  np.testing.assert_allclose(sum(parts.values()), whole, rtol=1e-4)


# -- columns -----------------------------------------------------------------


@pytest.fixture(scope="module")
def column():
  """Return rows, their tokens before and after a step, and the metrics."""
  batch = make_batch(0)
  rng = np.random.default_rng(5)
  signs = rng.integers(-1, 2, (16, 1)).astype(np.float32)
  batch = Batch(**{**vars(batch), "advantages": np.repeat(signs, 5, axis=1)})
  rows = Rows(batch, (rng.random(16) < 0.4).astype(np.float32))
  draw = lambda: rng.normal(size=(16, 5)).astype(np.float32)
  entropy = np.abs(draw())
  start = TokenChanges(-np.abs(draw()), entropy, 1e-3 * draw())
  end = TokenChanges(draw(), entropy + 1e-3 * draw(), 1e-3 * draw())
  middle = TokenChanges(draw(), entropy, 1e-3 * draw())
  metrics = jax.jit(column_metrics)(rows, start, end, draw(), middle)
  return rows, start, middle, end, totals(metrics)


def test_a_column_has_the_means_over_its_tokens(column):
  rows, start, middle, end, metrics = column
  mask = np.asarray(rows.batch.response_mask) > 0
  changes = [x.change[mask].astype(np.float64) for x in (start, end)]
  half_way = middle.change[mask].astype(np.float64)
  measured = np.mean((end.entropy - start.entropy)[mask], dtype=np.float64)
  expected = {
    "entropy_before": start.entropy[mask].mean(),
    "entropy_after": end.entropy[mask].mean(),
    "measured": measured,
    "first_order": changes[0].mean(),
    "trapezoid": np.mean(changes),
    "simpson": np.mean(sum(changes) + 4 * half_way) / 6,
    "left": measured - changes[0].mean(),
  }
  for name, value in expected.items():
    np.testing.assert_allclose(metrics[name], value, rtol=1e-4, err_msg=name)
  log_probs, advantages = start.log_probs[mask], rows.batch.advantages[mask]
  covariance = np.cov(log_probs, advantages, bias=True)[0, 1]
  np.testing.assert_allclose(metrics["covariance"], -covariance, rtol=1e-4)
  assert metrics["weighted_covariance"] != metrics["covariance"]


def test_the_shares_of_each_split_add_up_to_the_whole(column):
  *_, metrics = column
  for split, names in SPLITS.items():
    for key, whole in (
      ("first_order", None),
      ("measured", None),
      ("tokens", 1),
    ):
      shares = metrics[f"{key}/{split}"]
      whole = metrics[key] if whole is None else whole
      assert shares.shape == (len(names),)
      assert abs(shares.sum() - whole) <= 1e-6 * np.abs(shares).sum()


def test_every_token_is_in_the_group_of_its_sign_verdict_fifth(column):
  rows, start, *_ = column
  mask = np.asarray(rows.batch.response_mask) > 0
  groups = jax.tree.map(
    np.asarray,
    jax.jit(token_groups)(
      start.log_probs,
      start.entropy,
      rows.batch.advantages,
      rows.right,
      rows.batch.response_mask,
    ),
  )
  for split, members in groups.items():
    np.testing.assert_array_equal(sum(members), mask, err_msg=split)
  # worked out token by token
  probable = start.log_probs >= np.median(start.log_probs[mask])
  ranks = np.argsort(np.argsort(np.where(mask, start.entropy, np.inf), None))
  for row, t in np.argwhere(mask):
    sign = np.sign(rows.batch.advantages[row, t])
    half = "probable" if probable[row, t] else "rare"
    by_sign = {1: f"positive_{half}", -1: f"negative_{half}", 0: "no_advantage"}
    length = int(mask[row].sum())
    expected = {
      "by_sign": by_sign[sign],
      "by_verdict": "right" if rows.right[row] else "wrong",
      "by_entropy": f"fifth_{1 + 5 * ranks[row * 5 + t] // mask.sum()}",
      "by_position": f"fifth_{1 + 5 * t // length}",
    }
    for split, name in expected.items():
      assert groups[split][SPLITS[split].index(name)][row, t] == 1, split
