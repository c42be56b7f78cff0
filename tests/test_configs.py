"""Every config runs and says in its header how."""

import importlib

import pytest

from entrojax.train import train
from experiments.methods import OFFLINE, config_names
from tests.system import is_shipped, numbers, write_base, write_prompt_table

METHODS = [*config_names(), *OFFLINE, "countdown"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
  return write_base(tmp_path_factory.mktemp("bases") / "tiny")


@pytest.mark.parametrize("name", METHODS)
def test_a_config_runs(name, base, tmp_path, one_device, session_data):
  config = importlib.import_module(f"configs.{name}").get_config("test")
  if config.offline.enabled:  # needs right answers, which a random base lacks
    if not is_shipped(config.model.path):
      pytest.skip(f"{config.model.path} is not here")
  else:
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


@pytest.mark.parametrize("name", METHODS)
def test_a_config_says_how_it_is_run(name):
  header = importlib.import_module(f"configs.{name}").__doc__
  assert f"--config=configs/{name}.py" in header
  assert "--workdir=" in header
