"""A setting without effect, and a wrong command, end with a clear message."""

import importlib

import pytest

from entrojax.assembly.check_overrides import check_overrides
from entrojax.assembly.check_values import check_kind
from tests.helpers.commands import run_command
from tests.helpers.system import tiny_config

pytestmark = [pytest.mark.usefixtures("session_data"), pytest.mark.slow]


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
