"""A run prints what it measures and steers by before it starts."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.assembly.check_settings import check
from entrojax.assembly.model import make_generate
from entrojax.assembly.roll_backs import with_roll_backs
from entrojax.objectives import chain, reference_kl, reinforce
from entrojax.objectives.loss import policy_loss
from entrojax.system.roll_backs import (
  RollBack,
  append_roll_back,
  read_roll_backs,
)
from entrojax.types import ScoredTokens
from tests.helpers.system import tiny_config


def refused(tmp_path, message, **overrides):
  with pytest.raises(ValueError, match=message):
    check(tiny_config(tmp_path, **overrides))


def warned(tmp_path, message, **overrides):
  with pytest.warns(UserWarning, match=message):
    check(tiny_config(tmp_path, **overrides))


def warnings_of(config):
  """Check a config; return the texts of its warnings."""
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    check(config)
  return [str(warning.message) for warning in caught]


def test_a_rollout_temperature_that_evaluation_does_not_share_is_said(tmp_path):
  warned(
    tmp_path,
    r"evaluation.temperature is 1\.0 and rollout\.temperature is 0\.7",
    **{"rollout.temperature": 0.7, "evaluation.temperature": 1.0},
  )
  warned(
    tmp_path,
    r"evaluation.top_p is 0\.9 and rollout\.top_p is 1\.0",
    **{"evaluation.top_p": 0.9},
  )


def test_an_evaluation_without_a_temperature_follows_the_rollout(
  tmp_path, monkeypatch
):
  config = tiny_config(tmp_path, **{"rollout.temperature": 0.7})
  assert not any("evaluation." in text for text in warnings_of(config))
  temperatures = []
  monkeypatch.setattr(
    "entrojax.assembly.model._jit_sampler",
    lambda model, sampling, *_, **__: temperatures.append(sampling.temperature),
  )
  monkeypatch.setattr("entrojax.assembly.model.bind", lambda *_: None)
  for value in (None, 0.3, 0):
    config.evaluation.temperature = value
    make_generate(config, POLICY, POLICY, None, config.evaluation, 2)
  assert temperatures == [0.7, 0.3, 1.0]  # greedy: at temperature 1


class POLICY:
  """Stands in for a policy and for the tokens that end a response."""

  model = base = None
  eos_ids, pad_id = (2,), 0


def test_several_greedy_samples_are_refused(tmp_path):
  message = r"temperature is 0 and countdown:.* has 4 samples for each prompt"
  refused(tmp_path, message, **{"evaluation.temperature": 0.0})
  config = tiny_config(
    tmp_path, **{"evaluation.temperature": 0.0, "evaluation.num_samples": 1}
  )
  with pytest.warns(UserWarning):  # it differs from the rollout's
    check(config)


def test_a_range_of_mean_rewards_that_keeps_no_group_is_refused(tmp_path):
  refused(
    tmp_path,
    r"dynamic_sampling\.low = 0\.8 and high = 0\.2",
    **{"dynamic_sampling.low": 0.8, "dynamic_sampling.high": 0.2},
  )


def test_a_signal_of_another_name_is_refused(tmp_path):
  refused(
    tmp_path, r"control\.signal must be one of", **{"control.signal": "x"}
  )


def test_an_estimator_whose_gradient_vanishes_is_warned_about(tmp_path):
  k1 = {
    "objective": ("ppo_clip", "reference_kl"),
    "reference_kl.estimator": "k1",
  }
  warned(tmp_path, r"'k1', whose expected gradient in a loss is 0", **k1)
  config = tiny_config(tmp_path, **k1, **{"reference_kl.ratio_weighted": True})
  assert not any("gradient" in text for text in warnings_of(config))


@pytest.mark.parametrize(
  ("estimator", "weighted", "expected"),
  [("k1", False, "nothing"), ("k1", True, "the KL"), ("k3", True, "the KL")],
)
def test_the_expected_gradient_of_a_ratio_weighted_estimator_is_the_kl_s(
  estimator, weighted, expected
):
  """Three tokens, each counted with its probability: an exact expectation."""
  logits = jnp.array([0.3, -0.4, 0.9])
  reference = jax.nn.log_softmax(jnp.array([0.0, 0.5, -0.2]))
  probs = jax.nn.softmax(logits)
  member = reference_kl(
    kl_coef=1.0, estimator=estimator, ratio_weighted=weighted
  )

  def token_losses(logits):
    log_probs = jax.nn.log_softmax(logits)[:, None]
    old = jax.lax.stop_gradient(log_probs)
    zeros = jnp.zeros_like(old)
    tokens = ScoredTokens(
      log_probs, old, zeros, zeros, zeros, zeros + 1, reference[:, None]
    )
    return policy_loss(
      chain(reinforce(), member),
      lambda x, w: jnp.sum(probs[:, None] * x),
      tokens,
    )[0]

  def kl(logits):
    log_probs = jax.nn.log_softmax(logits)
    return jnp.sum(jnp.exp(log_probs) * (log_probs - reference))

  gradient = jax.grad(kl)(logits) if expected == "the KL" else np.zeros(3)
  # float32 rounding of three terms near 0.3
  np.testing.assert_allclose(
    jax.grad(token_losses)(logits), gradient, atol=1e-6
  )


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({}, r"alarms\.roll_back = \(\); expected a setting and its new value"),
    ({"alarms.roll_back": ("ppo_clip.hihg", 1.0)}, r"ppo_clip\.hihg cannot be"),
    ({"alarms.roll_back": ("rollout.top_p", "x")}, r"top_p cannot be 'x'"),
    ({"alarms.roll_back": ("rollout.group_size", 1)}, r"group_size must be at"),
    ({"checkpoint.every": 0}, r"set checkpoint\.every, which is 0, to a num"),
    ({"alarms.roll_back": ("ppo_clip.clip_high", 0.3)}, None),
  ],
)
def test_a_roll_back_that_cannot_work_is_refused_before_the_run(
  changes, message, tmp_path
):
  settings = {
    "alarms.collapse": "roll_back",
    "checkpoint.every": 10,
    **changes,
  }
  if "checkpoint.every" in changes:
    settings["alarms.roll_back"] = ("ppo_clip.clip_high", 0.3)
  if message:
    refused(tmp_path, message, **settings)
  else:
    check(tiny_config(tmp_path, **settings))


def test_a_config_after_a_roll_back_has_the_setting_and_an_alarm_that_stops(
  tmp_path,
):
  change = ("ppo_clip.clip_high", 0.3)
  config = tiny_config(
    tmp_path, **{"alarms.collapse": "roll_back", "alarms.roll_back": change}
  )
  back = RollBack("collapse", 40, 20, "ppo_clip.clip_high", 0.3)
  append_roll_back(tmp_path, back)
  changed = with_roll_backs(config, read_roll_backs(tmp_path))
  assert changed.ppo_clip.clip_high == 0.3
  assert changed.alarms.collapse == "stop"
  assert changed.alarms.roll_back == ()  # nothing reads it any more
  assert config.alarms.collapse == "roll_back"
  (tmp_path / "roll_backs.jsonl").write_text('{"alarm": "collapse"}\n')
  with pytest.raises(ValueError, match=r"roll_backs\.jsonl:1: not a roll-back"):
    read_roll_backs(tmp_path)
