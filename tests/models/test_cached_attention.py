"""Decoding reads the filled part of a cache, and shared prompts once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.models.attention import _attend
from entrojax.models.cache import LayerCache
from entrojax.models.cached_attention import attend_to_cache, lengths

NUM_SLOTS = 300  # read in lengths of 128, 256 and 300


@pytest.mark.parametrize(
  ("num_slots", "expected"),
  [
    (24, (24,)),
    (256, (256,)),
    (257, (128, 256, 257)),
    (512, (128, 256, 384, 512)),
    (1024, tuple(range(128, 1025, 128))),
    # eight lengths at most, each a multiple of 128 but for the last
    (1025, (256, 512, 768, 1024, 1025)),
    (22528, tuple(range(2816, 22529, 2816))),
  ],
)
def test_there_are_few_lengths_in_steps_of_128(num_slots, expected):
  assert lengths(num_slots) == expected


def random_cache(seed, rows, slots, layer=None):
  """Return keys f[B, 2, 4, S] and values f[B, 2, S, 4], perhaps of 3 layers."""
  rng = np.random.default_rng(seed)
  before = () if layer is None else (3,)
  draw = lambda *shape: np.float32(rng.normal(size=(*before, *shape)))
  return draw(rows, 2, 4, slots), draw(rows, 2, slots, 4)


def twin(q, keys, values, visible):
  """Compute attention in float64, head by head and query by query."""
  mixed = np.zeros(q.shape)
  length = visible.shape[1]
  for b, k, x in np.ndindex(q.shape[:3]):
    seen = visible[b, x % length]
    scores = np.float64(q[b, k, x]) @ np.float64(keys[b, k][:, seen]) / 2
    weights = np.exp(scores - scores.max())
    mixed[b, k, x] = weights / weights.sum() @ np.float64(values[b, k][seen])
  return mixed


@functools.partial(jax.jit, static_argnames="layer")
def attend(q, keys, values, filled, visible, prompts=None, layer=None):
  number = None if layer is None else jnp.int32(layer)
  slot = jnp.int32(0)  # has been written
  cache = LayerCache(keys, values, number, slot, filled, prompts)
  return attend_to_cache(_attend, q, cache, visible)


@pytest.mark.parametrize(
  ("filled", "num_read"),
  [(1, 128), (127, 128), (128, 128), (129, 256), (256, 256), (257, 300)],
)
def test_slots_behind_the_filled_ones_are_not_read(filled, num_read):
  keys, values = random_cache(0, 2, NUM_SLOTS, layer=1)
  keys[..., num_read:] = values[..., num_read:, :] = np.nan
  q = np.float32(np.random.default_rng(1).normal(size=(2, 2, 3, 4)))
  visible = np.random.default_rng(2).random((2, 1, NUM_SLOTS)) < 0.7
  visible[:, :, 0], visible[:, :, filled:] = True, False
  result = attend(q, keys, values, jnp.int32(filled), visible, layer=1)
  # float32 sums of at most 257 terms, in another order
  np.testing.assert_allclose(
    result, twin(q, keys[1], values[1], visible), rtol=1e-5, atol=1e-6
  )


@pytest.mark.parametrize("layer", [None, 2])
@pytest.mark.parametrize("slots", [20, NUM_SLOTS])
@pytest.mark.parametrize("length", [1, 3])
def test_shared_prompts_are_as_prompts_in_front_of_each_row(
  slots, length, layer
):
  """Two prompts of 7 tokens, three rows behind each, two queries per head."""
  prompts = random_cache(3, 2, 7)
  keys, values = random_cache(4, 6, slots, layer)
  q = np.float32(np.random.default_rng(5).normal(size=(6, 2, 2 * length, 4)))
  visible = np.random.default_rng(6).random((6, length, 7 + slots)) < 0.6
  visible[..., 7] = True
  visible[..., 7 + 18 :] = False
  visible[2, :, :7] = False  # a row that sees nothing of its prompt
  result = attend(q, keys, values, jnp.int32(18), visible, prompts, layer)
  if layer is not None:
    keys, values = keys[layer], values[layer]
  before = [np.repeat(x, 3, axis=0) for x in prompts]
  whole = (
    np.concatenate([before[0], keys], axis=3),
    np.concatenate([before[1], values], axis=2),
  )
  np.testing.assert_allclose(
    result, twin(q, *whole, visible), rtol=1e-5, atol=1e-6
  )


def test_a_row_that_sees_nothing_has_no_nan():
  keys, values = random_cache(7, 2, NUM_SLOTS)
  visible = np.zeros((2, 1, 5 + NUM_SLOTS), bool)
  q = np.ones((2, 2, 1, 4), np.float32)
  prompts = random_cache(8, 1, 5)
  result = attend(q, keys, values, jnp.int32(9), visible, prompts)
  assert np.isfinite(result).all()
