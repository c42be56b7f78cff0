"""Test EntroPIC's term: which tokens it moves, and in which direction."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.control import PIState, entropic_pi
from entrojax.objectives import chain, entropic, ppo_clip
from tests.helpers.objective_cases import (
  OBJECTIVES,
  evaluate,
  hand_tokens,
  near,
  same,
)


@pytest.mark.parametrize("coefficient", [1.0, -1.0])
def test_full_strength_on_all_tokens_doubles_one_sign_and_drops_the_other(
  coefficient,
):
  tokens = hand_tokens(np.zeros((2, 3)), [[0.7] * 3, [-0.3] * 3])
  _, (gradient, _) = evaluate(
    OBJECTIVES["entropic, all tokens, all norm"],
    tokens,
    coefficient=coefficient,
  )
  doubled = np.array([[2.0], [0.0]] if coefficient > 0 else [[0.0], [2.0]])
  same(gradient, np.float32(doubled) * (-tokens.advantages / 6))


@pytest.mark.parametrize("norm", ["selected", "all"])
def test_below_the_target_probable_tokens_are_moved_so_that_entropy_rises(
  norm,
):
  tokens = hand_tokens(
    [[0.99, 0.0], [0.99, 0.0]], [[1, 1], [-1, -1]], entropy=np.full((2, 2), 0.1)
  )
  tokens = dataclasses.replace(tokens, old_log_probs=tokens.log_probs)
  controller = entropic_pi(target=0.5)
  coefficient = controller.coefficient(
    PIState(integral=jnp.float32(0)), jnp.float32(0.1)
  )
  _, (gradient, _) = evaluate(
    chain(ppo_clip(), entropic(norm=norm)), tokens, coefficient=coefficient
  )
  _, (ppo, _) = evaluate(ppo_clip(), tokens)
  # descent moves log-probs by -gradient: a right token rises less than under
  # PPO, a wrong one falls more, improbable tokens move as under PPO
  assert ppo[0, 0] < gradient[0, 0]
  assert 0 < ppo[1, 0] < gradient[1, 0]
  same(gradient[:, 1], ppo[:, 1])


def test_norm_selected_turns_the_sign_of_a_positive_sample():
  # 1 of 4 tokens is probable: its weight is 1 - 0.5 * 4 = -1
  tokens = hand_tokens([[0.99, 0, 0, 0]], [[1, 1, 1, 1]])
  tokens = dataclasses.replace(tokens, old_log_probs=tokens.log_probs)
  _, (gradient, _) = evaluate(
    chain(ppo_clip(), entropic()), tokens, coefficient=-0.5
  )
  near(gradient, np.array([[1, -1, -1, -1]]) / 4)


def test_entropic_is_0_where_no_token_is_probable():
  tokens = hand_tokens(np.zeros((2, 3)), np.ones((2, 3)))
  (loss, metrics), gradients = evaluate(entropic(), tokens)
  same((loss, gradients), jax.tree.map(jnp.zeros_like, (loss, gradients)))
  assert metrics["entropic/touched"].total == 0


def test_a_token_is_probable_by_the_current_policy():
  log_probs = np.log([[0.96, 0.94, 0.96, 0.94]])
  tokens = hand_tokens(
    log_probs + 1,
    np.ones((1, 4)),
    old_log_probs=np.float32(np.log([[0.96, 0.94, 0.94, 0.96]])),
  )
  _, (gradient, _) = evaluate(entropic(), tokens)
  assert np.flatnonzero(gradient).tolist() == [0, 2]


def test_entropic_does_not_clip_its_ratio():
  tokens = hand_tokens(np.log([[5.0]]), [[2.0]])
  (loss, _), _ = evaluate(entropic(min_probability=0), tokens, coefficient=0.5)
  near(loss, -0.5 * 2 * 5)
