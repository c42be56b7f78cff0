"""Log-probs and entropies against closed forms and a float64 twin."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.token_stats import log_prob_and_entropy, token_stats

VOCABULARY = 97


def twin(logits, targets):
  """Returns log-probs and entropies in float64, the long way."""
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
  """Returns hidden [B, T, D], a table [V, D] and targets [B, T]."""
  rng = np.random.default_rng(seed)
  draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
  targets = rng.integers(VOCABULARY, size=(num_rows, num_tokens))
  return (
    draw(num_rows, num_tokens, width),
    draw(VOCABULARY, width),
    jnp.asarray(targets, jnp.int32),
  )


def stats_of(hidden, table, targets, **settings):
  return token_stats(hidden, targets, lambda h: h @ table.T, **settings)


@pytest.mark.parametrize("level", [0.0, -7.0, 3e4, -1e30])
def test_uniform_logits_have_the_entropy_log_v(level):
  log_prob, entropy = log_prob_and_entropy(
    jnp.full((4, VOCABULARY), level), jnp.arange(4)
  )
  # float32 keeps 7 digits of numbers below 10
  np.testing.assert_allclose(entropy, np.log(VOCABULARY), rtol=0, atol=2e-6)
  np.testing.assert_allclose(log_prob, -np.log(VOCABULARY), rtol=0, atol=2e-6)


def test_two_equal_tokens_have_the_entropy_log_2():
  logits = jnp.full(VOCABULARY, -1e4).at[jnp.array([3, 5])].set(2.0)
  log_prob, entropy = log_prob_and_entropy(logits, jnp.int32(5))
  np.testing.assert_allclose(entropy, np.log(2), rtol=0, atol=1e-6)
  np.testing.assert_allclose(log_prob, -np.log(2), rtol=0, atol=1e-6)


@pytest.mark.parametrize("level", [0.0, 100.0, -1000.0])
def test_float32_is_exact_to_rounding_at_any_level_of_the_logits(level):
  logits, targets = random_logits(0)
  logits = np.float32(logits + level)
  found = log_prob_and_entropy(jnp.asarray(logits), jnp.asarray(targets))
  # log-probs reach -32, where float32 steps are 2e-6; entropies stay below 5
  for actual, expected in zip(found, twin(logits, targets), strict=True):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=4e-6)


def test_the_entropy_of_a_nearly_certain_token_is_positive_and_exact():
  logits = np.zeros(VOCABULARY, np.float32)
  logits[3] = 25
  _, entropy = log_prob_and_entropy(jnp.asarray(logits), jnp.int32(3))
  # 96 tokens of probability e^-25, each 25 nats deep; float32 drops log(1 + p)
  # of size p, one part in 25
  np.testing.assert_allclose(entropy, 96 * np.exp(-25) * 26, rtol=0.05)
  assert entropy > 0


def test_float64_is_exact_to_rounding(float64):
  logits, targets = random_logits(0)
  found = log_prob_and_entropy(jnp.asarray(logits), jnp.asarray(targets))
  for actual, expected in zip(found, twin(logits, targets), strict=True):
    assert actual.dtype == jnp.float64
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-13)


def test_gradients_are_those_of_the_softmax(float64):
  logits, targets = random_logits(1, shape=())
  for index, expected in enumerate(gradient_twin(logits, targets)):
    gradient = jax.grad(
      lambda z, i=index: log_prob_and_entropy(z, jnp.asarray(targets))[i]
    )(jnp.asarray(logits))
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-13)


def gradient_twin(logits, target):
  """Returns d log p_target = 1[target] - p and dH = -p (log p + H)."""
  log_p, entropy = twin(np.tile(logits, (VOCABULARY, 1)), range(VOCABULARY))
  p = np.exp(log_p)
  return np.eye(VOCABULARY)[target] - p, -p * (log_p + entropy)


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
  found = log_prob_and_entropy(logits, jnp.asarray(targets))
  expected = log_prob_and_entropy(
    logits.astype(jnp.float32), jnp.asarray(targets)
  )
  for a, b in zip(found, expected, strict=True):
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
    # as above, twice as large at temperature 0.5
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("chunk_size", [1, 7, 15, 29, 30])
def test_chunks_change_no_value_and_no_gradient(chunk_size):
  hidden, table, targets = random_problem(5)
  weights = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 10)))

  def weighted(hidden, table, chunk_size):
    log_probs, entropy = stats_of(hidden, table, targets, chunk_size=chunk_size)
    total = jnp.sum(weights[0] * log_probs + weights[1] * entropy)
    return total, (log_probs, entropy)

  grad = jax.grad(weighted, argnums=(0, 1), has_aux=True)
  expected = grad(hidden, table, 1000)
  found = grad(hidden, table, chunk_size)
  # float32: the table's gradient sums 30 tokens, numbers up to 10, in another
  # order; products of another shape round differently
  jax.tree.map(
    lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-5),
    found,
    expected,
  )


def test_logits_exist_for_one_chunk_at_a_time():
  hidden, table, targets = random_problem(6)

  def total(hidden, table):
    return sum(x.sum() for x in stats_of(hidden, table, targets, chunk_size=5))

  graph = jax.jit(jax.grad(total, argnums=(0, 1))).lower(hidden, table)
  text = graph.as_text()
  assert f"tensor<5x{VOCABULARY}x" in text
  for larger in (
    f"30x{VOCABULARY}x",
    f"6x5x{VOCABULARY}x",
    f"10x{VOCABULARY}x",
  ):
    assert f"tensor<{larger}" not in text


def test_targets_of_another_shape_are_refused():
  hidden, table, targets = random_problem(7)
  with pytest.raises(AssertionError, match="shape"):
    stats_of(hidden, table, targets[:, 1:])


def test_a_token_that_cannot_be_counts_for_nothing():
  logits = jnp.array([[0.5, -jnp.inf, 1.5, -jnp.inf]])
  allowed = jnp.array([[0.5, 1.5]])
  target, place = jnp.array([2]), jnp.array([1])
  found = log_prob_and_entropy(logits, target)
  expected = log_prob_and_entropy(allowed, place)
  np.testing.assert_array_equal(found, expected)
  gradient = jax.grad(lambda x: log_prob_and_entropy(x, target)[1].sum())
  short = jax.grad(lambda x: log_prob_and_entropy(x, place)[1].sum())
  np.testing.assert_allclose(
    gradient(logits)[0, jnp.array([0, 2])], short(allowed)[0], rtol=1e-6
  )
  assert not gradient(logits)[0, jnp.array([1, 3])].any()
