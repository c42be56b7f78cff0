"""Methods that run, but probably not as intended, are warned about."""

import re
import warnings

import pytest

from entrojax.assembly.check_methods import check_methods
from entrojax.assembly.check_settings import check
from tests.helpers.system import tiny_config

pytestmark = [pytest.mark.usefixtures("session_data"), pytest.mark.slow]


def test_two_weights_of_right_responses_are_warned_about(base):
  config = tiny_config(
    base,
    advantage=("w_reinforce",),
    objective=("ppo_clip", "positive_reweighting"),
    **{"control.name": "entropy_guided", "control.target": 0.4},
  )
  with pytest.warns(UserWarning, match="w_reinforce in advantage: both"):
    check(config)


@pytest.mark.parametrize(
  ("key", "value", "message"),
  [
    ("training.scope", "micro", "the only micro-batch is the whole mini-batch"),
    ("rollout.top_p", 0.9, r"rollout\.top_p is 0\.9: samples do not"),
    ("rollout.top_k", 5, r"rollout\.top_k is 5: samples do not"),
  ],
)
def test_a_setting_that_hardly_means_what_it_does_is_warned_about(
  key, value, message, base
):
  with pytest.warns(UserWarning, match=message):
    check(tiny_config(base, **{key: value}))


@pytest.mark.parametrize(
  ("rule", "groups"),
  [
    ("nsr", "all wrong, and"),
    ("psr", "all right, and"),
    ("w_reinforce", "all right or all wrong, and"),
    ("grpo", None),
  ],
)
def test_dynamic_sampling_that_drops_a_rules_signal_is_warned_about(
  rule, groups, base
):
  config = tiny_config(
    base, **{"advantage": (rule,), "dynamic_sampling.enabled": True}
  )
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    check(config)
    config.dynamic_sampling.enabled = False
    check(config)
  warnings_given = [
    str(w.message) for w in caught if "dynamic_sampling" in str(w.message)
  ]
  assert len(warnings_given) == (groups is not None)
  assert all(
    f"groups that are {groups}" in text and rule in text
    for text in warnings_given
  )


@pytest.mark.parametrize(
  "objective",
  [("kl_cov",), ("ppo_clip", "erc"), ("reinforce", "sent_released")],
)
def test_a_method_that_one_update_per_rollout_makes_inert_is_warned_about(
  objective, base, recwarn
):
  config = tiny_config(base, objective=objective)
  check(config)
  assert not recwarn
  config.training.updates_per_rollout = 1
  with pytest.warns(
    UserWarning, match=rf"updates_per_rollout is 1: {objective[-1]}"
  ):
    check(config)


FROZEN = [
  ({"objective": ("ppo_clip", "stare")}, r"stare compares stare\.target"),
  (
    {
      "objective": ("ppo_clip", "adaptive_stare"),
      "control.name": "stare_weights",
      "control.target": 0.3,
    },
    r"adaptive_stare compares adaptive_stare\.target",
  ),
  (
    {"advantage": ("grpo", "entrocraft")},
    r"compares entrocraft\.low and entrocraft\.high",
  ),
]


@pytest.mark.parametrize(("changes", "message"), FROZEN)
def test_a_gate_on_the_entropy_of_recorded_rollouts_is_warned_about(
  changes, message, base, recwarn
):
  config = tiny_config(base, **changes)
  check_methods(config)
  assert not [w for w in recwarn if "recorded" in str(w.message)]
  config.offline.enabled = True
  with pytest.warns(UserWarning, match=message):
    check_methods(config)


def test_erc_in_bfloat16_is_warned_about(base, recwarn):
  config = tiny_config(base, objective=("ppo_clip", "erc"))
  check_methods(config)
  assert not [w for w in recwarn if "round" in str(w.message)]
  config.model.dtype = "bfloat16"
  with pytest.warns(UserWarning, match="dtype is bfloat16: erc compares"):
    check_methods(config)


@pytest.mark.parametrize(
  ("settings", "text"),
  [
    (
      {"target": 0.5},
      r"projection\.target is 0\.5 and control\.target is 0\.3",
    ),
    ({"target_fraction": 0.7}, r"projection\.target_fraction is 0\.7 and"),
    ({"target": 0.3}, None),
  ],
)
def test_a_projection_beside_a_controller_of_another_target_is_warned_about(
  settings, text, base
):
  config = tiny_config(
    base,
    **{
      "objective": ("ppo_clip", "entropic"),
      "control.name": "entropic_pi",
      "control.target": 0.3,
      "projection.enabled": True,
    },
  )
  config.projection.update(settings)
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    check_methods(config)
  messages = [str(w.message) for w in caught if "projection" in str(w.message)]
  assert len(messages) == (text is not None)
  assert all(re.search(text or "", message) for message in messages)
