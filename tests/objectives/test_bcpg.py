"""Test BCPG and negative sample augmentation: values, gradients, marks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.objectives import (
  bcpg,
  chain,
  negative_sample_augmentation,
  policy_loss,
)
from entrojax.objectives.aggregation import seq_mean_token_mean
from entrojax.types import ScoredTokens
from tests.helpers.objective_cases import (
  OBJECTIVES,
  evaluate,
  hand_tokens,
  same,
)

# The example of the specification: R = [1, 0] in a group of two, 4 tokens each.
LOG_PROBS = np.array([[-0.1, -0.2, -0.3, -0.4], [-0.5, -0.5, -0.2, -0.1]])
OLD = np.array([[-0.2, -0.2, -0.3, -0.4], [-0.5, -0.6, -0.2, -0.2]])
ADVANTAGES = np.array([[0.5] * 4, [-0.5] * 4])
MARKS = np.array([[0, 0, 0, 0], [1, 1, 0, 0]])
OBJECTIVE = chain(bcpg(tau=0.1), negative_sample_augmentation(beta=0.5))


def golden_tokens(**changes) -> ScoredTokens:
  fields = {
    "log_probs": LOG_PROBS,
    "old_log_probs": OLD,
    "entropy": np.ones((2, 4)),
    "old_entropy": np.ones((2, 4)),
    "advantages": ADVANTAGES,
    "mask": np.ones((2, 4)),
    "step_ok": MARKS,
    **changes,
  }
  return ScoredTokens(
    **{k: jnp.asarray(v, jnp.result_type(float)) for k, v in fields.items()}
  )


def value_and_gradient(objective, tokens):
  def loss(log_probs):
    return policy_loss(
      objective,
      seq_mean_token_mean,
      dataclasses.replace(tokens, log_probs=log_probs),
    )

  (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(
    tokens.log_probs
  )
  return value, gradient, metrics


@pytest.mark.usefixtures("float64")
def test_objective_and_gradient_are_the_specification_s():
  value, gradient, metrics = value_and_gradient(OBJECTIVE, golden_tokens())
  assert -value == pytest.approx(-0.0128125, abs=1e-9)  # all digits it has
  expected = [[0.06125] * 4, [-0.03375, -0.03375, -0.065, -0.065]]
  np.testing.assert_allclose(-gradient, expected, atol=1e-12)
  # |Delta| = .1 and .2
  mean = metrics["bcpg/log_ratio_mean"]
  assert float(mean.total / mean.count) == pytest.approx(0.15)
  assert float(metrics["bcpg/log_ratio_max"].total) == pytest.approx(0.2)
  right = metrics["negative_sample_augmentation/right_in_wrong"]
  assert (right.total, right.count) == (2, 4)


@pytest.mark.usefixtures("float64")
def test_the_square_has_the_gradient_of_the_surrogate(random_tokens):
  """Compare with the gradient of (beta A - tau Delta) log pi in numpy."""
  tokens = random_tokens(0, 6, 7, np.float64)
  _, gradient, _ = value_and_gradient(OBJECTIVE, tokens)
  fields = {k: np.asarray(v) for k, v in vars(tokens).items()}
  mask = fields["mask"]
  expected = np.zeros(mask.shape)
  rows = [i for i in range(len(mask)) if mask[i].sum()]
  for i in rows:
    length = int(mask[i].sum())
    advantages, marks = (
      fields[k][i, :length] for k in ("advantages", "step_ok")
    )
    now, old = (fields[k][i, :length] for k in ("log_probs", "old_log_probs"))
    delta = (now - old).sum()
    beta = np.where((marks == 1) & (advantages < 0), 0.5, 1.0)
    weight = (beta * advantages - 0.1 * delta) / length / len(rows)
    expected[i, :length] = -weight
  assert len(rows) == 5
  assert ((fields["step_ok"] == 1) & (mask == 1)).any()
  np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-15)


def test_where_the_policy_has_not_moved_the_constraint_pulls_nowhere():
  at_start = golden_tokens(old_log_probs=LOG_PROBS)
  bound, free = (
    value_and_gradient(bcpg(tau=tau), at_start)[1] for tau in (100.0, 0.0)
  )
  same(bound, free)


def test_beta_scales_the_gradient_of_the_marked_tokens_alone():
  at_start = golden_tokens(old_log_probs=LOG_PROBS)
  plain = value_and_gradient(bcpg(tau=0.1), at_start)[1]
  for beta in (0.5, 0.0, -1.0):
    objective = chain(bcpg(tau=0.1), negative_sample_augmentation(beta=beta))
    actual = value_and_gradient(objective, at_start)[1]
    same(actual, plain * jnp.where(MARKS == 1, beta, 1.0))


def test_marks_do_not_weigh_the_constraint():
  everywhere = golden_tokens(
    advantages=np.full((2, 4), -1e-30), step_ok=np.ones((2, 4))
  )
  actual = value_and_gradient(OBJECTIVE, everywhere)[1]
  plain = value_and_gradient(bcpg(tau=0.1), everywhere)[1]
  assert np.abs(plain).min() > 1e-3
  same(actual, plain)


@pytest.mark.parametrize("changed", ["step_ok in right responses", "all of it"])
def test_what_marks_must_not_change_is_the_same_bitwise(changed, random_tokens):
  tokens = random_tokens(1, 5, 7)
  if changed == "all of it":  # at beta = 1
    objective = chain(bcpg(), negative_sample_augmentation(beta=1.0))
    other, expected = tokens, evaluate(bcpg(), tokens)
    expected = expected[0][0], expected[1]
  else:
    objective = OBJECTIVE
    flipped = jnp.where(
      tokens.advantages > 0, 1 - tokens.step_ok, tokens.step_ok
    )
    other = dataclasses.replace(tokens, step_ok=flipped)
    (loss, _), gradients = evaluate(objective, tokens)
    expected = loss, gradients
  (loss, _), gradients = evaluate(objective, other)
  same((loss, gradients), expected)


def test_without_marks_the_member_is_refused_by_name():
  tokens = hand_tokens([[0.0]], [[1.0]])
  with pytest.raises(
    ValueError, match="negative_sample_augmentation needs step_ok"
  ):
    evaluate(OBJECTIVES["negative_sample_augmentation"], tokens)
