"""Test the transforms of earlier losses: ERC, STARE, STEER and others."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.entropy.statistics import log_prob_at, old
from entrojax.objectives import (
  adaptive_stare,
  ce_gppo,
  chain,
  cispo,
  clip_cov,
  dcpo,
  dppo,
  dynamic_clip,
  entropy_advantage,
  erc,
  gmpo,
  gspo,
  kl_cov,
  off_policy_mask,
  positive_reweighting,
  ppo_clip,
  reinforce,
  sapo,
  stare,
  steer,
  vespo,
)
from tests.helpers.objective_cases import (
  OBJECTIVES,
  evaluate,
  few_tokens,
  hand_tokens,
  near,
  same,
)


def test_erc_stops_tokens_whose_entropy_moved_and_keeps_their_value():
  tokens = hand_tokens(
    np.zeros((1, 4)),
    np.ones((1, 4)),
    entropy=np.float32([[1.0, 1.2, 0.8, 1.04]]),
  )
  (loss, metrics), (gradient, _) = evaluate(chain(ppo_clip(), erc()), tokens)
  same(loss, -1.0)
  same(gradient, np.float32([[-0.25, 0, 0, -0.25]]))
  assert metrics["erc/touched"].total == 2


def test_the_entropy_ratio_of_erc_is_the_current_over_the_old_one():
  # H / H_old is 1.5, 0.8, 1.9 and 0.5; its inverse would leave this band for
  # tokens 0, 2 and 3 instead
  tokens = hand_tokens(
    np.zeros((1, 4)),
    np.ones((1, 4)),
    entropy=np.float32([[3.0, 0.8, 1.9, 0.25]]),
    old_entropy=np.float32([[2.0, 1.0, 1.0, 0.5]]),
  )
  objective = chain(ppo_clip(), erc(low=0.9, high=2.0))
  _, (gradient, _) = evaluate(objective, tokens)
  same(gradient, np.float32([[-0.25, 0, -0.25, 0]]))


def test_wrong_responses_that_became_unlikely_have_no_loss():
  # mean of log pi_old - log pi: 0.2, 0.2, -0.2 and, of one token, 0.4
  tokens = hand_tokens(
    [[-0.3, -0.1], [-0.3, -0.1], [0.3, 0.1], [-0.4, 9.0]],
    [[1] * 2, [-2] * 2, [-2] * 2, [-2] * 2],
    mask=np.float32([[1, 1], [1, 1], [1, 1], [1, 0]]),
  )
  objective = chain(reinforce(), off_policy_mask(threshold=0.19))
  (_, metrics), (gradient, _) = evaluate(objective, tokens)
  # of 7 tokens that count; the right row and the row that became likely stay
  near(gradient, np.float32([[-1, -1], [0, 0], [2, 2], [0, 0]]) / 7)
  assert metrics["off_policy_mask/touched"].total == 3
  objective = chain(reinforce(), off_policy_mask(threshold=0.21))
  _, (gradient, _) = evaluate(objective, tokens)
  near(gradient, np.float32([[-1, -1], [2, 2], [2, 2], [0, 0]]) / 7)


@pytest.mark.parametrize(
  ("entropy", "old_entropy", "weight"), [(2.0, 0.5, 1.5), (0.5, 2.0, 1.0)]
)
def test_stare_s_gate_reads_the_entropy_of_the_sampling_policy(
  entropy, old_entropy, weight
):
  tokens = hand_tokens(
    np.zeros((1, 1)),
    np.ones((1, 1)),
    entropy=np.float32([[entropy]]),
    old_entropy=np.float32([[old_entropy]]),
  )
  transform = stare(target=1.0, fraction=1.0, positive_weight=1.5)
  (loss, metrics), _ = evaluate(chain(ppo_clip(), transform), tokens)
  same(loss, -weight)
  assert metrics["stare/active"].total == (old_entropy < 1.0)


@pytest.mark.parametrize(
  ("gate", "weight"), [("rollout", 1.5), ("minibatch", 1)]
)
def test_stare_s_gate_is_the_rollout_batch_s_unless_it_is_set(gate, weight):
  tokens = hand_tokens(
    np.zeros((1, 1)),
    np.ones((1, 1)),
    old_entropy=np.float32([[2.0]]),
    rollout_entropy=np.float32([[0.5]]),
  )
  transform = stare(target=1.0, fraction=1.0, positive_weight=1.5, gate=gate)
  (loss, _), _ = evaluate(chain(ppo_clip(), transform), tokens)
  same(loss, -weight)


def test_stare_weighs_the_most_surprising_tokens_of_each_sign():
  log_probs = np.float32([[-0.1, -3, -1, -2], [-0.3, -0.1, -4, -0.2]])
  tokens = hand_tokens(log_probs + 1, [[1] * 4, [-1] * 4])
  tokens = dataclasses.replace(tokens, old_log_probs=tokens.log_probs)
  transform = stare(
    target=1.5, fraction=0.3, positive_weight=1.5, negative_weight=0.5
  )
  _, (gradient, _) = evaluate(chain(ppo_clip(), transform), tokens)
  # ceil(0.3 * 4) = 2 tokens of each sign
  expected = np.array([[-1, -1.5, -1, -1.5], [0.5, 1, 0.5, 1]]) / 8
  near(gradient, np.float32(expected))


@pytest.mark.parametrize("negative_strength", [0.0, 1.0])
def test_stare_s_weights_are_the_controller_s_and_its_mirror_image(
  negative_strength, random_tokens
):
  tokens = random_tokens(24, 5, 7)
  settings = {"target": 9.0, "fraction": 0.3}
  adaptive = adaptive_stare(**settings, negative_strength=negative_strength)
  constant = stare(
    **settings,
    positive_weight=1.25,
    negative_weight=0.75 if negative_strength else 1.0,
  )
  same(
    evaluate(chain(ppo_clip(), adaptive), tokens, coefficient=1.25)[1],
    evaluate(chain(ppo_clip(), constant), tokens)[1],
  )


def test_positive_reweighting_weighs_right_answers_alone():
  tokens = hand_tokens(np.zeros((3, 2)), [[2] * 2, [-1] * 2, [0] * 2])
  (loss, metrics), (gradient, _) = evaluate(
    chain(ppo_clip(), positive_reweighting()), tokens, coefficient=0.25
  )
  # (-2 * 0.25 + 1 + 0) / 3; denominators count all 6 tokens
  near(loss, 0.5 / 3)
  near(gradient, np.float32([[-0.5] * 2, [1] * 2, [0] * 2]) / 6)
  assert metrics["positive_reweighting/touched"].total == 2
  assert metrics["positive_reweighting/coefficient"].total == 0.25


def test_at_a_weight_of_0_right_answers_alone_have_loss_and_gradients_of_0():
  tokens = hand_tokens(np.log([[1.1, 0.9]]), [[1, 2]])
  (loss, _), gradients = evaluate(
    chain(ppo_clip(), positive_reweighting()), tokens, coefficient=0.0
  )
  same((loss, gradients), jax.tree.map(jnp.zeros_like, (loss, gradients)))


def test_positive_reweighting_is_linear_in_its_coefficient(random_tokens):
  tokens = random_tokens(25, 5, 7)
  objective = chain(ppo_clip(), positive_reweighting())
  at = {
    c: evaluate(objective, tokens, coefficient=c)[1][0] for c in (0, 0.5, 1)
  }
  near(at[0.5], (at[0] + at[1]) / 2)


@pytest.mark.parametrize("name", ["ppo_clip, dual", "cispo", "ce_gppo", "gspo"])
def test_scaling_a_loss_is_the_same_as_shaping_its_advantages(
  name, random_tokens
):
  tokens = random_tokens(22, 5, 7)
  shaped = tokens.advantages + jnp.minimum(
    0.4 * tokens.entropy, jnp.abs(tokens.advantages) / 2
  )
  near(
    evaluate(chain(OBJECTIVES[name], entropy_advantage()), tokens)[1],
    evaluate(OBJECTIVES[name], dataclasses.replace(tokens, advantages=shaped))[
      1
    ],
  )


def test_entropy_advantage_is_bounded_and_leaves_0_alone():
  tokens = hand_tokens(
    np.zeros((1, 4)), [[1, -1, 0, 1e-30]], entropy=np.full((1, 4), 1e3)
  )
  _, (gradient, _) = evaluate(chain(ppo_clip(), entropy_advantage()), tokens)
  near(gradient, np.float32([[-1.5, 0.5, 0, 0]]) / 4)


@pytest.mark.parametrize("form", ["theorem", "released"])
def test_steer_weighs_the_gradient_of_its_base_between_its_bounds(
  form, random_tokens
):
  tokens = random_tokens(16, 5, 7)
  _, (base, _) = evaluate(reinforce(), tokens)
  _, (gradient, entropy_gradient) = evaluate(
    chain(reinforce(), steer(min_weight=0.5, form=form)), tokens
  )
  weights = np.asarray(gradient / base)[np.asarray(tokens.mask) > 0]
  near(weights.min(), 0.5)
  assert np.all(weights >= 0.5 - 1e-6)
  assert np.all(weights <= 1 + 1e-6)
  same(entropy_gradient, jnp.zeros((5, 7)))


@pytest.mark.parametrize("form", ["theorem", "released"])
def test_steer_does_not_see_the_scale_of_advantages(form, random_tokens):
  tokens = random_tokens(17, 5, 7)
  doubled = dataclasses.replace(tokens, advantages=2 * tokens.advantages)
  objective = chain(reinforce(), steer(form=form))
  near(
    evaluate(objective, doubled)[1][0], 2 * evaluate(objective, tokens)[1][0]
  )


def test_steer_s_floor_leaves_small_changes_undamped(random_tokens):
  tokens = random_tokens(18, 5, 7)
  (_, metrics), _ = evaluate(
    chain(ppo_clip(), steer(min_weight=0.5, floor=1e9)), tokens
  )
  near(metrics["steer/weight"].total, metrics["steer/weight"].count)


def test_a_token_beyond_the_dual_clip_does_not_damp_the_others():
  # the last token has a ratio of e^1.5 > 3, the largest change and no gradient
  log_ratios, advantages = [[0.1, -0.1, 1.5]], [[1.0, 1.0, -1.0]]
  tokens = hand_tokens(log_ratios, advantages)
  tokens = dataclasses.replace(
    tokens,
    log_probs=jnp.full((1, 3), -0.5),
    old_log_probs=-0.5 - jnp.float32(log_ratios),
  )
  (_, metrics), _ = evaluate(chain(ppo_clip(), steer(min_weight=0.5)), tokens)
  ratio, probability = np.exp([0.1, -0.1]), np.exp(-0.5)
  changes = ratio * probability * (1 - probability) * (-0.5 + 1.0)
  near(metrics["steer/max_change"].total, np.float32(changes.max()))
  near(
    metrics["steer/weight"].total,
    np.float32(np.sum(0.5 ** (changes / changes.max())) + 1),
  )


@pytest.mark.parametrize(
  ("surrogate", "stops"),
  [
    (ppo_clip(), True),
    (few_tokens(clip_cov, fraction=0.0, clip_low=0.2, clip_high=0.2), True),
    (dppo(high=0.1), True),
    (dynamic_clip(high_ends=(0.3, 0.2)), True),
    (gspo(), True),
    (gmpo(clip_high=0.2), True),
    (few_tokens(kl_cov, fraction=0.0), False),
    (dynamic_clip(high_ends=(0.9, 0.9)), False),
    (dppo(high=0.9), False),
    (cispo(), False),
    (sapo(), False),
    (reinforce(), False),
    (vespo(), False),
    (ce_gppo(), False),
  ],
)
def test_steer_spares_a_token_only_if_its_surrogate_stops_it(surrogate, stops):
  # the token of the first row has a ratio of 1.5 and the largest change
  tokens = hand_tokens(np.log([[1.5], [1.0]]), [[1.0], [0.5]])
  tokens = dataclasses.replace(
    tokens,
    log_probs=jnp.full((2, 1), -0.5),
    old_log_probs=-0.5 - jnp.log(jnp.float32([[1.5], [1.0]])),
  )
  _, (plain, _) = evaluate(surrogate, tokens)
  assert (plain[0, 0] == 0) == stops
  _, (gradient, _) = evaluate(
    chain(surrogate, steer(min_weight=0.5, clip_high=0.2)), tokens
  )
  # the largest change has the smallest weight; the other one is 1/3 of it
  near(gradient[1, 0] / plain[1, 0], 0.5 if stops else 0.5 ** (1 / 3))
  near(gradient[0, 0], 0.0 if stops else 0.5 * plain[0, 0])


@pytest.mark.parametrize(
  ("surrogate", "slope"),
  [(ppo_clip(), 0.0), (few_tokens(kl_cov, fraction=0.0), 1.5), (cispo(), 1.5)],
)
def test_dcpo_clips_a_ratio_only_where_its_surrogate_does(surrogate, slope):
  tokens = hand_tokens(np.log([[1.5]]), [[1.0]])
  log_probs = {t: tokens.old_log_probs for t in (1.2, 0.8)}
  tokens = dataclasses.replace(
    tokens,
    statistics={old(log_prob_at(t)): x for t, x in log_probs.items()},
  )
  _, (plain, *_) = evaluate(surrogate, tokens)
  _, (gradient, *_) = evaluate(chain(surrogate, dcpo(target=9.0)), tokens)
  # all responses are right: x = 0.1 / 1, and rho = 1
  alpha = 0.1 / 1.1
  near(gradient, (1 - alpha) * plain - np.float32(alpha * slope))
