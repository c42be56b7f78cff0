"""What reweights the losses before it: ERC, STARE, STEER and others."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.objectives import (
  chain,
  entropy_advantage,
  erc,
  ppo_clip,
  reinforce,
  stare,
  steer,
)
from tests.objective_cases import OBJECTIVES, evaluated, hand_tokens, near, same


def test_erc_stops_tokens_whose_entropy_moved_and_keeps_their_value():
  tokens = hand_tokens(
    np.zeros((1, 4)),
    np.ones((1, 4)),
    entropy=np.float32([[1.0, 1.2, 0.8, 1.04]]),
  )
  (loss, metrics), (gradient, _) = evaluated(chain(ppo_clip(), erc()), tokens)
  same(loss, -1.0)
  same(gradient, np.float32([[-0.25, 0, 0, -0.25]]))
  assert metrics["erc/touched"].total == 2


def test_stare_weighs_the_most_surprising_tokens_of_each_sign():
  log_probs = np.float32([[-0.1, -3, -1, -2], [-0.3, -0.1, -4, -0.2]])
  tokens = hand_tokens(log_probs + 1, [[1] * 4, [-1] * 4])
  tokens = dataclasses.replace(tokens, old_log_probs=tokens.log_probs)
  transform = stare(
    target=1.5, fraction=0.3, positive_weight=1.5, negative_weight=0.5
  )
  _, (gradient, _) = evaluated(chain(ppo_clip(), transform), tokens)
  # ceil(0.3 * 4) = 2 tokens of each sign
  expected = np.array([[-1, -1.5, -1, -1.5], [0.5, 1, 0.5, 1]]) / 8
  near(gradient, np.float32(expected))


@pytest.mark.parametrize("name", ["ppo_clip, dual", "cispo", "ce_gppo", "gspo"])
def test_scaling_a_loss_is_the_same_as_shaping_its_advantages(
  name, random_tokens
):
  tokens = random_tokens(22, 5, 7)
  shaped = tokens.advantages + jnp.minimum(
    0.4 * tokens.entropy, jnp.abs(tokens.advantages) / 2
  )
  near(
    evaluated(chain(OBJECTIVES[name], entropy_advantage()), tokens)[1],
    evaluated(OBJECTIVES[name], dataclasses.replace(tokens, advantages=shaped))[
      1
    ],
  )


def test_entropy_advantage_is_bounded_and_leaves_0_alone():
  tokens = hand_tokens(
    np.zeros((1, 4)), [[1, -1, 0, 1e-30]], entropy=np.full((1, 4), 1e3)
  )
  _, (gradient, _) = evaluated(chain(ppo_clip(), entropy_advantage()), tokens)
  near(gradient, np.float32([[-1.5, 0.5, 0, 0]]) / 4)


@pytest.mark.parametrize("form", ["theorem", "released"])
def test_steer_weighs_the_gradient_of_its_base_between_its_bounds(
  form, random_tokens
):
  tokens = random_tokens(16, 5, 7)
  _, (base, _) = evaluated(reinforce(), tokens)
  _, (gradient, entropy_gradient) = evaluated(
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
    evaluated(objective, doubled)[1][0], 2 * evaluated(objective, tokens)[1][0]
  )


def test_steer_s_floor_leaves_small_changes_undamped(random_tokens):
  tokens = random_tokens(18, 5, 7)
  (_, metrics), _ = evaluated(
    chain(ppo_clip(), steer(min_weight=0.5, floor=1e9)), tokens
  )
  near(metrics["steer/weight"].total, metrics["steer/weight"].count)
