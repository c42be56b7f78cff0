"""Rows that are sorted by length give the numbers that they give in order."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.control import entropic_pi
from entrojax.entropy.statistics import top_log_probs
from entrojax.models import decoder, lora
from entrojax.models.kept import OF_MICROBATCHES
from entrojax.models.lora import PROJECTIONS, Lora
from entrojax.objectives import entropic, ppo_clip, top_entropy
from entrojax.system.sharding import by_row, make_mesh
from entrojax.update import length_buckets
from entrojax.update.scoring import score_in_microbatches
from experiments import hlo
from tests.helpers.system import SIZES
from tests.helpers.updates import (
  GROUP_SIZE,
  NUM_ROWS,
  PROMPT_LENGTH,
  RESPONSE_LENGTH,
  Setting,
  difference,
  make_batch,
)

BUCKETS = (2, 4)
ALL = (*BUCKETS, RESPONSE_LENGTH)
MESHES = ((8, 1, 1), (1, 8, 1), (2, 2, 2))
LENGTHS = {
  "ragged": None,  # from 0 to all tokens, as make_batch draws them
  "all short": np.full(NUM_ROWS, 2),
  "all long": np.full(NUM_ROWS, RESPONSE_LENGTH),
  "one long": np.where(np.arange(NUM_ROWS) == 5, RESPONSE_LENGTH, 1),
  "all empty": np.zeros(NUM_ROWS, int),
}
MEMBERS = {
  "ppo_clip": ppo_clip(clip_high=0.28, dual_clip=3.0),
  "top_entropy": top_entropy(fraction=0.3),
  "entropic": entropic(min_probability=0.3),
}
EXACT = (
  "actor/entropy",
  "actor/ppo_kl",
  "actor/pg_loss",
)  # float64 if rows are
# bytes of three arrays of whole numbers: tokens, positions, and rows' places
SORTED_ROWS = 3 * 4 * NUM_ROWS * (PROMPT_LENGTH + RESPONSE_LENGTH)
# float64 sums in another order; numbers are of order 1
ROUNDING = 1e-12


def batch_of(lengths=None, dtype=np.float64):
  """Draw a batch whose responses have these lengths."""
  batch = make_batch(0, dtype, vocabulary=SIZES.vocab_size)
  if lengths is None:
    return batch
  mask = np.arange(RESPONSE_LENGTH) < lengths[:, None]
  before = np.asarray(batch.positions[:, :PROMPT_LENGTH])
  behind = before[:, -1:] + np.arange(1, RESPONSE_LENGTH + 1)
  positions = np.concatenate([before, np.where(mask, behind, -1)], axis=1)
  return dataclasses.replace(
    batch,
    positions=jnp.asarray(positions, jnp.int32),
    response_mask=jnp.asarray(mask, jnp.float32),
  )


def scorer(model, *, mesh=None, buckets=BUCKETS, statistics=(), **options):
  """Build (params, tokens, positions) -> log-probs, entropies, statistics."""
  options = {"num_microbatches": 4, "rematerialise": True} | options

  def run(params, tokens, positions):
    return score_in_microbatches(
      model,
      params,
      tokens,
      positions,
      response_length=RESPONSE_LENGTH,
      group_size=GROUP_SIZE,
      temperature=0.8,
      response_buckets=buckets,
      statistics=statistics,
      mesh=mesh,
      **options,
    )

  return run


def scored(score):
  """Build run(params, batch) -> scores and a gradient, from a scorer.

  Cotangents are random numbers, and 0 at padding.
  """

  @jax.jit
  def run(params, tokens, positions, mask):
    values, pull_back = jax.vjp(lambda p: score(p, tokens, positions), params)
    at_tokens = lambda x: x * mask.reshape(mask.shape + (1,) * (x.ndim - 2))
    keys = jax.random.split(jax.random.key(0), len(values))
    cotangents = [
      at_tokens(jax.random.normal(key, x.shape, x.dtype))
      for key, x in zip(keys, values, strict=True)
    ]
    finite = jnp.all(jnp.array([jnp.all(jnp.isfinite(x)) for x in values]))
    return [*map(at_tokens, values), pull_back(tuple(cotangents)), finite]

  def on(params, batch):
    rows = batch.tokens, batch.positions, batch.response_mask
    return jax.device_get(run(params, *rows))

  return on


def assert_same(actual, expected):
  for a, e in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
    np.testing.assert_allclose(a, e, rtol=ROUNDING, atol=ROUNDING)


def tiny(**options):
  """Build a decoder of one layer and its parameters, in float64."""
  model = decoder(SIZES, dtype=jnp.float64, **options)
  params = model.init(jax.random.key(0))
  return model, jax.tree.map(lambda x: jnp.asarray(3 * x, jnp.float64), params)


# -- which rows go where ------------------------------------------------------


@pytest.mark.parametrize("unit", [1, 2, 4])
@pytest.mark.parametrize("seed", range(5))
def test_every_row_is_dealt_once_beside_rows_of_its_length(seed, unit):
  rng = np.random.default_rng(seed)
  lengths = rng.integers(0, 11, 48)
  buckets = (3, 7, 10)
  rows, bucket = length_buckets.deal(jnp.asarray(lengths), buckets, 4, unit, 6)
  np.testing.assert_array_equal(np.sort(rows), np.arange(48))
  prompts = np.asarray(rows).reshape(-1, unit) // 4
  assert (prompts == prompts[:, :1]).all()  # units share a prompt
  longest = lengths[rows].reshape(-1, unit).max(axis=1)
  assert (np.diff(longest) >= 0).all()
  for part, number in zip(lengths[rows].reshape(6, -1), bucket, strict=True):
    fits = [length for length in buckets if length >= part.max()]
    assert buckets[number] == fits[0]


def test_units_weigh_prompts_against_responses():
  size = lambda prompt, response: length_buckets.unit_size(
    8, 8, prompt + response, response
  )
  # P / r + T (8 + r) / 18 for r = 1, 2, 4, 8:
  assert size(16, 128) == 2  # 80.0, 79.1, 89.3, 115.8
  assert size(256, 512) == 4  # 512, 412.4, 405.3, 487.1
  assert size(2048, 20480) == 1  # 12288, 12402, ...
  assert size(512, 64) == 8  # 544, 291.6, 170.7, 120.9
  assert (
    length_buckets.unit_size(2, 8, 512 + 64, 64) == 2
  )  # no more on a device


def test_a_length_is_that_of_the_last_token():
  positions = jnp.array([[0, 1, 2, 3], [0, 1, 2, -1], [0, 1, -1, -1]])
  lengths = length_buckets.response_lengths(positions, 2)
  np.testing.assert_array_equal(lengths, [2, 1, 0])


# -- scores and gradients -----------------------------------------------------


@pytest.fixture(scope="module")
def plain():
  """Return the scores and gradients of all batches, in order, on one device."""
  with jax.enable_x64(True):
    model, params = tiny()
    run = scored(scorer(model, buckets=()))
    return {
      name: run(params, batch_of(lengths)) for name, lengths in LENGTHS.items()
    }


def test_buckets_change_neither_scores_nor_gradients(plain):
  with jax.enable_x64(True):
    model, params = tiny()
    run = scored(scorer(model))
    for name, lengths in LENGTHS.items():
      actual = run(params, batch_of(lengths))
      assert actual[-1]  # finite at padding, too
      assert_same(actual, plain[name])


@pytest.mark.slow
@pytest.mark.parametrize("kept", [x for x in OF_MICROBATCHES if x is not True])
def test_what_is_kept_changes_no_gradient(kept, plain):
  with jax.enable_x64(True):
    model, params = tiny(scan_layers=True)
    run = scored(scorer(model, rematerialise=kept))
    assert_same(run(params, batch_of()), plain["ragged"])


@pytest.mark.slow
@pytest.mark.parametrize("shape", MESHES)
def test_meshes_change_neither_scores_nor_gradients(shape, plain):
  mesh = make_mesh(shape)
  with jax.enable_x64(True):
    model, params = tiny(mesh=mesh)
    run = scored(scorer(model, mesh=mesh, num_microbatches=2))
    batch = jax.device_put(batch_of(), by_row(mesh))
    assert_same(run(params, batch), plain["ragged"])


def test_statistics_with_further_axes_are_put_back_in_order(bigram):
  with jax.enable_x64(True):
    table = jnp.asarray(np.random.default_rng(0).normal(size=(8, 8)))
    batch = make_batch(0, np.float64)
    top = (top_log_probs(3),)
    actual, expected = (
      scored(scorer(bigram, buckets=buckets, statistics=top))(
        {"embed_tokens": table}, batch
      )
      for buckets in (BUCKETS, ())
    )
  assert expected[2].shape == (NUM_ROWS, RESPONSE_LENGTH, 3)
  assert_same(actual, expected)


@pytest.mark.slow
def test_an_adapter_has_the_same_gradient_and_its_base_is_not_kept():

  def backward(buckets, base, adapter):
    model, _ = tiny(lora=Lora(2, 4.0, PROJECTIONS))
    score = scorer(lora.on_base(model, base), buckets=buckets)
    rows = batch.tokens, batch.positions
    return jax.vjp(lambda a: score(a, *rows), adapter)

  def run(buckets):
    of = functools.partial(backward, buckets)
    kept = jax.eval_shape(lambda *p: of(*p)[1], base, adapter)
    gradient = jax.jit(lambda *p: of(*p)[1]((mask, mask)))
    return num_bytes(kept), gradient(base, adapter)

  with jax.enable_x64(True):
    batch = batch_of()
    mask = batch.response_mask.astype(jnp.float64)
    base, adapter = lora.split(tiny(lora=Lora(2, 4.0, PROJECTIONS))[1])
    (size, actual), (plain_size, expected) = run(BUCKETS), run(())
  assert size <= plain_size + SORTED_ROWS
  assert_same(actual, expected)


def num_bytes(arrays):
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(arrays))


@pytest.mark.parametrize("kept", OF_MICROBATCHES)
def test_no_more_is_kept_than_without_buckets(kept):
  model = decoder(SIZES, scan_layers=True)
  params = jax.eval_shape(model.init, jax.random.key(0))
  rows = jax.ShapeDtypeStruct((NUM_ROWS, 8), np.int32)

  def of(buckets):
    score = scorer(model, buckets=buckets, rematerialise=kept)
    backward = lambda *of: jax.vjp(lambda p: score(p, *of[1:]), of[0])[1]
    return num_bytes(jax.eval_shape(backward, params, rows, rows))

  assert of(BUCKETS) <= of(()) + SORTED_ROWS


def test_each_branch_has_the_products_of_its_length():
  model = decoder(SIZES)
  params = jax.eval_shape(model.init, jax.random.key(0))

  def flops(length, buckets=(), shares=()):
    rows = jax.ShapeDtypeStruct((NUM_ROWS, PROMPT_LENGTH + length), np.int32)

    def total(params, tokens, positions):
      values = score_in_microbatches(
        model,
        params,
        tokens,
        positions,
        response_length=length,
        group_size=1,
        temperature=1.0,
        num_microbatches=4,
        rematerialise=True,
        response_buckets=buckets,
      )
      return sum(map(jnp.sum, values))

    jaxpr = jax.make_jaxpr(jax.grad(total))(params, rows, rows)
    return hlo.flops(jaxpr, shares=shares).total

  for i, length in enumerate(ALL):
    only = [float(i == j) for j in range(3)]
    assert flops(RESPONSE_LENGTH, BUCKETS, only) == flops(length)


def test_without_buckets_nothing_is_sorted():
  model = decoder(SIZES)
  params = jax.eval_shape(model.init, jax.random.key(0))
  rows = jax.ShapeDtypeStruct((NUM_ROWS, 8), np.int32)

  def text(buckets):
    run = jax.jit(scorer(model, buckets=buckets))
    return run.lower(params, rows, rows).as_text()

  assert "stablehlo.sort" in text(BUCKETS)
  assert "stablehlo.sort" not in text(())


# -- whole updates ------------------------------------------------------------


@pytest.fixture(scope="module")
def setting(bigram):
  with jax.enable_x64(True):
    table = np.random.default_rng(0).normal(size=(8, 8))
    controller = entropic_pi(target=0.5)
    setting = Setting(
      bigram, {"embed_tokens": jnp.asarray(table)}, MEMBERS, controller
    )
    return setting, {
      scope: setting.after_two_updates(num_microbatches=2, scope=scope)
      for scope in ("minibatch", "micro")
    }


@pytest.mark.slow
@pytest.mark.parametrize("scope", ["minibatch", "micro"])
def test_an_update_on_sorted_rows_is_the_same(scope, setting):
  setting, expected = setting
  with jax.enable_x64(True):
    actual = setting.after_two_updates(
      num_microbatches=2, scope=scope, response_buckets=BUCKETS
    )
  assert difference(actual, expected[scope], EXACT) < ROUNDING


@pytest.mark.slow
@pytest.mark.parametrize("mesh", MESHES)
def test_an_update_on_sorted_rows_is_the_same_on_a_mesh(mesh, setting):
  setting, expected = setting
  with jax.enable_x64(True):
    actual = setting.after_two_updates(
      num_microbatches=2, mesh=mesh, response_buckets=BUCKETS
    )
  assert difference(actual, expected["minibatch"], EXACT) < ROUNDING
