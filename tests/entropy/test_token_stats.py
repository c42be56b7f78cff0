"""Log-probs and entropies agree with closed forms and a float64 twin."""

import functools
import importlib
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.entropy.token_stats import (
  SAVED,
  log_prob_and_entropy,
  token_stats,
  unembed,
)
from entrojax.system.sharding import by_row, make_mesh, param_shardings

pytestmark = pytest.mark.slow

VOCABULARY = 97


def twin(logits, targets):
  """Compute log-probs and entropies in float64 from their definitions."""
  logits = np.asarray(logits, np.float64)
  log_p = logits - np.max(logits, -1, keepdims=True)
  log_p = log_p - np.log(np.sum(np.exp(log_p), -1, keepdims=True))
  chosen = np.take_along_axis(log_p, np.asarray(targets)[..., None], -1)[..., 0]
  return chosen, -np.sum(np.exp(log_p) * log_p, -1)


def random_logits(seed, shape=(3, 10), scale=4.0):
  rng = np.random.default_rng(seed)
  logits = scale * rng.normal(size=(*shape, VOCABULARY))
  return logits, rng.integers(VOCABULARY, size=shape)


def random_problem(seed, num_rows=3, num_tokens=10, width=8):
  """Return hidden [B, T, D], a table [V, D] and targets [B, T]."""
  rng = np.random.default_rng(seed)
  draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
  targets = rng.integers(VOCABULARY, size=(num_rows, num_tokens))
  return (
    draw(num_rows, num_tokens, width),
    draw(VOCABULARY, width),
    jnp.asarray(targets, jnp.int32),
  )


def stats_of(hidden, table, targets, **settings):
  return token_stats(hidden, table, targets, **settings)


@pytest.fixture(params=["cpu", "accelerator"])
def each_mean(request, monkeypatch):
  """Compute the mean logit as on a CPU, and as on other devices."""
  module = importlib.import_module("entrojax.entropy.token_stats")
  if request.param == "accelerator":
    monkeypatch.setattr(module, "_mean", module._mean_in_one_pass)


@pytest.mark.usefixtures("each_mean")
@pytest.mark.parametrize("level", [0.0, -7.0, 3e4, -1e30])
def test_uniform_logits_have_the_entropy_log_v(level):
  log_prob, entropy = log_prob_and_entropy(
    jnp.full((4, VOCABULARY), level), jnp.arange(4)
  )
  # float32 keeps 7 digits of numbers below 10
  np.testing.assert_allclose(entropy, np.log(VOCABULARY), rtol=0, atol=2e-6)
  np.testing.assert_allclose(log_prob, -np.log(VOCABULARY), rtol=0, atol=2e-6)


@pytest.mark.parametrize("shape", [(2,), (1, 3), (2, 1), (2, 4)])
def test_targets_of_another_shape_are_refused(shape):
  logits = jnp.zeros((2, 3, 5))
  with pytest.raises(ValueError, match=r"^targets has shape .* \(2, 3\)$"):
    log_prob_and_entropy(logits, jnp.zeros(shape, jnp.int32))


@pytest.mark.usefixtures("each_mean")
def test_two_equal_tokens_have_the_entropy_log_2():
  logits = jnp.full(VOCABULARY, -1e4).at[jnp.array([3, 5])].set(2.0)
  log_prob, entropy = log_prob_and_entropy(logits, jnp.int32(5))
  np.testing.assert_allclose(entropy, np.log(2), rtol=0, atol=1e-6)
  np.testing.assert_allclose(log_prob, -np.log(2), rtol=0, atol=1e-6)


@pytest.mark.usefixtures("each_mean")
@pytest.mark.parametrize("level", [0.0, 100.0, -1000.0])
def test_float32_is_exact_to_rounding_at_any_level_of_the_logits(level):
  logits, targets = random_logits(0)
  logits = np.float32(logits + level)
  result = log_prob_and_entropy(jnp.asarray(logits), jnp.asarray(targets))
  # log-probs reach -32, where float32 steps are 2e-6; entropies stay below 5
  for actual, expected in zip(result, twin(logits, targets), strict=True):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=4e-6)


