"""Decoding in slots samples what decoding all rows at once samples."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.models import DecoderConfig, decoder
from entrojax.rollouts.sampler import Sampling, generate, make_sampler
from entrojax.rollouts.slots import generate_in_slots
from entrojax.system.sharding import by_row, make_mesh, param_shardings
from entrojax.types import Cache, Prompts

pytestmark = pytest.mark.slow

PAD, EOS = 0, 1
SIZES = DecoderConfig(
  vocab_size=12,
  hidden_size=32,
  intermediate_size=32,
  num_hidden_layers=1,
  num_attention_heads=4,
  num_key_value_heads=2,
  head_dim=8,
)
SAMPLING = Sampling(
  group_size=3,
  response_length=20,
  eos_ids=(EOS,),
  pad_id=PAD,
  sampler=make_sampler(),
  temperature=0.7,
)


def prompts_of(num_prompts, length=5):
  """Return prompts of 1 to `length` random tokens."""
  rng = np.random.default_rng(0)
  lengths = rng.integers(1, length + 1, (num_prompts, 1))
  mask = np.float32(np.arange(length) >= length - lengths)
  tokens = np.int32(rng.integers(2, SIZES.vocab_size, mask.shape) * mask)
  return Prompts(
    tokens=jnp.asarray(tokens),
    mask=jnp.asarray(mask),
    ids=jnp.arange(num_prompts, dtype=jnp.int32),
  )


def policy_of(**options):
  """Return a decoder whose responses have 2 to 20 tokens."""
  model = decoder(SIZES, **options)
  params = dict(jax.jit(model.init)(jax.random.key(0)))
  return model, params | {"embed_tokens": 20 * params["embed_tokens"]}


@pytest.fixture(scope="module")
def whole():
  """Return the rollout of all rows at once."""
  model, params = policy_of()
  run = jax.jit(functools.partial(generate, model, sampling=SAMPLING))
  return run(params, prompts_of(8), jax.random.key(1))


def assert_same(rollout, expected):
  np.testing.assert_array_equal(rollout.tokens, expected.tokens)
  np.testing.assert_array_equal(rollout.positions, expected.positions)
  np.testing.assert_array_equal(rollout.response_mask, expected.response_mask)
  np.testing.assert_array_equal(rollout.truncated, expected.truncated)
  # the same sums in another order
  for name in ("log_probs", "entropy"):
    np.testing.assert_allclose(
      getattr(rollout, name), getattr(expected, name), rtol=0, atol=1e-5
    )


def in_slots(model, num_slots, refill_every, **settings):
  return jax.jit(
    functools.partial(
      generate_in_slots,
      model,
      sampling=SAMPLING,
      num_slots=num_slots,
      refill_every=refill_every,
      **settings,
    )
  )


def test_the_comparison_has_short_and_cut_responses(whole):
  lengths = np.sum(whole.response_mask, axis=1)
  assert lengths.min() < 5
  assert 0 < np.sum(whole.truncated) < len(lengths)


@pytest.mark.parametrize(
  ("num_slots", "refill_every"), [(23, 1), (5, 7), (1, 3), (24, 1), (30, 64)]
)
def test_slots_change_no_sample(whole, num_slots, refill_every):
  model, params = policy_of()
  run = in_slots(model, num_slots, refill_every)
  assert_same(run(params, prompts_of(8), jax.random.key(1)), whole)


def test_a_ring_longer_than_what_is_filled_changes_no_sample():
  """2 * 5 prompts of 5 places and responses of up to 260 tokens."""
  model, params = policy_of(scan_layers=True)
  sampling = SAMPLING._replace(response_length=260, group_size=5)
  arguments = (params, prompts_of(2), jax.random.key(1))
  whole, slots = (
    jax.jit(functools.partial(function, model, sampling=sampling, **options))
    for function, options in (
      (generate, {}),
      (generate_in_slots, {"num_slots": 3, "refill_every": 4}),
    )
  )
  expected = whole(*arguments)
  # the slots write more than 260 tokens, so that the ring is used again
  assert np.sum(expected.response_mask) > 3 * 260
  assert_same(slots(*arguments), expected)


def test_scanned_layers_change_no_sample(whole):
  model, params = policy_of(scan_layers=True)
  run = in_slots(model, 5, 4)
  assert_same(run(params, prompts_of(8), jax.random.key(1)), whole)


@pytest.mark.parametrize("scan_layers", [False, True])
def test_a_refill_writes_to_each_layer_its_own_prompt(scan_layers):
  sizes = dataclasses.replace(SIZES, num_hidden_layers=3)
  model = decoder(sizes, scan_layers=scan_layers)
  rng = np.random.default_rng(0)
  draw = lambda shape: np.float32(rng.normal(size=shape))
  # [layer, row, head, width, place] and [layer, row, head, place, width]
  keys, values = draw((3, 4, 2, 8, 7)), draw((3, 4, 2, 7, 8))
  new_keys, new_values = draw((3, 2, 2, 8, 5)), draw((3, 2, 2, 5, 8))

  def cache(keys, values, positions):
    pair = (jnp.asarray(keys), jnp.asarray(values))
    layers = pair if scan_layers else tuple(zip(*pair, strict=True))
    positions = jnp.asarray(positions, jnp.int32)
    return Cache(layers, positions, jnp.int32(0), jnp.int32(0))

  refilled = jax.jit(model.refill_cache)(
    cache(keys, values, np.full((4, 7), 3)),
    cache(new_keys, new_values, np.arange(10).reshape(2, 5)),
    jnp.array([[1, 0, 0, 1]]),
    jnp.array([[True, False, True, False]]),
  )
  positions = np.full((4, 7), 3)
  for row, prompt in ((0, 1), (2, 0)):
    keys[:, row, :, :, :5] = new_keys[:, prompt]
    values[:, row, :, :5] = new_values[:, prompt]
    positions[row] = [*range(5 * prompt, 5 * prompt + 5), -1, -1]
  stacked = (
    refilled.layers
    if scan_layers
    else [jnp.stack(x) for x in zip(*refilled.layers, strict=True)]
  )
  np.testing.assert_array_equal(stacked[0], keys)
  np.testing.assert_array_equal(stacked[1], values)
  np.testing.assert_array_equal(refilled.positions, positions)


@pytest.mark.parametrize("shape", [(8, 1, 1), (1, 8, 1), (1, 1, 8), (2, 2, 2)])
def test_a_mesh_changes_no_sample_and_moves_no_cache(whole, shape):
  model, params = policy_of()
  mesh = make_mesh(shape)
  rows = shape[0] * shape[1]
  run = in_slots(model, 2 * rows, 4, num_shards=rows)
  arguments = (
    jax.device_put(params, param_shardings(mesh, params)),
    jax.device_put(prompts_of(8), by_row(mesh)),
    jax.random.key(1),
  )
  compiled = run.lower(*arguments).compile()
  assert_same(compiled(*arguments), whole)
  if shape[2] <= SIZES.num_key_value_heads:
    assert_no_cache_moves(compiled)


def assert_no_cache_moves(compiled):
  """Keys and values have four axes, parameters at most three."""
  moved = re.findall(
    r"= \w+\[([\d,]+)\]\S* (?:all-|collective-|reduce-scatter)",
    compiled.as_text(),
  )
  assert all(sizes.count(",") < 3 for sizes in moved)


def test_a_mesh_moves_no_cache_of_prompts_that_a_group_shares():
  model, params = policy_of()
  prompts, mesh = prompts_of(8, length=64), make_mesh((2, 2, 2))
  run = jax.jit(functools.partial(generate, model, sampling=SAMPLING))
  arguments = (
    jax.device_put(params, param_shardings(mesh, params)),
    jax.device_put(prompts, by_row(mesh)),
    jax.random.key(1),
  )
  compiled = run.lower(*arguments).compile()
  assert_no_cache_moves(compiled)
  assert_same(compiled(*arguments), run(params, prompts, jax.random.key(1)))


def test_idle_slots_cost_no_step(bigram):
  """Rows of 2 and of 8 tokens, in turn: 4 slots need 5 T / 4 steps, not 2 T."""
  steps = []
  model = bigram._replace(
    apply=lambda params, tokens, positions, cache=None, in_place=False: (
      _counted(params, tokens, steps),
      cache,
    )
  )
  table = np.full((8, 8), -1e9, np.float32)
  for token, successor in {2: 3, 3: EOS, 4: 5, 5: 4, EOS: 2}.items():
    table[token, successor] = 0
  tokens = jnp.array([[2], [4]] * 8, jnp.int32)
  run = jax.jit(
    functools.partial(
      generate_in_slots,
      model,
      sampling=SAMPLING._replace(group_size=1, response_length=8),
      num_slots=4,
      refill_every=1,
    )
  )
  rollout = run(
    {"embed_tokens": jnp.asarray(table)},
    Prompts(tokens, jnp.ones((16, 1)), jnp.arange(16)),
    jax.random.key(0),
  )
  jax.block_until_ready(rollout)
  np.testing.assert_array_equal(np.sum(rollout.response_mask, 1), [2, 8] * 8)
  # 80 tokens on 4 slots; all at once, 4 rows a time: 4 times 8 steps
  assert 20 <= len(steps) - 1 <= 26


def _counted(params, tokens, steps):
  jax.debug.callback(lambda: steps.append(1))
  return params["embed_tokens"][tokens]
