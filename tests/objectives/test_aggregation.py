"""Compare the four aggregations with sums written out as loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.objectives import aggregation

LENGTH = 9  # of seq-mean-token-sum-norm, tokens
NAMES = [
  "token-mean",
  "seq-mean-token-sum",
  "seq-mean-token-mean",
  "seq-mean-token-sum-norm",
]

every_aggregation = pytest.mark.parametrize("name", NAMES)


def aggregate(name, loss, mask):
  return aggregation.by_name(name, length=LENGTH)(
    jnp.asarray(loss), jnp.asarray(mask)
  )


def twin(name, loss, mask):
  """Compute the aggregation `name` token by token, in float64."""
  rows = [
    [float(x) for x, m in zip(row, counted, strict=True) if m]
    for row, counted in zip(loss, mask, strict=True)
  ]
  rows = [row for row in rows if row]
  if name == "token-mean":
    tokens = [x for row in rows for x in row]
    return sum(tokens) / len(tokens)
  per_row = [sum(row) for row in rows]
  if name == "seq-mean-token-mean":
    per_row = [sum(row) / len(row) for row in rows]
  if name == "seq-mean-token-sum-norm":
    per_row = [sum(row) / LENGTH for row in rows]
  return sum(per_row) / len(per_row)


def random_loss(seed, shape=(6, 8)):
  """Draw losses f32 and a mask with holes and an empty row."""
  rng = np.random.default_rng(seed)
  mask = np.float32(rng.random(shape) < 0.6)
  mask[2] = 0
  return np.float32(rng.normal(size=shape)), mask


@every_aggregation
def test_an_aggregation_is_its_sum_written_out(name):
  loss, mask = random_loss(0)
  # some 30 float32 terms of size 1
  np.testing.assert_allclose(
    aggregate(name, loss, mask), twin(name, loss, mask), rtol=0, atol=1e-5
  )


@pytest.mark.parametrize(
  ("name", "expected"),
  [
    ("token-mean", (1 + 3 + 5) / 3),
    ("seq-mean-token-sum", (4 + 5) / 2),
    ("seq-mean-token-mean", (2 + 5) / 2),
    ("seq-mean-token-sum-norm", (4 + 5) / 2 / LENGTH),
  ],
)
def test_an_aggregation_of_two_rows_by_hand(name, expected):
  actual = aggregate(
    name, np.float32([[1, 3], [5, 100]]), np.float32([[1, 1], [1, 0]])
  )
  # one float32 division
  np.testing.assert_allclose(actual, expected, rtol=1e-6)


@every_aggregation
def test_empty_rows_change_nothing(name):
  loss, mask = random_loss(1)
  rows = mask.any(axis=1)
  # the same terms, summed in another order
  np.testing.assert_allclose(
    aggregate(name, loss, mask),
    aggregate(name, loss[rows], mask[rows]),
    rtol=1e-6,
  )


@every_aggregation
def test_twice_the_padding_changes_nothing(name):
  loss, mask = random_loss(2)
  wider = lambda x: np.pad(x, ((0, 0), (0, x.shape[1])))
  # the same terms, summed in another order
  np.testing.assert_allclose(
    aggregate(name, wider(loss), wider(mask)),
    aggregate(name, loss, mask),
    rtol=1e-6,
  )


@every_aggregation
@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf, 1e38])
def test_what_is_not_counted_may_be_anything(name, garbage):
  loss, mask = random_loss(3)
  dirty = np.where(mask > 0, loss, np.float32(garbage))
  value, gradient = jax.value_and_grad(lambda x: aggregate(name, x, mask))(
    jnp.asarray(dirty)
  )
  assert value == aggregate(name, loss * mask, mask)
  assert np.isfinite(gradient).all()
  assert not np.any(np.asarray(gradient)[mask == 0])


@every_aggregation
def test_an_empty_mini_batch_is_0_with_gradient_0(name):
  loss, mask = random_loss(4)
  value, gradient = jax.value_and_grad(
    lambda x: aggregate(name, x, np.zeros_like(mask))
  )(jnp.asarray(loss))
  assert value == 0
  assert not np.any(gradient)


@every_aggregation
def test_float64_stays_float64(name, float64):
  loss, mask = random_loss(5)
  actual = aggregate(name, loss.astype(np.float64), mask)
  assert actual.dtype == jnp.float64
  np.testing.assert_allclose(actual, twin(name, loss, mask), rtol=1e-14)


@pytest.mark.parametrize("name", NAMES[1:])
def test_an_aggregation_over_sequences_needs_rows(name):
  with pytest.raises(AssertionError, match="rank"):
    aggregate(name, np.ones(3), np.ones(3))


def test_loss_and_weight_of_different_shapes_are_refused():
  with pytest.raises(AssertionError, match="shape"):
    aggregate("token-mean", np.ones((2, 3)), np.ones((2, 1)))


def test_an_unknown_aggregation_is_named_with_the_known_ones():
  with pytest.raises(ValueError, match=r"one of 'token-mean', .*; got 'mean'"):
    aggregation.by_name("mean", length=LENGTH)


def test_a_length_of_no_token_is_refused():
  with pytest.raises(ValueError, match=r"length must .* got 0"):
    aggregation.by_name("token-mean", length=0)
