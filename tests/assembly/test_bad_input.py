"""A wrong setting is named before anything is compiled."""

import importlib
import re
import warnings

import jax
import pytest

import configs
from entrojax.assembly.check_methods import check_methods
from entrojax.assembly.check_overrides import check_overrides
from entrojax.assembly.check_settings import check
from entrojax.assembly.check_values import check_kind
from entrojax.assembly.run import build
from tests.helpers.commands import run_command
from tests.helpers.system import tiny_config

pytestmark = [pytest.mark.usefixtures("session_data"), pytest.mark.slow]


WRONG = {
  "rollout.group_size": (1, r"rollout\.group_size must be at least 2, got 1"),
  "rollout.temperature": (0.0, r"rollout\.temperature must be above 0"),
  "rollout.prompt_buckets": ((8, 4), r"\(8, 4\) must ascend .* to below"),
  "rollout.prompt_length": (
    3,
    r"more than rollout\.prompt_length=3 .* row 0, has 11",
  ),
  "rollout.num_prompts": (0, r"rollout\.num_prompts must be at least 1"),
  "rollout.top_p": (0.0, r"top_p must lie in \(0, 1\], got 0"),
  "ppo_clip.clip_low": (
    1.5,
    r"ppo_clip\.clip_low must lie in \[0, 1\], got 1\.5",
  ),
  "ppo_clip.clip_high": (
    -0.1,
    r"ppo_clip\.clip_high must be at least 0, got -0\.1",
  ),
  "ppo_clip.dual_clip": (
    1.1,
    r"ppo_clip\.dual_clip must be above 1 \+ clip_high",
  ),
  "dynamic_sampling.max_batches": (0, r"max_batches must be at least 1, got 0"),
  "dynamic_sampling.on_exhausted": ("stop", r"on_exhausted must be one of"),
  "training.num_microbatches": (
    3,
    r"responses of a mini-batch .* 3 training.num_microbatches",
  ),
  "training.response_buckets": (
    (8, 4),
    r"response_buckets = \(8, 4\) must ascend .* to below rollout\.response_l",
  ),
  "training.updates_per_rollout": (3, r"num_prompts = 8 do not divide"),
  "training.num_epochs": (3, r"not a multiple of training\.num_epochs = 3"),
  "mesh": ((3, 1, 1), r"needs 3 devices"),
  "model.fused_attention": (True, r"model\.fused_attention is True.*'cpu'"),
  "objective": (("ppo_clop",), r"did you mean 'ppo_clip'"),
  "advantage": (("grop",), r"advantage: there is no 'grop'.*'grpo'"),
  "aggregation": ("token_mean", r"aggregation must be one of .*'token_mean'"),
  "control.name": ("entropic_pi", r"control\.target is not set"),
  "task.name": ("countdwon", r"did you mean 'countdown'"),
  "task.difficulty": (9, r"task\.difficulty must lie in 1\.\.2 for countdown"),
  "task.train_split": ("trian", r"'trian' is not a split"),
  "evaluation.split": ("validation[:0]", r"holds no problem|empty"),
  "model.path": ("/no/such/folder", r"model\.path: /no/such/folder"),
  "optimizer.learning_rate": (0.0, r"optimizer\.learning_rate must be above 0"),
  "alarms.collapse": ("halt", r"alarms\.collapse must be one of"),
  "alarms.window": (0, r"alarms\.window must be at least 1"),
  "checkpoint.keep": (0, r"checkpoint\.keep must be at least 1"),
  "checkpoint.minutes": (-1.0, r"checkpoint\.minutes must be at least 0"),
  "checkpoint.keep_best": ("val/x", r"evaluation\.every is 0: a run that is"),
  "log.keep_batches": (
    (1, 7),
    r"keep_batches = \(1, 7\) names the rollout step \[7\], and the run ends",
  ),
  "ledger.every": (2, r"ledger\.every = 2 would do nothing"),
  "alarms.roll_back": (
    ("ppo_clip.clip_high", 0.3),
    r"alarms\.roll_back = .* would do nothing: set an alarm",
  ),
  "evaluation.token_samples": (9, r"token_samples = 9 is more than the 4 sa"),
}


