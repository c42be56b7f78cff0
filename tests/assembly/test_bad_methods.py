"""Methods that do not fit together are named before anything is compiled."""

import pytest

import configs
from entrojax.assembly.check_methods import check_methods
from entrojax.assembly.check_overrides import check_overrides
from entrojax.assembly.check_settings import check
from entrojax.assembly.run import build
from tests.helpers.system import tiny_config

pytestmark = [pytest.mark.usefixtures("session_data"), pytest.mark.slow]


SCHEDULED = {
  "objective": ("ppo_clip", "positive_reweighting"),
  "control.name": "stage_schedule",
  "stage_schedule.num_updates": 8,
}


def test_a_term_without_its_controller_is_refused(base, one_device):
  config = tiny_config(base, objective=("ppo_clip", "entropic"))
  with pytest.raises(ValueError, match=r"control\.name is 'no_control'"):
    build(config)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (
      {"advantage": ("overlong_penalty", "overlong_filter", "grpo")},
      "overlong_filter and overlong_penalty",
    ),
    (
      {"advantage": ("overlong_penalty", "grpo")},
      r"max_length - cache_length = 768 tokens are free.*12: the penalty never",
    ),
    ({"advantage": ("grpo", "grpo")}, r"advantage names 'grpo' twice"),
    ({"objective": ("ppo_clip", "erc", "erc")}, r"objective names 'erc' twice"),
    ({"advantage": ("grpo", "w_reinforce")}, "choose one baseline"),
    ({"advantage": ("grpo", "unlikeliness")}, "unlikeliness changes rewards"),
    ({"advantage": ("entrocraft", "grpo")}, "entrocraft needs advantages"),
    ({"advantage": ("overlong_filter",)}, "add a baseline"),
  ],
)
def test_rules_that_contradict_each_other_are_refused(
  changes, message, base, one_device
):
  with pytest.raises(ValueError, match=message):
    build(tiny_config(base, **changes))


@pytest.mark.parametrize(
  ("name", "member"),
  [
    ("entropic_pi", "entropic"),
    ("adaptive_coefficient", "adaptive_entropy"),
    ("entropy_guided", "positive_reweighting"),
    ("stage_schedule", "positive_reweighting"),
    ("epoch_schedule", "positive_reweighting"),
    ("stare_weights", "adaptive_stare"),
  ],
)
def test_a_controller_drives_its_own_member_once_and_no_other(
  name, member, base
):
  config = tiny_config(
    base,
    **{
      "control.name": name,
      "stage_schedule.num_updates": 8,
      "epoch_schedule": {"num_epochs": 2, "updates_per_epoch": 4},
    },
  )
  if not name.endswith("_schedule"):
    config.control.target = 0.3
  config.objective = ("ppo_clip", member)
  check(config)
  other = "entropic" if member != "entropic" else "positive_reweighting"
  for members in ((), (other,), (member, other)):
    config.objective = ("ppo_clip", *members)
    with pytest.raises(
      ValueError, match=f"name is '{name}', which drives '{member}'.*once"
    ):
      check(config)
  config.objective = ("ppo_clip", member, member)
  with pytest.raises(ValueError, match=f"objective names '{member}' twice"):
    check(config)


@pytest.mark.parametrize(
  ("name", "controllers"),
  [
    ("adaptive_entropy", "driven by 'adaptive_coefficient'"),
    (
      "positive_reweighting",
      "by 'entropy_guided' or 'epoch_schedule' or 'stage_schedule'",
    ),
    ("adaptive_stare", "driven by 'stare_weights'"),
  ],
)
def test_a_driven_member_without_a_controller_is_told_which(
  name, controllers, base
):
  config = tiny_config(base, objective=("ppo_clip", name))
  with pytest.raises(
    ValueError,
    match=f"has '{name}' but control.name is 'no_control'.*{controllers}",
  ):
    check(config)


def test_a_schedule_takes_no_target(base):
  config = tiny_config(base, **SCHEDULED, **{"control.target": 0.3})
  with pytest.raises(
    ValueError, match=r"control\.target is set .*'stage_schedule' holds no"
  ):
    check_overrides(config, ["control.target"])
  check(config)  # a method's config may have one, for its other controllers


def test_a_setting_of_the_controller_that_is_not_set_is_named(base):
  config = tiny_config(base, **SCHEDULED)
  config.stage_schedule.num_updates = None
  with pytest.raises(ValueError, match=r"stage_schedule\.num_updates is not"):
    check(config)


