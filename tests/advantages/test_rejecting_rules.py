"""Rules that damp or drop responses: SEED-GRPO, Entrocraft, GRPODropout."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax import advantages
from entrojax.advantages import apply_rules
from entrojax.advantages.grpo_dropout import keep_by_entropy
from entrojax.types import Responses
from tests.helpers.paths import GOLDENS
from tests.helpers.rule_cases import apply, close, random_responses, same

METHODS = json.loads((GOLDENS / "methods.json").read_text())


# -- SEED-GRPO ----------------------------------------------------------------


def test_seed_grpo_halves_the_advantages_of_answers_that_all_differ():
  # in the first group SE = log 2 and s = 1, so 1 / (1 + s) = 1/2; in the second
  # one all answers agree and s = 0
  responses = Responses(
    rewards=jnp.array([[1.0, 0.0], [1.0, 0.0]]),
    log_probs=jnp.full((2, 2), -0.5),
    clusters=jnp.array([[0, 1], [0, 0]]),
  )
  done = apply(
    responses,
    "dr_grpo",
    "seed_grpo",
    seed_grpo={"form": "inverse", "alpha": 1.0},
  )
  close(done.advantages, [[0.25, -0.25], [0.5, -0.5]])


# -- Entrocraft ---------------------------------------------------------------


@pytest.mark.parametrize(
  ("entropy", "kept_signs"),
  [(0.45, (-1, 0, 1)), (0.55, (0, 1)), (0.35, (-1, 0)), (0.4, (-1, 0, 1))],
)
def test_entrocraft_rejects_a_sign_outside_its_band(entropy, kept_signs):
  responses = dataclasses.replace(
    random_responses(5), entropy=jnp.float32(entropy)
  )
  done = apply(responses, "grpo", "entrocraft")
  base = apply(responses, "grpo").advantages
  same(done.advantages, base)
  same(done.keep, np.isin(np.sign(base), kept_signs))


def test_entrocraft_s_band_moves_with_the_rollout_steps():
  settings = {"low": (0.6, 0.2), "high": (0.8, 0.4), "anneal_steps": 20}
  # after 10 of 20 steps the band is 0.4 to 0.6
  for entropy, whole in ((0.41, True), (0.59, True), (0.39, False)):
    responses = dataclasses.replace(
      random_responses(5), entropy=jnp.float32(entropy)
    )
    done = apply(responses, "grpo", "entrocraft", entrocraft=settings)
    assert bool(done.keep.all()) is whole


def test_entrocraft_as_released_learns_from_signs_outside_the_band():
  responses = dataclasses.replace(random_responses(5), entropy=jnp.float32(0.1))
  done = apply(responses, "grpo", "entrocraft", entrocraft={"signal": "reward"})
  # The entropy is too low: only wrong responses teach, also in groups where all
  # are wrong, and denominators count all.
  wrong = np.asarray(random_responses(5).rewards) <= 0.5
  same(done.advantages, np.where(wrong, -1.0, 0.0))
  same(done.keep, np.ones((6, 8)))


# -- GRPODropout --------------------------------------------------------------


def dropout_twin(advantages_, log_probs):
  """Drop the most negative h first while the sum is below 0, in numpy."""
  surprise = -np.float64(log_probs)
  h = np.float64(advantages_) * (surprise - surprise.mean()) / len(surprise)
  kept = set(range(len(h)))
  while kept and sum(h[i] for i in kept) < -1e-9:
    kept.remove(min(kept, key=lambda i: h[i]))
  kept |= {i for i in range(len(h)) if advantages_[i] <= 0}
  weights = np.exp(-surprise) * np.isin(np.arange(len(h)), list(kept))
  return kept, advantages_ - np.sum(weights * advantages_) / weights.sum()


@pytest.mark.parametrize("seed", range(5))
def test_grpo_dropout_is_its_recipe_written_out(seed):
  responses = random_responses(seed)
  base = np.asarray(apply(responses, "grpo").advantages)
  done = apply(responses, "grpo", "grpo_dropout")
  for row in range(4):  # the last two groups are silent
    kept, centred = dropout_twin(
      base[row], np.asarray(responses.log_probs[row])
    )
    assert set(np.flatnonzero(done.keep[row])) == kept
    close(done.advantages[row], centred, atol=1e-5)
  assert not done.advantages[-2:].any()
  assert done.keep[-2:].all()


@pytest.mark.parametrize("rule", ["grpo_dropout", "seed_grpo"])
def test_a_response_that_was_left_out_has_no_part_in(rule):
  responses = random_responses(2)
  given = apply(responses, "dr_grpo").advantages

  def baseline(responses):
    group_size = responses.rewards.shape[1]
    return dataclasses.replace(responses, advantages=given[:, :group_size])

  long = jnp.broadcast_to((jnp.arange(8) >= 5).astype(jnp.float32), (6, 8))
  filtered = apply_rules(
    {
      "baseline": baseline,
      "overlong_filter": advantages.overlong_filter(),
      rule: getattr(advantages, rule)(),
    },
    dataclasses.replace(responses, truncated=long),
  )
  five = jax.tree.map(lambda x: x if jnp.ndim(x) == 0 else x[:, :5], responses)
  alone = apply_rules(
    {"baseline": baseline, rule: getattr(advantages, rule)()}, five
  )
  close(filtered.advantages[:, :5], alone.advantages)
  same(filtered.keep[:, :5], alone.keep)


def test_only_right_and_likely_responses_are_dropped():
  responses = random_responses(6)
  done = apply(responses, "grpo", "grpo_dropout")
  base = apply(responses, "grpo").advantages
  dropped = np.asarray(done.keep) == 0
  assert dropped.any()
  assert np.all(np.asarray(base)[dropped] > 0)
  mean = np.mean(responses.log_probs, axis=1, keepdims=True)
  assert np.all(np.asarray(responses.log_probs > mean)[dropped])


def test_kept_advantages_are_centred_by_likelihood():
  responses = random_responses(6)
  done = apply(responses, "grpo", "grpo_dropout")
  weights = np.exp(responses.log_probs) * done.keep
  # 8 float32 products below 1
  close(np.sum(weights * done.advantages, axis=1), np.zeros(6), atol=2e-6)


def test_a_group_that_gains_entropy_is_kept_whole():
  # right responses are the unlikely ones: the covariance of A and s is positive
  base = jnp.array([[1.0, 1.0, -1.0, -1.0]])
  log_probs = jnp.array([[-3.0, -2.0, -1.0, -0.5]])
  all_count = jnp.ones_like(base)
  assert keep_by_entropy(base, log_probs, all_count).all()
  assert not keep_by_entropy(base, log_probs[:, ::-1], all_count).all()


def test_whole_groups_can_be_left_as_their_baseline():
  responses = Responses(
    rewards=jnp.array([[1.0, 1.0, 0.0, 0.0]]),
    log_probs=jnp.array([[-3.0, -2.0, -1.0, -0.5]]),
  )
  base = apply(responses, "grpo").advantages
  done = apply(
    responses,
    "grpo",
    "grpo_dropout",
    grpo_dropout={"centre_whole_groups": False},
  )
  same(done.advantages, base)
  assert not np.allclose(
    apply(responses, "grpo", "grpo_dropout").advantages, base
  )