# evaluation.tasks: each wrong value with its message
WRONG_SETS = (
  (
    ("countdown:test", 8),
    r"evaluation\.tasks has the item 8; expected a label",
  ),
  ((("countdown:test", 8, 1),), r"has the item \('countdown:test', 8, 1\)"),
  ((("countdown:test", 2.0),), r"has the item \('countdown:test', 2\.0\)"),
  (
    (("countdown:test", 0),),
    r"'countdown:test' needs at least 1 sample, got 0",
  ),
  (
    ("countdown#x",),
    r"evaluation\.tasks: 'countdown#x' is not of the form NAME",
  ),
  (
    2 * ("countdown:test",),
    r"evaluation\.tasks: 'countdown:test' is given twice",
  ),
  (
    ("countdown:test[:8]", "countdwon"),
    r"evaluation\.tasks: countdwon: .*did you mean 'countdown'",
  ),
  (("countdown:tset",), r"countdown:tset: split='tset' is not a split"),
  (("countdown#9:test",), r"countdown#9:test: task\.difficulty must lie in"),
)


@pytest.mark.parametrize(("sets", "message"), WRONG_SETS)
def test_a_wrong_evaluation_set_is_named_before_anything_is_compiled(
  sets, message, base, one_device
):
  with pytest.raises(ValueError, match=message):
    build(tiny_config(base, **{"evaluation.tasks": sets}))


@pytest.mark.parametrize("name", ["pass@7", "maj@8"])
def test_a_best_checkpoint_by_a_k_that_no_evaluation_has_is_refused(name, base):
  """An evaluation of four samples has k = 1, 2 and 4."""
  best = {"checkpoint.keep_best": f"val/countdown/{name}"}
  config = tiny_config(base, **best, **{"evaluation.every": 1})
  with pytest.raises(ValueError, match=r"@k for k = 1, 2, 4"):
    check(config)
  for metric in ("val/countdown/pass@4", "val/countdown/entropy"):
    config.checkpoint.keep_best = metric
    check(config)


@pytest.mark.parametrize("key", WRONG)
def test_a_wrong_value_is_named(key, base, one_device):
  value, message = WRONG[key]
  with pytest.raises(ValueError, match=message):
    build(tiny_config(base, **{key: value}))


def test_response_buckets_without_micro_batches_are_refused(base):
  buckets = {"training.response_buckets": (4,)}
  message = r"response_buckets = \(4,\) .* training\.num_microbatches is 1"
  with pytest.raises(ValueError, match=message):
    check(tiny_config(base, **buckets))


def test_a_ledger_with_fused_attention_is_refused(base):
  both = {"ledger.every": 2, "model.fused_attention": True}
  with pytest.raises(ValueError, match=r"ledger\.every = 2 and model\.fused"):
    build(tiny_config(base, **both))


def test_a_batch_that_does_not_divide_over_the_mesh_is_named(base):
  config = tiny_config(base, **{"mesh": (8, 1, 1), "rollout.num_prompts": 12})
  config.training.updates_per_rollout = 1
  assert len(jax.devices()) == 8
  with pytest.raises(
    ValueError, match=r"num_prompts = 12 .* 8 devices of mesh"
  ):
    build(config)


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


SCHEDULED = {
  "objective": ("ppo_clip", "positive_reweighting"),
  "control.name": "stage_schedule",
  "stage_schedule.num_updates": 8,
}


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
  "key", ["steer.min_weight", "seed_grpo.alpha", "entropic_pi.kp", "clusters.x"]
)
def test_a_setting_of_what_is_not_enabled_is_refused(key, base):
  config = tiny_config(base)
  with pytest.raises(ValueError, match=f"{key} is set and would do nothing"):
    check_overrides(config, ["ppo_clip.clip_high", "seed", key])


def test_refilling_no_slots_is_refused(base):
  config = tiny_config(base, **{"rollout.refill_every": 4})
  with pytest.raises(ValueError, match=r"refill_every is set and would do not"):
    check_overrides(config, ["rollout.refill_every"])
  config.rollout.num_slots = 4
  check_overrides(config, ["rollout.refill_every"])


