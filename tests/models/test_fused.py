"""Fused attention equals plain attention, forward and backward.

The kernels run in Pallas' interpreter here, on a CPU.
"""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import default
from entrojax.assembly.model import make_model
from entrojax.models import DecoderConfig, decoder, fused, rope
from entrojax.models.visibility import visible_before
from entrojax.system.sharding import make_mesh, param_shardings
from tests.helpers.tiny_models import GEMMA3, random_params

pytestmark = pytest.mark.slow

SIZES = DecoderConfig(
  vocab_size=11,
  hidden_size=16,
  intermediate_size=16,
  num_hidden_layers=1,
  num_attention_heads=4,
  num_key_value_heads=2,
  head_dim=8,
)


@pytest.fixture
def interpreted(monkeypatch):
  """Run the kernels without a TPU, and with small blocks."""
  make = functools.partial(fused.splash.make_splash_mqa, interpret=True)
  monkeypatch.setattr(fused.splash, "make_splash_mqa", make)
  monkeypatch.setattr(fused, "_BLOCK", 256)
  fused._kernel.cache_clear()
  yield
  fused._kernel.cache_clear()


def close(actual, expected):
  """Assert equality up to the order of float32 sums.

  The sums have about 200 terms, each rounded by 1e-7 of its size, and pass
  through a softmax. They differ by about 1e-6 of the largest number.
  """
  jax.tree.map(
    lambda a, e: np.testing.assert_allclose(
      a, e, rtol=0, atol=1e-5 * np.max(np.abs(e))
    ),
    actual,
    expected,
  )


def attend_by_kernels(mesh, examples, *qkv):
  """Call the kernels, which have heads before tokens, as plain attention."""
  heads_first = (x.transpose(0, 2, 1, 3) for x in qkv)
  return fused.attend(mesh, *heads_first, examples).transpose(0, 2, 1, 3)


def plain_attention(q, k, v, visible):
  """Compute attention without kernels, in the type of its arguments."""
  group = q.shape[2] // k.shape[2]
  k, v = (jnp.repeat(x, group, axis=2) for x in (k, v))
  scores = jnp.einsum("blhc,bshc->bhls", q, k) * q.shape[-1] ** -0.5
  scores = jnp.where(visible[:, None], scores.astype(jnp.float32), -1e30)
  weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
  return jnp.einsum("bhls,bshc->blhc", weights, v)


