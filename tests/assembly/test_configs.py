"""Every config runs, and its header says how."""

import importlib

import pytest

from entrojax.train import train
from experiments.methods import OFFLINE, config_names
from tests.helpers.system import numbers, write_base, write_prompt_table

pytestmark = pytest.mark.slow

# gsm8k runs in test_gsm8k.py: its texts need a real tokenizer
METHODS = [*config_names(), *OFFLINE, "countdown"]
# the rest run on a tiny random base; an offline run needs right answers
ON_A_SHIPPED_BASE = {*OFFLINE, "dapo", "seed_grpo", "sent"}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
  return write_base(tmp_path_factory.mktemp("bases") / "tiny")


@pytest.mark.parametrize("name", METHODS)
def test_a_config_runs(name, base, tmp_path, one_device, session_data):
  config = importlib.import_module(f"configs.{name}").get_config("test")
  if name not in ON_A_SHIPPED_BASE:
    config.model.path = str(base)
  if config.curriculum.table:
    config.task.train_split = "train[:16]"
    config.curriculum.table = str(tmp_path / "table.jsonl")
    write_prompt_table(tmp_path / "table.jsonl", config, range(16))
  train(config, tmp_path / "run")
  rows = numbers(tmp_path / "run")
  assert [row["rollout_step"] for row in rows] == [0, 1, 2, 2]
  for member in config.objective:
    assert member in config, f"{member} has no section in configs/default.py"


@pytest.mark.parametrize("name", [*METHODS, "gsm8k"])
def test_a_config_says_how_it_is_run(name):
  header = importlib.import_module(f"configs.{name}").__doc__
  assert f"--config=configs/{name}.py" in header
  assert "--workdir=" in header
