"""Test how each control's change of the gradient is measured and reported."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.control import no_control
from entrojax.masking import finalize
from entrojax.objectives import (
  aggregation,
  chain,
  entropy_bonus,
  erc,
  policy_loss,
  ppo_clip,
  reinforce,
  top_entropy,
)
from entrojax.objectives.gradient_changes import gradient_changes
from entrojax.reporting.inert_controls import PATIENCE, ControlEffects
from tests.helpers.objective_cases import hand_tokens
from tests.helpers.updates import Setting


def changes_of(members, tokens):
  def loss_of(objective, learned):
    log_probs, entropy = learned
    return policy_loss(
      objective,
      aggregation.token_mean,
      dataclasses.replace(tokens, log_probs=log_probs, entropy=entropy),
    )

  learned = tokens.log_probs, tokens.entropy
  return finalize(gradient_changes(members, loss_of, learned, tokens.mask))


def test_a_clip_that_binds_nowhere_changes_nothing():
  tokens = hand_tokens(np.zeros((2, 3)), [[1] * 3, [-1] * 3])
  actual = changes_of({"ppo_clip": ppo_clip()}, tokens)
  assert actual == {
    "ppo_clip/gradient_touched": 0,
    "ppo_clip/gradient_change": 0,
  }


def test_a_clip_is_measured_against_the_plain_policy_gradient():
  # -A r has the gradients -r / 3; the first token is clipped away
  tokens = hand_tokens(np.log([[2.0, 1.0, 0.5]]), [[1, 1, 1]])
  actual = changes_of({"ppo_clip": ppo_clip()}, tokens)
  np.testing.assert_allclose(
    actual["ppo_clip/gradient_touched"], 1 / 3, rtol=1e-6
  )
  np.testing.assert_allclose(
    actual["ppo_clip/gradient_change"],
    2 / np.linalg.norm([2, 1, 0.5]),
    rtol=1e-6,
  )


def test_a_member_is_measured_against_the_chain_before_it():
  entropy = np.float32([[3.0, 1.0, 2.0, 0.0]])
  tokens = hand_tokens(np.zeros((1, 4)), np.ones((1, 4)), entropy=entropy)
  actual = changes_of(
    {
      "reinforce": reinforce(),
      # gradients -1/4 each become -1/2 for tokens 0 and 2, 0 for the others
      "top_entropy": top_entropy(fraction=0.5),
      # and gain an entropy gradient of -0.5/4 each, of another kind
      "entropy_bonus": entropy_bonus(entropy_coef=0.5),
    },
    tokens,
  )
  assert actual["reinforce/gradient_change"] == 0
  np.testing.assert_allclose(actual["top_entropy/gradient_change"], 1.0)
  assert actual["top_entropy/gradient_touched"] == 1
  np.testing.assert_allclose(
    actual["entropy_bonus/gradient_change"],
    np.linalg.norm([0.125] * 4) / np.linalg.norm([0.5, 0.5]),
    rtol=1e-6,
  )


def test_a_change_of_a_gradient_of_zero_has_no_size_and_is_no_zero():
  entropy = np.float32([[1.0, 2.0, 3.0]])
  tokens = hand_tokens(np.zeros((1, 3)), [[0, 0, 0]], entropy=entropy)
  bonus = entropy_bonus(entropy_coef=0.5)
  actual = changes_of({"reinforce": reinforce(), "bonus": bonus}, tokens)
  assert actual["reinforce/gradient_change"] == 0
  assert np.isnan(actual["bonus/gradient_change"])
  assert actual["bonus/gradient_touched"] == 1


def test_padding_is_no_token_that_was_touched(random_tokens):
  tokens = random_tokens(0, 5, 7)
  actual = changes_of(
    {"erc": chain(ppo_clip(), erc(low=0.5, high=2.0))}, tokens
  )
  assert 0 < actual["erc/gradient_touched"] < 1
  assert all(np.isfinite(value) for value in actual.values())


@pytest.mark.slow
def test_an_update_reports_every_member(bigram):
  members = {"ppo_clip": ppo_clip(), "erc": erc(low=0.5, high=2.0)}
  params = {
    "embed_tokens": jnp.asarray(
      np.random.default_rng(0).normal(size=(8, 8)), jnp.float32
    )
  }
  setting = Setting(bigram, params, members, no_control())
  metrics = setting.after_two_updates()["metrics"]
  # at the first update nothing is off-policy, at the second the batch is
  assert 0 < metrics["ppo_clip/gradient_touched"] < 0.5
  assert 0 < metrics["ppo_clip/gradient_change"] < 1
  assert metrics["erc/gradient_change"] > 0


# -- reported -----------------------------------------------------------------


def measured(**changes):
  return {
    key: value
    for name, change in changes.items()
    for key, value in (
      (f"{name}/gradient_change", change),
      (f"{name}/gradient_touched", change / 2),
    )
  }


def test_the_first_rollout_step_says_what_each_control_does():
  effects = ControlEffects(("grpo", "ppo_clip", "top_entropy"))
  first = measured(ppo_clip=0.0, top_entropy=0.5)
  assert effects.notes(first) == [
    "ppo_clip changes the gradient of 0.00% of tokens, by 0.00% of its norm",
    "top_entropy changes the gradient of 25.00% of tokens, by 50.00% of its "
    "norm",
  ]
  assert effects.notes(first) == []


def test_a_projected_step_is_said_by_its_size():
  (note,) = ControlEffects(("projection",)).notes(
    {"projection/relative_correction": 0.25, "projection/touched": 1.0}
  )
  assert note == "projection corrects the step by 25.00% of its size"


@pytest.mark.parametrize("awake_at", [None, 0, PATIENCE - 1])
def test_a_control_that_never_does_anything_is_named(awake_at):
  effects = ControlEffects(("erc",))
  notes = [
    effects.notes(measured(erc=0.1 if step == awake_at else 0.0))
    for step in range(PATIENCE + 3)
  ]
  last = notes[PATIENCE - 1]
  named = [f"erc has changed nothing in {PATIENCE} rollout steps"]
  assert last == (named if awake_at is None else [])
  assert not any(notes[PATIENCE:])


def test_what_is_not_measured_is_not_named():
  effects = ControlEffects(("grpo",))
  assert not any(effects.notes({}) for _ in range(PATIENCE + 1))
