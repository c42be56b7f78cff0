"""Groups of tokens against numpy, and within an update."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.control import no_control
from entrojax.objectives import ppo_clip
from entrojax.objectives.aggregation import token_mean
from entrojax.update.group_metrics import (
  COVARIANCE_SHARES,
  Measured,
  distance_metrics,
  group_metrics,
  top_covariances,
)
from entrojax.update.setup import BatchSplit
from entrojax.update.train_step import init_state, make_update
from tests.helpers.updates import make_batch, recording_sgd, totals

GROUPS = ("positive", "negative", *(f"entropy_{i}" for i in range(1, 6)))


def test_distances_are_means_over_the_tokens_of_each_fifth(random_tokens):
  tokens = random_tokens(0, 6, 9)
  means = totals(distance_metrics(tokens, tokens.mask))
  counted = np.asarray(tokens.mask) > 0
  log_ratio = lambda a, b: np.asarray(a)[counted] - np.asarray(b)[counted]
  entropy = np.asarray(tokens.entropy)[counted]
  fifth = np.argsort(np.argsort(entropy)) * 5 // entropy.size
  for name, x in {
    "kl_base": log_ratio(tokens.log_probs, tokens.ref_log_probs),
    "kl_sampler": log_ratio(tokens.old_log_probs, tokens.log_probs),
  }.items():
    k3 = np.exp(-x) + x - 1
    # sums of about 30 float32 numbers of order 0.1
    assert means[f"{name}/mean"] == pytest.approx(k3.mean(), rel=1e-4)
    lowest, highest = k3[fifth == 0].mean(), k3[fifth == 4].mean()
    assert means[f"{name}/entropy_1"] == pytest.approx(lowest, rel=1e-4)
    assert means[f"{name}/entropy_5"] == pytest.approx(highest, rel=1e-4)
  assert len(means) == 2 * 11


def test_without_a_reference_there_is_no_distance_to_the_base(random_tokens):
  tokens = dataclasses.replace(random_tokens(0, 4, 5), ref_log_probs=None)
  names = distance_metrics(tokens, tokens.mask)
  assert not any(name.startswith("kl_base") for name in names)


def test_the_highest_covariances_are_averaged(random_tokens):
  tokens = random_tokens(1, 40, 30)
  kept = np.asarray(tokens.mask) > 0
  x = np.asarray(tokens.log_probs, np.float64)[kept]
  a = np.asarray(tokens.advantages, np.float64)[kept]
  ordered = np.sort((x - x.mean()) * (a - a.mean()))[::-1]
  expected = [
    ordered[: max(1, int(share * ordered.size))].mean()
    for share in COVARIANCE_SHARES
  ]
  np.testing.assert_allclose(top_covariances(tokens), expected, rtol=1e-4)


def linear_metrics(tokens, cotangents, step, every=1):
  """Measure with a model whose gradient is the cotangents themselves."""
  return totals(
    group_metrics(
      tokens,
      cotangents,
      lambda cotangent: (cotangent,),
      jnp.int32(step),
      every=every,
    )
  )


def test_a_group_has_the_gradient_of_its_own_tokens(random_tokens):
  tokens = random_tokens(2, 6, 9)
  rng = np.random.default_rng(0)
  mask = np.asarray(tokens.mask)
  cotangents = {
    "log_probs": rng.normal(size=mask.shape) * mask,
    "top": rng.normal(size=(*mask.shape, 2)) * mask[..., None],
  }
  means = linear_metrics(
    tokens, jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), cotangents), 0
  )
  squares = cotangents["log_probs"] ** 2 + (cotangents["top"] ** 2).sum(-1)
  positive = mask * (np.asarray(tokens.advantages) > 0)
  expected = np.sqrt((squares * positive).sum())
  assert means["gradient_norm/positive"] == pytest.approx(expected, rel=1e-5)
  fifths = [means[f"gradient_norm/entropy_{i}"] for i in range(1, 6)]
  # the gradients of this model are orthogonal, so their squares add up
  assert np.sum(np.square(fifths)) == pytest.approx(squares.sum(), rel=1e-5)


def test_steps_between_two_measurements_do_not_count(random_tokens):
  tokens = random_tokens(2, 6, 9)
  cotangents = {"log_probs": jnp.ones(tokens.mask.shape)}
  with np.errstate(invalid="ignore"):
    means = linear_metrics(tokens, cotangents, 3, every=2)
  assert all(np.isnan(value) for value in means.values())


@pytest.mark.slow
def test_an_update_measures_its_groups_and_learns_the_same(bigram):
  params = {"embed_tokens": jnp.asarray(np.eye(8), jnp.float32)}
  optimizer = recording_sgd(no_control(), 0.05)
  states, metrics = [], []
  for measured in (Measured(), Measured(distances=True, every=2)):
    update = make_update(
      bigram,
      {"ppo_clip": ppo_clip()},
      token_mean,
      optimizer,
      group_size=2,
      split=BatchSplit(updates_per_rollout=2, num_epochs=2, num_microbatches=2),
      measured=measured,
    )
    state, means = jax.jit(update)(
      init_state(params, optimizer),
      jax.tree.map(lambda x: 0.9 * x, params),
      make_batch(0),
      jax.random.key(0),
    )
    states.append(state.params["embed_tokens"])
    metrics.append(means)
  np.testing.assert_array_equal(*states)
  new = metrics[1].keys() - metrics[0].keys()
  assert {f"gradient_norm/{name}" for name in GROUPS} <= new
  norm = metrics[1]["gradient_norm/entropy_5"]
  assert norm.count == 1  # the first of two steps
  assert norm.total > 0
  assert metrics[1]["kl_base/mean"].total > 0