def keys_at(kind, length):
  """Return positions i32[2, length] of keys that are padded or packed."""
  at = np.tile(np.arange(length), (2, 1))
  if kind == "padded":  # on the left, on the right of one row, and inside
    at = at - [[0], [9]]
    at[0, -20:] = -1
    at[1, length // 2 : length // 2 + 9] = -1
  if kind == "packed":
    at[0, 60:] = np.arange(length - 60)
    at[1, 140:] = np.arange(length - 140)
    at[1, -5:] = -1
  return jnp.asarray(np.maximum(at, -1), jnp.int32)


def arrays(seed, *shapes):
  rng = np.random.default_rng(seed)
  return [jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes]


def gradients(attend, weights, *qkv):
  """Attend, and differentiate the weighted sum of the result.

  Returns:
    (the result, 0 where its weight is 0; the gradients of q, k and v).
  """

  def total(*qkv):
    mixed = attend(*qkv)
    return jnp.sum((mixed * weights).astype(jnp.float32)), mixed

  (_, mixed), grads = jax.jit(
    jax.value_and_grad(total, (0, 1, 2), has_aux=True)
  )(*qkv)
  return jnp.where(weights == 0, 0, mixed), grads


def problem(kind, queries, keys, heads, kv_heads, width):
  """Build a problem of random numbers.

  Returns:
    (q, k, v), the weights of the result, and two functions of q, k and v: with
    kernels, and without.
  """
  at = keys_at(kind, keys)
  own = at[:, keys - queries :]
  q, k, v, weights = arrays(
    1,
    (2, queries, heads, width),
    (2, keys, kv_heads, width),
    (2, keys, kv_heads, width),
    (2, queries, heads, width),
  )
  weights = jnp.where(own[..., None, None] >= 0, weights, 0)
  visible = visible_before(own, at, window=None)
  return (
    (q, k, v),
    weights,
    functools.partial(attend_by_kernels, None, fused.examples_of(own, at)),
    lambda *qkv: plain_attention(*qkv, visible),
  )


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize(
  "shape",
  [
    ("padded", 200, 200, 4, 2, 64),
    ("padded", 260, 390, 2, 2, 128),  # responses behind a prompt
    ("packed", 200, 200, 3, 1, 64),
    ("packed", 199, 200, 2, 1, 24),
    ("padded", 1, 1, 2, 1, 64),
  ],
)
def test_values_and_gradients_are_those_of_attention(shape):
  qkv, weights, by_kernels, by_hand = problem(*shape)
  close(gradients(by_kernels, weights, *qkv), gradients(by_hand, weights, *qkv))


@pytest.mark.usefixtures("interpreted")
def test_bfloat16_is_no_farther_from_float32_than_attention_is():
  qkv, weights, by_kernels, by_hand = problem("padded", 300, 400, 4, 2, 64)
  expected = gradients(by_hand, weights, *qkv)
  short = [x.astype(jnp.bfloat16) for x in (weights, *qkv)]

  def error(attend):
    result = gradients(attend, *short)
    return jax.tree.map(
      lambda a, e: jnp.sqrt(jnp.mean((a - e) ** 2)), result, expected
    )

  kernels, hand = error(by_kernels), error(by_hand)
  # both round to 8 bits, in different places; a tenth is left for chance
  assert all(
    a < 1.1 * b
    for a, b in zip(
      jax.tree.leaves(kernels), jax.tree.leaves(hand), strict=True
    )
  )


@pytest.mark.usefixtures("interpreted")
def test_tokens_that_are_all_padding_stay_finite():
  padding = jnp.full((2, 150), -1, jnp.int32)
  examples = fused.examples_of(padding, padding)
  shape = (2, 150, 2, 64)
  *qkv, weights = arrays(2, shape, shape, shape, shape)
  result = gradients(
    functools.partial(attend_by_kernels, None, examples), weights, *qkv
  )
  jax.tree.map(lambda x: np.testing.assert_(np.all(np.isfinite(x))), result)


def branches(model, params, num_prompts=4, group=2):
  """Return a sum of the hidden states of branches, and its gradients."""
  rng = np.random.default_rng(3)
  rows = num_prompts * group
  prompts = jnp.asarray(rng.integers(11, size=(num_prompts, 20)))
  responses = jnp.asarray(rng.integers(11, size=(rows, 130)))
  # a prompt begins late, a response ends early
  begins = np.arange(20) - rng.integers(9, size=(num_prompts, 1))
  at = np.repeat(begins[:, -1:], group, axis=0) + 1 + np.arange(130)
  at[1, 90:] = -1
  begins = np.maximum(begins, -1)
  weights = jnp.asarray(rng.normal(size=(rows, 130, 16)), jnp.float32)
  weights = jnp.where(at[..., None] >= 0, weights, 0)

  def total(params):
    before, rest = model.apply_branches(
      params,
      prompts,
      jnp.asarray(begins, jnp.int32),
      responses,
      jnp.asarray(at, jnp.int32),
    )
    total = jnp.sum(weights * rest) + jnp.sum(jnp.sin(before[:, -1]))
    return total, jnp.where(weights == 0, 0, rest)

  return jax.jit(jax.value_and_grad(total, has_aux=True))(params)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("kept", [True, "attention"])
def test_branches_of_a_rematerialised_model_on_a_mesh_are_the_same(kept):
  params, mesh = random_params(SIZES), make_mesh((2, 2, 2))
  options = {"scan_layers": True, "rematerialise": kept}
  model = decoder(SIZES, fused_attention=True, mesh=mesh, **options)
  placed = jax.device_put(params, param_shardings(mesh, params))
  close(branches(model, placed), branches(decoder(SIZES), params))


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("num_rows", [4, 3])
def test_a_mesh_changes_nothing_whether_or_not_it_divides_the_rows(num_rows):
  at = jnp.tile(jnp.arange(9), (num_rows, 1))
  shapes = [(num_rows, 9, heads, 8) for heads in (4, 2, 2, 4)]
  *qkv, weights = arrays(4, *shapes)
  visible = visible_before(at, at, window=None)
  attend = functools.partial(
    attend_by_kernels, make_mesh((2, 2, 2)), fused.examples_of(at, at)
  )
  close(
    gradients(attend, weights, *qkv),
    gradients(lambda *qkv: plain_attention(*qkv, visible), weights, *qkv),
  )


@pytest.mark.usefixtures("interpreted")
def test_a_prompt_is_read_alone_where_responses_are_empty():
  params = random_params(SIZES)
  prompts = jnp.asarray(np.random.default_rng(6).integers(11, size=(2, 6)))
  positions = jnp.tile(jnp.arange(6), (2, 1))
  empty = jnp.zeros((4, 0), jnp.int32)

  def read(model):
    return jax.jit(model.apply_branches)(
      params, prompts, positions, empty, empty
    )

  result, rest = read(decoder(SIZES, fused_attention=True))
  assert rest.shape == (4, 0, 16)
  close(result, read(decoder(SIZES))[0])


@pytest.mark.usefixtures("interpreted")
def test_a_cache_is_read_as_ever():
  params = random_params(SIZES)
  tokens = jnp.asarray(np.random.default_rng(5).integers(11, size=(2, 6)))
  positions = jnp.tile(jnp.arange(6), (2, 1))
  model = decoder(SIZES, fused_attention=True)
  apply = jax.jit(lambda *of: model.apply(params, tokens, positions, *of)[0])
  close(apply(), apply(model.init_cache(2, 9)))


def test_no_mask_of_queries_and_keys_is_made_and_a_mesh_lowers_for_a_tpu():
  mesh = make_mesh((2, 2, 2))

  def lowered(fused_attention):
    model = decoder(SIZES, mesh=mesh, fused_attention=fused_attention)
    rows = jax.ShapeDtypeStruct((4, 700), jnp.int32)
    return (
      jax.jit(
        jax.grad(lambda p, *rows: jnp.sum(model.apply(p, *rows)[0])),
      )
      .trace(random_params(SIZES), rows, rows)
      .lower(lowering_platforms=("tpu",))
      .as_text()
    )

  by_kernels, by_hand = lowered(True), lowered(False)
  square = re.compile(r"tensor<[\dx]*700x[\dx]*700x")
  assert square.search(by_hand)
  assert not square.search(by_kernels)
  assert "tpu_custom_call" in by_kernels
  assert "tpu_custom_call" not in by_hand


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_rotating_by_a_product_is_exact(dtype):
  (x_BLHC,) = (x.astype(dtype) for x in arrays(7, (2, 5, 3, 8)))
  positions = jnp.asarray([[-1, 0, 1, 2, 3], [7, 8, 9, 0, 1]])
  rotation = rope.rotations(positions, rope.frequencies(8, 10_000.0))
  heads_first = rope.rotate_by_product(x_BLHC.transpose(0, 2, 1, 3), rotation)
  np.testing.assert_array_equal(
    heads_first.transpose(0, 2, 1, 3), rope.rotate(x_BLHC, rotation)
  )


def test_responses_take_whole_tiles():
  assert [fused.whole_tiles(n) for n in (0, 1, 511, 512, 513)] == [
    *(0, 16, 512, 512, 528)
  ]
  model = decoder(SIZES, fused_attention=True)
  ids = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.int32)
  traced = jax.make_jaxpr(model.apply_branches)(
    random_params(SIZES), ids(2, 16), ids(2, 16), ids(4, 19), ids(4, 19)
  )
  # queries of 4 responses of 19 tokens, which take 32 places
  assert "f32[4,4,32,8]" in str(traced)
  assert traced.out_avals[1].shape == (4, 19, 16)


def test_a_window_is_refused():
  sizes = dataclasses.replace(SIZES, num_hidden_layers=2, gemma3=GEMMA3)
  with pytest.raises(ValueError, match=r"model\.fused_attention.*Gemma 3"):
    decoder(sizes, fused_attention=True)


def test_heads_that_a_mesh_does_not_divide_are_refused():
  with pytest.raises(
    ValueError, match=r"model\.fused_attention.* 2 key-value .*\(1, 2, 4\)"
  ):
    decoder(SIZES, fused_attention=True, mesh=make_mesh((1, 2, 4)))


def test_other_devices_than_tpus_are_refused():
  config = default.get_config()
  config.model.fused_attention = True
  with pytest.raises(
    ValueError, match=r"model\.fused_attention is True.* 'cpu'"
  ):
    make_model(config, SIZES, make_mesh((8, 1, 1)))