def test_a_setting_of_what_is_enabled_is_not_refused(base):
  config = tiny_config(
    base,
    advantage=("dr_grpo", "seed_grpo"),
    objective=("ppo_clip", "entropic"),
    **{"control.name": "entropic_pi", "control.target": 0.5},
  )
  keys = ("seed_grpo.alpha", "clusters.equality", "entropic_pi.kp")
  check_overrides(config, (*keys, "rollout.group_size", "projection.enabled"))


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


def run_main(*arguments):
  return run_command("entrojax.main", *arguments)


def test_help_is_no_error():
  done = run_main("--help")
  assert done.returncode == 0
  for flag in ("--workdir", "--coordinator"):
    assert flag in done.stdout


def test_an_unknown_key_names_the_nearest(tmp_path):
  done = run_main(
    "--config=configs/countdown.py:test",
    "--config.optimizer.learning_rat=1e-4",
    f"--workdir={tmp_path / 'run'}",
  )
  assert done.returncode != 0
  assert "learning_rat" in done.stderr
  assert "learning_rate" in done.stderr
  assert "Traceback" not in done.stderr
  assert not (tmp_path / "run").exists()


def test_a_setting_without_effect_ends_the_command(tmp_path):
  done = run_main(
    "--config=configs/countdown.py:test",
    "--config.steer.min_weight=0.5",
    f"--workdir={tmp_path / 'run'}",
  )
  assert done.returncode == 2
  assert done.stderr.startswith("error: steer.min_weight is set and would do")
  assert not (tmp_path / "run").exists()


def test_a_wrong_value_leaves_no_traceback(tmp_path):
  done = run_main(
    "--config=configs/countdown.py:test",
    "--config.rollout.group_size=1",
    f"--workdir={tmp_path / 'run'}",
  )
  assert done.returncode == 2
  assert done.stderr.startswith("error: rollout.group_size")
  assert "Traceback" not in done.stderr


MORE = {
  "seed": (-1, r"seed must be at least 0"),
  "ppo_clip.clip_high": (float("nan"), r"ppo_clip\.clip_high must be finite"),
  "objective": (("erc", "ppo_clip"), r"after a surrogate"),
  "optimizer.max_grad_norm": (0.0, r"optimizer\.max_grad_norm must be above 0"),
  "optimizer.b1": (2.0, r"optimizer\.b1 must lie in \[0, 1\)"),
  "optimizer.weight_decay": (-1.0, r"optimizer\.weight_decay must be at"),
  "optimizer.warmup_steps": (-1, r"optimizer\.warmup_steps must be at"),
  "optimizer.mu_dtype": ("float16", r"optimizer\.mu_dtype must be one of"),
  "control.target": (0.4, r"control\.target is 0\.4 but control\.name"),
  "mesh": ((-1, 0, 1), r"mesh sizes are -1 or positive"),
}


@pytest.mark.parametrize("key", MORE)
def test_what_would_run_and_be_wrong_is_named(key, base, one_device):
  value, message = MORE[key]
  with pytest.raises(ValueError, match=message):
    build(tiny_config(base, **{key: value}))


def test_two_surrogates_are_refused(base, one_device):
  config = tiny_config(base, objective=("ppo_clip", "cispo"))
  with pytest.raises(ValueError, match="it takes one surrogate"):
    build(config)


@pytest.mark.parametrize("name", ["chain", "policy_loss"])
def test_what_composes_objectives_is_not_one(name, base, one_device):
  with pytest.raises(ValueError, match=f"there is no '{name}'"):
    build(tiny_config(base, objective=(name,)))


@pytest.mark.parametrize(
  ("name", "sft", "message"),
  [
    ("sft", False, "is a config of entrojax.sft: .* such as configs/grpo.py"),
    ("grpo", True, "is a config of entrojax.main: .* such as configs/sft.py"),
  ],
)
def test_a_config_of_another_command_is_named(name, sft, message):
  config = importlib.import_module(f"configs.{name}").get_config()
  check_kind(config, sft=not sft)
  with pytest.raises(ValueError, match=message):
    check_kind(config, sft=sft)
