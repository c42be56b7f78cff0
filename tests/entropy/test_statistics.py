"""Further statistics agree with the plain softmax, by hand and in float64."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.entropy.statistics import (
  COLLISION,
  MAX_PROBABILITY,
  VARENTROPY,
  check_statistics,
  describe,
  log_prob_at,
  old,
  top_log_probs,
  top_p_entropy,
)
from entrojax.entropy.token_stats import SAVED, token_stats
from entrojax.system.sharding import by_row, make_mesh, param_shardings
from entrojax.types import Statistic

pytestmark = pytest.mark.slow

LARGE, WIDTH, TEMPERATURE = 1000, 8, 0.7  # chunks of 128 do not divide 1000
STATISTICS = (
  MAX_PROBABILITY,
  VARENTROPY,
  COLLISION,
  top_p_entropy(0.3),
  top_p_entropy(0.9),
  log_prob_at(0.6),
  log_prob_at(2.0),
  top_log_probs(3),
)


def plain_statistics(logits, targets):
  """Compute log-prob, entropy and STATISTICS from all logits at once."""
  of_target = lambda x: jnp.take_along_axis(x, targets[..., None], -1)[..., 0]
  log_p = jax.nn.log_softmax(logits / TEMPERATURE)
  p = jnp.exp(log_p)
  descending = jnp.sort(log_p, axis=-1)[..., ::-1]
  entropy_of = lambda q: (
    -jnp.sum(jnp.where(q > 0, q * jnp.log(jnp.where(q > 0, q, 1)), 0), axis=-1)
  )

  def top_p(share):
    sums = jnp.cumsum(jnp.exp(descending), axis=-1)
    number = jnp.sum(sums < share, axis=-1, keepdims=True)
    last = jnp.take_along_axis(descending, number, axis=-1)
    q = jnp.where(log_p >= last, p, 0)
    return entropy_of(q / jnp.sum(q, axis=-1, keepdims=True))

  entropy = entropy_of(p)
  return (
    of_target(log_p),
    entropy,
    jnp.max(p, axis=-1),
    jnp.sum(p * jnp.square(log_p + entropy[..., None]), axis=-1),
    jnp.sum(jnp.square(p), axis=-1),
    top_p(0.3),
    top_p(0.9),
    of_target(jax.nn.log_softmax(logits / 0.6)),
    of_target(jax.nn.log_softmax(logits / 2.0)),
    descending[..., :3],
  )


def problem(dtype):
  """Return hidden [8, 2, D], a table [1000, D] and targets [8, 2]."""
  rng = np.random.default_rng(0)
  draw = lambda *shape: jnp.asarray(rng.normal(size=shape), dtype)
  targets = jnp.asarray(rng.integers(LARGE, size=(8, 2)), jnp.int32)
  return draw(8, 2, WIDTH), draw(LARGE, WIDTH), targets


def with_gradients(stats, hidden, table, targets):
  """Return all values, and gradients of a sum with random weights."""
  values, transpose = jax.vjp(lambda *x: stats(*x, targets), hidden, table)
  rng = np.random.default_rng(1)
  weights = tuple(jnp.asarray(rng.normal(size=x.shape)) for x in values)
  return values, transpose(weights)


@functools.cache
def expected():
  """Return what `with_gradients` is for the plain softmax, in float64."""
  stats = lambda h, t, y: plain_statistics(jnp.einsum("btd,vd->btv", h, t), y)
  return jax.device_get(with_gradients(stats, *problem(jnp.float64)))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("shape", [(8, 1, 1), (1, 8, 1), (1, 1, 8), (2, 2, 2)])
def test_values_and_gradients_are_those_of_the_plain_softmax(shape):
  hidden, table, targets = problem(jnp.float64)
  mesh = make_mesh(shape)
  places = param_shardings(mesh, {"embed_tokens": table})
  stats = functools.partial(
    token_stats,
    temperature=TEMPERATURE,
    statistics=STATISTICS,
    chunk_elements=256,
    mesh=mesh,
  )
  actual = jax.jit(functools.partial(with_gradients, stats))(
    jax.device_put(hidden, by_row(mesh)),
    jax.device_put(table, places["embed_tokens"]),
    targets,
  )
  for a, e in zip(*map(jax.tree.leaves, (actual, expected())), strict=True):
    np.testing.assert_allclose(a, e, rtol=0, atol=1e-12)


def of_logits(logits, *statistics):
  """Compute statistics of one distribution, with token 0 as the target."""
  hidden = jnp.asarray(logits, jnp.float32)[None, None]
  table = jnp.eye(hidden.shape[-1])
  values = token_stats(
    hidden, table, jnp.zeros((1, 1), jnp.int32), statistics=statistics
  )
  return [x[0, 0] for x in values[2:]]


def test_statistics_of_a_distribution_of_four_tokens():
  # p = .4, .2, .2, .2, so that -log p is log 2.5 or log 5, with .4 and .6
  actual = of_logits(
    np.log([0.4, 0.2, 0.2, 0.2]),
    MAX_PROBABILITY,
    VARENTROPY,
    COLLISION,
    log_prob_at(0.5),
    top_log_probs(4),
  )
  expected = [
    0.4,
    0.4 * 0.6 * np.log(2) ** 2,
    0.16 + 3 * 0.04,
    np.log(0.16 / 0.28),  # at half the temperature, p is squared
    np.log([0.4, 0.2, 0.2, 0.2]),
  ]
  for a, e in zip(actual, expected, strict=True):
    np.testing.assert_allclose(a, e, rtol=1e-6)


@pytest.mark.parametrize(
  ("top_p", "members"),
  [(0.4, 1), (0.5, 1), (0.51, 3), (0.9, 3), (0.92, 4), (0.999, 4)],
)
def test_the_top_p_set_is_the_smallest_one_and_takes_all_ties(top_p, members):
  # 0.51 needs one of the tokens of 0.2, and they tie; a millionth of slack
  # keeps rounding from deciding at 0.5 and 0.9
  p = np.array([0.500001, 0.2, 0.2, 0.099999])[:members]
  (actual,) = of_logits(
    np.log([0.500001, 0.2, 0.2, 0.099999]), top_p_entropy(top_p)
  )
  q = p / p.sum()
  np.testing.assert_allclose(actual, -np.sum(q * np.log(q)), atol=1e-6)


def test_of_equally_likely_tokens_the_first_is_the_largest():
  gradient = jax.grad(lambda z: of_logits(z, MAX_PROBABILITY)[0])(jnp.zeros(4))
  # p (1[v = 0] - p) with p = 1/4
  np.testing.assert_allclose(gradient, [3 / 16, *(-1 / 16,) * 3], rtol=1e-6)


def test_a_nearly_certain_token_has_finite_statistics_and_gradients():
  logits = jnp.float32([80.0, 0.0, -80.0, -3e4])
  values, transpose = jax.vjp(lambda z: of_logits(z, *STATISTICS), logits)
  gradients = transpose([jnp.ones_like(x) for x in values])
  assert all(jnp.all(jnp.isfinite(x)) for x in (*values, *gradients))


def test_logits_exist_for_one_chunk_at_a_time():
  hidden, table, targets = problem(jnp.float32)

  def total(hidden, table):
    values = token_stats(
      hidden, table, targets, statistics=STATISTICS, chunk_elements=1
    )
    return sum(x.sum() for x in values)

  text = jax.jit(jax.grad(total, argnums=(0, 1))).lower(hidden, table).as_text()
  largest = max(
    math.prod(map(int, sizes.split("x")[:-1]))
    for sizes in re.findall(r"tensor<((?:\d+x)+)[fi]\d+>", text)
  )
  assert largest == LARGE * WIDTH  # the table; all logits would be 16,000


@pytest.mark.parametrize("num_tokens", [64, 2048])
def test_statistics_take_no_more_memory_than_none(num_tokens):
  # stacked for each chunk, they would at 2048 tokens, where chunks are many
  hidden = jax.ShapeDtypeStruct((1, num_tokens, 8), jnp.float32)
  table = jax.ShapeDtypeStruct((20_000, 8), jnp.float32)
  targets = jax.ShapeDtypeStruct((1, num_tokens), jnp.int32)

  def temporaries(*statistics):
    def total(hidden, table, targets):
      stats = functools.partial(token_stats, statistics=statistics)
      values = stats(hidden, table, targets, chunk_elements=2**19)
      return sum(x.sum() for x in values)

    graph = jax.jit(jax.grad(total, argnums=(0, 1)))
    compiled = graph.lower(hidden, table, targets).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  assert temporaries(*STATISTICS) < temporaries()


def test_a_rematerialised_pass_does_not_search_again():
  hidden, table, targets = problem(jnp.float32)

  def loops(*statistics):
    def total(hidden, table):
      stats = jax.checkpoint(
        lambda h, t: token_stats(
          h, t, targets, statistics=statistics, chunk_elements=1
        ),
        policy=jax.checkpoint_policies.save_only_these_names(SAVED),
      )
      return sum(x.sum() for x in stats(hidden, table))

    graph = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))
    return graph.lower(hidden, table).as_text().count("dot_general")

  # the search and the sums over the set: each computes the logits once
  assert loops(top_p_entropy(0.9)) == loops() + 2


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda: top_p_entropy(1.0), r"top_p_entropy must lie in \(0, 1\), got 1"),
    (lambda: log_prob_at(0.0), "log_prob_at must be above 0, got 0"),
    (
      lambda: jax.jit(lambda p: top_p_entropy(p) and p)(0.5),
      "top_p_entropy: its number is fixed .* cannot follow a schedule",
    ),
    (lambda: top_log_probs(0), "top_log_probs must be at least 1, got 0"),
    (lambda: top_log_probs(1.5), "top_log_probs must be a whole number"),
    (
      lambda: check_statistics(("varentropy",)),
      r"'varentropy' is no statistic; expected .* VARENTROPY, .*\(k\)$",
    ),
    (
      lambda: check_statistics((Statistic("kurtosis"),)),
      r"'kurtosis'.* is no statistic; expected",
    ),
    (
      lambda: of_logits(np.zeros(4), top_log_probs(5)),
      r"top_log_probs\(5\): the vocabulary has 4 tokens",
    ),
  ],
)
def test_a_statistic_that_cannot_be_is_refused(make, message):
  with pytest.raises(ValueError, match=message):
    make()


def test_a_statistic_is_shown_as_a_user_writes_it():
  assert describe(VARENTROPY) == "VARENTROPY"
  assert describe(top_p_entropy(0.95)) == "top_p_entropy(0.95)"
  assert describe(old(top_log_probs(8))) == "old(top_log_probs(8))"