def test_stare_beside_a_controller_of_another_target_is_refused(base):
  config = tiny_config(
    base,
    **{
      "objective": ("ppo_clip", "adaptive_stare"),
      "control.name": "stare_weights",
      "control.target": 0.4,
    },
  )
  with pytest.raises(
    ValueError, match=r"adaptive_stare\.target = 0\.3 must be control\.target"
  ):
    check(config)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"clusters.equality": "equal"}, r"clusters\.equality .*'equal'"),
    ({"clusters.unparsed": "none"}, r"clusters\.unparsed .*'none'"),
    (
      {"clusters.equality": "verified", "task.name": "sudoku"},
      "'verified' but task 'sudoku'",
    ),
    ({"seed_grpo.form": "cubic"}, r"form .*'cubic'"),
    ({"seed_grpo.estimator": "rae"}, r"estimator .*'rae'"),
    ({"seed_grpo.alpha": -1.0}, r"alpha .*-1\.0"),
    ({"training.scope": "device"}, r"training\.scope .*'device'"),
  ],
)
def test_semantic_settings_that_cannot_work_are_named(
  changes, message, base, one_device
):
  config = tiny_config(base, advantage=("dr_grpo", "seed_grpo"))
  config.rollout.prompt_length = 64
  config.update_from_flattened_dict(changes)
  with pytest.raises(ValueError, match=message):
    build(config)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"advantage": ("unlikeliness", "w_reinforce")}, "shaping would do noth"),
    ({"advantage": ("grpo_s", "pass_at_k")}, "shaping would do nothing"),
    ({"advantage": ("overlong_penalty", "psr")}, "shaping would do nothing"),
    ({"advantage": ("nsr", "grpo_dropout")}, "whose signal the centring would"),
    ({"advantage": ("psr", "entrocraft")}, "nothing would be left"),
    ({"objective": ("entropy_bonus",)}, "objective has no surrogate"),
    ({"objective": ("reference_kl",)}, "objective has no surrogate"),
    ({"sent.beta_high": 0.01}, r"sent\.beta_high = 0\.01"),
    (
      {"objective": ("ce_gppo", "steer"), "ce_gppo.clip_high": 0.5},
      r"steer\.clip_high = 0\.2 must be ce_gppo\.clip_high = 0\.5",
    ),
  ],
)
def test_what_would_undo_itself_is_refused(changes, message, base, one_device):
  config = tiny_config(base, objective=("ppo_clip", "sent"))
  config.overlong_penalty.update({"max_length": 12, "cache_length": 2})
  config.update_from_flattened_dict(changes)
  with pytest.raises(ValueError, match=message):
    build(config)


def test_gspo_under_another_aggregation_is_refused(base):
  config = tiny_config(base, objective=("gspo",))
  with pytest.raises(
    ValueError, match=r"aggregation must be 'seq-mean-token-mean' .*token-mean"
  ):
    check(config)


@pytest.mark.parametrize("temperature", [0.7, 1.5])
def test_dcpo_beside_a_sampling_temperature_outside_its_own_is_refused(
  temperature, base
):
  config = tiny_config(
    base,
    **{"objective": ("ppo_clip", "dcpo"), "rollout.temperature": temperature},
  )
  message = (
    rf"rollout\.temperature = {temperature} must lie between "
    r"dcpo\.cold = 0\.8 and dcpo\.hot = 1\.2"
  )
  with pytest.raises(ValueError, match=message):
    check(config)


def test_dcpo_s_temperatures_follow_the_sampling_temperature_of_a_testbed():
  config = configs.combine("dcpo", "gsm8k", "sample")
  assert config.rollout.temperature == 0.7
  assert config.dcpo.cold == pytest.approx(0.56)
  assert config.dcpo.hot == pytest.approx(0.84)
  check_methods(config)


@pytest.mark.parametrize("member", ["steer", "dcpo"])
def test_a_member_beside_another_clip_range_is_refused(member, base):
  config = tiny_config(
    base, **{"objective": ("ppo_clip", member), "ppo_clip.clip_high": 0.28}
  )
  message = rf"{member}\.clip_high = 0\.2 must be ppo_clip\.clip_high = 0\.28"
  with pytest.raises(ValueError, match=message):
    check(config)


def test_two_surrogates_are_refused(base, one_device):
  config = tiny_config(base, objective=("ppo_clip", "cispo"))
  with pytest.raises(ValueError, match="it takes one surrogate"):
    build(config)


@pytest.mark.parametrize("name", ["chain", "policy_loss"])
def test_what_composes_objectives_is_not_one(name, base, one_device):
  with pytest.raises(ValueError, match=f"there is no '{name}'"):
    build(tiny_config(base, objective=(name,)))