@pytest.mark.usefixtures("each_mean")
def test_the_entropy_of_a_nearly_certain_token_is_positive_and_exact():
  logits = np.zeros(VOCABULARY, np.float32)
  logits[3] = 25
  _, entropy = log_prob_and_entropy(jnp.asarray(logits), jnp.int32(3))
  # 96 tokens of probability e^-25, each 25 nats deep; float32 drops log(1 + p)
  # of size p, one part in 25
  np.testing.assert_allclose(entropy, 96 * np.exp(-25) * 26, rtol=0.05)
  assert entropy > 0


@pytest.mark.usefixtures("each_mean")
def test_float64_is_exact_to_rounding(float64):
  logits, targets = random_logits(0)
  result = log_prob_and_entropy(jnp.asarray(logits), jnp.asarray(targets))
  for actual, expected in zip(result, twin(logits, targets), strict=True):
    assert actual.dtype == jnp.float64
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-13)


@pytest.mark.usefixtures("each_mean")
def test_gradients_are_those_of_the_softmax(float64):
  logits, targets = random_logits(1, shape=())
  for index, expected in enumerate(gradient_twin(logits, targets)):
    gradient = jax.grad(
      lambda z, i=index: log_prob_and_entropy(z, jnp.asarray(targets))[i]
    )(jnp.asarray(logits))
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-13)


def gradient_twin(logits, target):
  """Return d log p_target = 1[target] - p and dH = -p (log p + H)."""
  log_p, entropy = twin(np.tile(logits, (VOCABULARY, 1)), range(VOCABULARY))
  p = np.exp(log_p)
  return np.eye(VOCABULARY)[target] - p, -p * (log_p + entropy)


@pytest.mark.usefixtures("each_mean")
@pytest.mark.parametrize(
  "logits",
  [
    [1e30, -1e30, 0.0, 0.0],
    [-1e30, -1e30, -1e30, -1e30],
    [1e4, 1e4, -1e4, 0.0],
    [88.0, 700.0, -700.0, 3e38],
  ],
)
def test_extreme_logits_stay_finite(logits):
  def both(z):
    return jnp.stack(log_prob_and_entropy(z, jnp.int32(0)))

  logits = jnp.float32(logits)
  assert jnp.all(jnp.isfinite(both(logits)))
  assert jnp.all(jnp.isfinite(jax.jacrev(both)(logits)))


def test_a_certain_token_has_log_prob_and_entropy_0():
  log_prob, entropy = log_prob_and_entropy(
    jnp.float32([200.0, 0.0, -5.0]), jnp.int32(0)
  )
  assert log_prob == entropy == 0


def test_bfloat16_logits_give_float32_numbers():
  logits, targets = random_logits(2)
  logits = jnp.asarray(logits, jnp.bfloat16)
  result = log_prob_and_entropy(logits, jnp.asarray(targets))
  expected = log_prob_and_entropy(
    logits.astype(jnp.float32), jnp.asarray(targets)
  )
  for a, b in zip(result, expected, strict=True):
    assert a.dtype == jnp.float32
    np.testing.assert_array_equal(a, b)


def test_token_stats_are_those_of_the_logits():
  hidden, table, targets = random_problem(3)
  logits = np.asarray(hidden, np.float64) @ np.asarray(table, np.float64).T
  for actual, expected in zip(
    stats_of(hidden, table, targets), twin(logits, targets), strict=True
  ):
    # float32 logits below 16 are sums of 8 products: some 1e-6
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_the_temperature_divides_the_logits(temperature):
  hidden, table, targets = random_problem(4)
  logits = np.asarray(hidden, np.float64) @ np.asarray(table, np.float64).T
  for actual, expected in zip(
    stats_of(hidden, table, targets, temperature=temperature),
    twin(logits / temperature, targets),
    strict=True,
  ):
    # logits below 32 at temperature 0.5, sums of 8 float32 products: 2e-6
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5)


LARGE, WIDTH = 1000, 8  # chunks of 128 do not divide 1000


