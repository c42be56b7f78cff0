"""The covariance, its parts by quadrant, and the change that it predicts."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from entrojax.control import no_control
from entrojax.entropy.covariance import (
  covariance_by_quadrant,
  covariance_metrics,
  predicted_entropy_change,
  share_by_quadrant,
)
from entrojax.masking import finalize
from entrojax.objectives import aggregation, ppo_clip
from entrojax.types import Batch
from entrojax.update.setup import BatchSplit
from entrojax.update.train_step import init_state, make_update
from tests.helpers.paths import GOLDENS
from tests.helpers.updates import controlled

METHODS = json.loads((GOLDENS / "methods.json").read_text())

# Means over the five tokens: log pi -1, A (2 * 1.5 - 3) / 5 = 0. Covariances
# 1.35, .75 | -.8, -.4, 2.6: the sum is 3.5 and the mean .7.
LOG_PROBS = [[-0.1, -0.5, np.nan], [-0.2, -0.6, -3.6]]
ADVANTAGES = [[1.5, 1.5, np.nan], [-1.0, -1.0, -1.0]]
MASK = [[1, 1, 0], [1, 1, 1]]


def hand():
  return [jnp.array(x, jnp.float32) for x in (LOG_PROBS, ADVANTAGES, MASK)]


def fields(tokens):
  return tokens.log_probs, tokens.advantages, tokens.mask


def near(result, expected):
  # a few float32 roundings of numbers of order 1
  np.testing.assert_allclose(result, expected, rtol=0, atol=2e-6)


def near_all(result, **expected):
  assert result.keys() == expected.keys()
  for name, value in expected.items():
    near(result[name], value)


def parts_by_loop(log_probs, advantages, mask, probability):
  """Add up the covariances and counts the tokens, one token at a time."""
  where = np.argwhere(np.asarray(mask) > 0)
  lp = np.array([log_probs[i, j] for i, j in where], np.float64)
  adv = np.array([advantages[i, j] for i, j in where], np.float64)
  signs, likelihoods = ("positive", "negative"), ("probable", "rare")
  sums = {f"{s}_{p}": 0.0 for s in signs for p in likelihoods}
  counts = dict(sums)
  for x, a in zip(lp, adv, strict=True):
    sign = "positive" if a > 0 else "negative"
    name = f"{sign}_{'probable' if math.exp(x) >= probability else 'rare'}"
    sums[name] += (x - lp.mean()) * (a - adv.mean()) / len(lp)
    counts[name] += 1 / len(lp)
  return sums, counts


def test_hand_numbers_are_split_by_sign_and_probability():
  near_all(
    covariance_by_quadrant(*hand()),
    positive_probable=2.1 / 5,
    positive_rare=0,
    negative_probable=-1.2 / 5,  # -.2 and -.6: above log(1/2) = -.693
    negative_rare=2.6 / 5,
  )
  near_all(
    covariance_by_quadrant(*hand(), probability=0.7),  # log .7 = -.357
    positive_probable=1.35 / 5,
    positive_rare=0.75 / 5,
    negative_probable=-0.8 / 5,
    negative_rare=2.2 / 5,
  )


def test_hand_numbers_have_the_shares_of_their_tokens():
  near_all(
    share_by_quadrant(*hand(), probability=0.7),
    positive_probable=0.2,
    positive_rare=0.2,
    negative_probable=0.2,
    negative_rare=0.4,
  )


def test_the_predicted_change_is_minus_the_mean_covariance():
  near(predicted_entropy_change(*hand()), -0.7)


def test_the_golden_matrix_is_added_up_by_quadrant(float64):
  inputs = {k: np.array(v, np.float64) for k, v in METHODS["inputs"].items()}
  advantages = inputs["A"][:, None].repeat(4, axis=1)
  result = covariance_by_quadrant(inputs["lp"], advantages, inputs["m"])
  c = METHODS["covariance"]["matrix"]
  # pi >= 1/2: tokens 0 and 2 of row 0, 1 of row 1; all but token 1 of row 2
  expected = {
    "positive_probable": [c[0][0], c[0][2], c[2][0], c[2][2], c[2][3]],
    "positive_rare": [c[0][1], c[0][3], c[2][1]],
    "negative_probable": [c[1][1]],
    "negative_rare": [c[1][0], c[1][2]],
  }
  assert result.keys() == expected.keys()
  for name, entries in expected.items():
    # the golden entries have six digits, and at most five are added
    np.testing.assert_allclose(result[name], sum(entries) / 11, atol=5e-7)


@pytest.mark.parametrize("probability", [0.2, 0.5, 0.97])
def test_the_parts_are_those_of_a_loop_over_tokens(random_tokens, probability):
  tokens = fields(random_tokens(3, 8, 20))
  sums, counts = parts_by_loop(*map(np.asarray, tokens), probability)
  assert min(counts.values()) > 0  # no part is empty
  near_all(covariance_by_quadrant(*tokens, probability=probability), **sums)
  near_all(share_by_quadrant(*tokens, probability=probability), **counts)


def test_the_parts_add_up_to_the_mean_and_the_shares_to_one(random_tokens):
  for seed in range(5):
    tokens = fields(random_tokens(seed, 6, 9))
    near(
      sum(covariance_by_quadrant(*tokens).values()),
      -predicted_entropy_change(*tokens),
    )
    near(sum(share_by_quadrant(*tokens).values()), 1)


def test_the_bounds_belong_to_probable_and_to_negative():
  log_probs = jnp.log(jnp.array([[0.5, 0.25]]))
  result = share_by_quadrant(log_probs, jnp.zeros((1, 2)), jnp.ones((1, 2)))
  near_all(
    result,
    positive_probable=0,
    positive_rare=0,
    negative_probable=0.5,
    negative_rare=0.5,
  )


def test_adding_a_constant_to_both_changes_no_prediction(random_tokens):
  log_probs, advantages, mask = fields(random_tokens(1, 6, 9))
  near(
    predicted_entropy_change(log_probs + 3, advantages - 2, mask),
    predicted_entropy_change(log_probs, advantages, mask),
  )


def test_adding_a_constant_to_log_probs_moves_no_part(random_tokens):
  log_probs, advantages, mask = fields(random_tokens(1, 6, 9))
  # the bound moves too, to .5 e^-1; no log-prob is within rounding of it
  moved = covariance_by_quadrant(
    log_probs - 1, advantages, mask, probability=0.5 * math.exp(-1)
  )
  near_all(moved, **covariance_by_quadrant(log_probs, advantages, mask))


def test_padding_changes_nothing(random_tokens):
  tokens = fields(random_tokens(2, 5, 7))
  wider = [jnp.pad(x, ((0, 2), (0, 9))) for x in tokens]
  for function in (covariance_by_quadrant, share_by_quadrant):
    near_all(function(*wider), **function(*tokens))
  near(predicted_entropy_change(*wider), predicted_entropy_change(*tokens))


def test_no_token_gives_zeros():
  nothing = jnp.full((2, 3), jnp.nan), jnp.full((2, 3), jnp.nan)
  mask = jnp.zeros((2, 3))
  assert predicted_entropy_change(*nothing, mask) == 0
  assert not any(covariance_by_quadrant(*nothing, mask).values())
  assert not any(share_by_quadrant(*nothing, mask).values())


def test_parts_and_prediction_are_constants(random_tokens):
  log_probs, advantages, mask = fields(random_tokens(4, 5, 7))

  def total(x):
    parts = covariance_by_quadrant(x, advantages, mask)
    return parts["positive_rare"] + predicted_entropy_change(
      x, advantages, mask
    )

  np.testing.assert_array_equal(jax.grad(total)(log_probs), 0)


@pytest.mark.parametrize("probability", [0.0, 1.0, -0.5, math.nan])
@pytest.mark.parametrize(
  "function", [covariance_by_quadrant, share_by_quadrant]
)
def test_a_probability_that_splits_nothing_is_refused(function, probability):
  with pytest.raises(ValueError, match=rf"probability .* got {probability}"):
    function(*hand(), probability=probability)


def test_a_natural_gradient_step_changes_the_entropy_as_predicted(float64):
  # a softmax policy of one state, and tokens as frequent as they are probable
  counts = np.array([8, 4, 2, 1, 1])
  actions = np.repeat(np.arange(5), counts)[None]
  pi = counts / counts.sum()
  advantages = np.array([1.0, -0.5, 2.0, -3.0, 0.25])

  def entropy(step):  # a natural gradient adds step * A to the logits
    logits = np.log(pi) + step * advantages
    p = np.exp(logits) / np.exp(logits).sum()
    return -(p @ np.log(p))

  predicted = predicted_entropy_change(
    np.log(pi)[actions], advantages[actions], np.ones(actions.shape)
  )
  slope = (entropy(1e-5) - entropy(-1e-5)) / 2e-5
  # central differences: 1e-10 from the third derivative, 1e-11 from rounding
  np.testing.assert_allclose(predicted, slope, rtol=0, atol=1e-9)


def test_the_metrics_of_updates_are_pooled_over_their_tokens(random_tokens):
  minibatches = [random_tokens(seed, 4, 5) for seed in (7, 8)]
  summed = jax.tree.map(
    jnp.add, *[dict(covariance_metrics(tokens)) for tokens in minibatches]
  )
  sizes = [float(tokens.mask.sum()) for tokens in minibatches]
  assert sizes[0] != sizes[1]
  expected = [
    parts_by_loop(*map(np.asarray, fields(t)), 0.5) for t in minibatches
  ]
  result = finalize(summed)
  for name in expected[0][0]:
    pooled = np.average([sums[name] for sums, _ in expected], weights=sizes)
    near(result[f"covariance/{name}"], pooled)
  mean = np.average([sum(s.values()) for s, _ in expected], weights=sizes)
  near(result["covariance/mean"], mean)
  near(result["covariance/predicted_change"], -mean)


@pytest.mark.slow
def test_an_update_reports_covariance_and_entropy_by_sign(bigram):
  rng = np.random.default_rng(0)
  table = rng.normal(size=(8, 8))
  tokens = rng.integers(8, size=(3, 4))  # one of the prompt, three sampled
  mask = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0]], np.float32)
  advantages = np.array([[1.0], [-0.5], [0.0]]).repeat(3, axis=1)
  optimizer = controlled(no_control(), sgd=optax.sgd(0.0))
  update = make_update(
    bigram,
    {"ppo_clip": ppo_clip()},
    aggregation.token_mean,
    optimizer,
    split=BatchSplit(updates_per_rollout=2, num_epochs=2),  # each on all rows
  )
  params = {"embed_tokens": jnp.asarray(table, jnp.float32)}
  batch = Batch(
    tokens=jnp.asarray(tokens, jnp.int32),
    positions=jnp.arange(4).repeat(3).reshape(4, 3).T,
    response_mask=jnp.asarray(mask),
    keep=jnp.ones(3),
    old_log_probs=jnp.zeros((3, 3)),
    old_entropy=jnp.zeros((3, 3)),
    advantages=jnp.asarray(advantages, jnp.float32),
  )
  # without LLVM's passes it compiles in half the time
  _, metrics = jax.jit(update)(
    init_state(params, optimizer), None, batch, jax.random.key(0)
  )
  result = finalize(metrics)

  log_pi = table - np.log(np.exp(table).sum(axis=1, keepdims=True))
  log_probs = log_pi[tokens[:, :-1], tokens[:, 1:]]
  entropy = -(np.exp(log_pi) * log_pi).sum(axis=1)[tokens[:, :-1]]
  sums, _ = parts_by_loop(log_probs, advantages, mask, 0.5)
  for name, value in sums.items():
    near(result[f"covariance/{name}"], value)
  near(result["covariance/mean"], sum(sums.values()))
  assert metrics["covariance/mean"].count == 2 * mask.sum()
  near(result["entropy/positive"], entropy[0].mean())
  near(result["entropy/negative"], entropy[1, :2].mean())  # A = 0 in neither