def large_problem(seed, dtype=jnp.float64):
  """Return hidden [8, 2, D], table [1000, D], targets and two cotangents."""
  rng = np.random.default_rng(seed)
  draw = lambda *shape: jnp.asarray(rng.normal(size=shape), dtype)
  targets = jnp.asarray(rng.integers(LARGE, size=(8, 2)), jnp.int32)
  return draw(8, 2, WIDTH), draw(LARGE, WIDTH), targets, draw(2, 8, 2)


def naive_stats(hidden, table, targets, temperature=1.0):
  return log_prob_and_entropy(unembed(hidden, table) / temperature, targets)


def with_gradients(stats, hidden, table, targets, cotangents, **settings):
  """Return log-probs, entropies, and gradients of hidden and table."""
  values, transpose = jax.vjp(
    lambda h, t: stats(h, t, targets, **settings), hidden, table
  )
  return (*values, *transpose(tuple(cotangents)))


@pytest.mark.parametrize("chunk_elements", [1, 16 * 128, 16 * 300, 2**24])
def test_chunks_change_no_value_and_no_gradient(float64, chunk_elements):
  problem = large_problem(5)
  expected = with_gradients(naive_stats, *problem, temperature=0.7)
  result = with_gradients(
    token_stats, *problem, temperature=0.7, chunk_elements=chunk_elements
  )
  for actual, reference in zip(result, expected, strict=True):
    np.testing.assert_allclose(actual, reference, rtol=0, atol=1e-12)


def test_gradients_are_float32_exact_to_1e_5():
  problem = large_problem(6, jnp.float32)
  expected = with_gradients(naive_stats, *problem)
  result = with_gradients(token_stats, *problem, chunk_elements=16 * 128)
  for actual, reference in zip(result[2:], expected[2:], strict=True):
    error = jnp.linalg.norm(actual - reference) / jnp.linalg.norm(reference)
    assert error < 1e-5


@pytest.mark.parametrize("shape", [(8, 1, 1), (1, 8, 1), (1, 1, 8), (2, 2, 2)])
def test_a_mesh_changes_no_value_and_no_gradient(float64, shape):
  hidden, table, targets, cotangents = large_problem(7)
  mesh = make_mesh(shape)
  places = param_shardings(mesh, {"embed_tokens": table})
  result = jax.jit(
    functools.partial(
      with_gradients, token_stats, mesh=mesh, chunk_elements=128
    )
  )(
    jax.device_put(hidden, by_row(mesh)),
    jax.device_put(table, places["embed_tokens"]),
    targets,
    cotangents,
  )
  expected = with_gradients(naive_stats, hidden, table, targets, cotangents)
  for actual, reference in zip(result, expected, strict=True):
    np.testing.assert_allclose(actual, reference, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [None, (1, 1, 8), (2, 2, 2)])
def test_logits_exist_for_one_chunk_at_a_time(shape):
  hidden, table, targets, _ = large_problem(8, jnp.float32)
  mesh = None if shape is None else make_mesh(shape)

  def total(hidden, table):
    result = token_stats(hidden, table, targets, chunk_elements=1, mesh=mesh)
    return sum(x.sum() for x in result)

  graph = jax.jit(jax.grad(total, argnums=(0, 1))).lower(hidden, table)
  largest = max(
    math.prod(map(int, sizes.split("x")[:-1]))
    for sizes in re.findall(r"tensor<((?:\d+x)+)f32>", graph.as_text())
  )
  assert largest == LARGE * WIDTH  # the table; all logits would be 16,000


def test_a_rematerialised_pass_does_not_make_the_logits_a_third_time():
  hidden, table, targets, _ = large_problem(9, jnp.float32)

  def products(policy):
    def total(hidden, table):
      stats = jax.checkpoint(
        lambda h, t: token_stats(h, t, targets, chunk_elements=16 * LARGE),
        policy=policy,
      )
      return sum(x.sum() for x in stats(hidden, table))

    graph = jax.jit(jax.value_and_grad(total, argnums=(0, 1))).lower(
      hidden, table
    )
    return graph.as_text().count("dot_general")

  saved = jax.checkpoint_policies.save_only_these_names(SAVED)
  assert products(None) == 5  # logits three times, and two gradients
  assert products(saved) == 4
